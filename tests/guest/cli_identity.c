/* What `runsc do` keeps of its caller: arguments, environment, working directory, ids, limits, umask. */
#include "common.h"
#include <sys/resource.h>

int main(int argc, char **argv)
{
	char cwd[4096];
	struct rlimit limit;

	TRUE("one argument", argc == 1 && argv[0][0]);
	TRUE("PATH is set", getenv("PATH") != NULL);
	TRUE("working directory", getcwd(cwd, sizeof cwd) == cwd && cwd[0] == '/');
	printf("uid %d %d gid %d %d\n", getuid(), geteuid(), getgid(), getegid());
	printf("umask %o\n", umask(022));
	for (int i = 0; i < RLIM_NLIMITS; i++) {
		MUST(getrlimit(i, &limit));
		printf("rlimit %d: %lld %lld\n", i, (long long)limit.rlim_cur, (long long)limit.rlim_max);
	}
	SHOW(isatty(0));
	SHOW(isatty(1));
	return 7;
}
