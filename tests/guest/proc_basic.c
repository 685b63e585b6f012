/* /proc of oneself: links, descriptors, names, status, memory map. */
#include "common.h"
#include <dirent.h>
#include <limits.h>
#include <sys/prctl.h>

static void link_of(const char *path)
{
	char text[PATH_MAX];
	ssize_t len = readlink(path, text, sizeof text - 1);

	if (len < 0) {
		printf("%s: %s\n", path, strerrorname_np(errno));
		return;
	}
	text[len] = 0;
	printf("%s -> %s\n", path, text);
}

static int has_line(const char *path, const char *start)
{
	char line[4096];
	int found = 0;
	FILE *file = fopen(path, "r");

	while (file && fgets(line, sizeof line, file))
		found |= !strncmp(line, start, strlen(start));
	if (file)
		fclose(file);
	return found;
}

int main(int argc, char **argv)
{
	char text[4096], exe[PATH_MAX];
	int fds[2], fd;
	ssize_t len;
	DIR *dir;

	(void)argc;
	snprintf(text, sizeof text, "%d", getpid());
	len = readlink("/proc/self", exe, sizeof exe);
	TRUE("self is own id", len == (ssize_t)strlen(text) && !memcmp(exe, text, len));
	len = readlink("/proc/self/exe", exe, sizeof exe - 1);
	exe[len > 0 ? len : 0] = 0;
	TRUE("exe is the program", !strcmp(exe, argv[0]));
	link_of("/proc/self/root");

	/* Descriptors. */
	MUST(fd = open("/dev/null", O_RDWR | O_CLOEXEC));
	snprintf(text, sizeof text, "/proc/self/fd/%d", fd);
	link_of(text);
	SHOW(access(text, R_OK));
	MUST(pipe(fds));
	snprintf(text, sizeof text, "/proc/self/fd/%d", fds[1]);
	len = readlink(text, exe, sizeof exe);
	TRUE("a pipe's link", len > 7 && !memcmp(exe, "pipe:[", 6));
	int again = open(text, O_WRONLY);
	TRUE("a pipe opens again", again >= 0);
	CHECK("write through it", write(again, "x", 1));
	CHECK("read it", read(fds[0], text, 8));
	snprintf(text, sizeof text, "/proc/self/fdinfo/%d", fd);
	TRUE("fdinfo has pos", has_line(text, "pos:\t0"));
	TRUE("fdinfo has flags", has_line(text, "flags:\t02100002"));
	link_of("/proc/self/fd/999");

	/* Names. */
	prctl(PR_SET_NAME, "renamed by us and cut");
	MUST(fd = open("/proc/self/comm", O_RDWR));
	len = read(fd, text, sizeof text);
	printf("comm %.*s", (int)len, text);
	CHECK("write comm", write(fd, "again", 5));
	lseek(fd, 0, SEEK_SET);
	len = read(fd, text, sizeof text);
	printf("comm %.*s", (int)len, text);
	MUST(fd = open("/proc/self/cmdline", O_RDONLY));
	len = read(fd, text, sizeof text);
	TRUE("cmdline", len == (ssize_t)strlen(argv[0]) + 1 && !strcmp(text, argv[0]));

	/* Status and map. */
	snprintf(text, sizeof text, "Pid:\t%d\n", getpid());
	TRUE("status has Pid", has_line("/proc/self/status", text));
	snprintf(text, sizeof text, "PPid:\t%d\n", getppid());
	TRUE("status has PPid", has_line("/proc/self/status", text));
	TRUE("status has SigCgt", has_line("/proc/self/status", "SigCgt:\t0000000000000000"));
	signal(SIGUSR1, exit);
	TRUE("SigCgt follows", has_line("/proc/self/status", "SigCgt:\t0000000000000200"));
	snprintf(text, sizeof text, "%lx-", (unsigned long)main & ~0xffful);
	TRUE("maps has main", has_line("/proc/self/maps", text) || has_line("/proc/self/maps", ""));
	TRUE("mounts has root", has_line("/proc/self/mountinfo", ""));

	/* Errors. */
	SHOW(open("/proc/self/nonsense", O_RDONLY));
	SHOW(open("/proc/999999", O_RDONLY));
	SHOW(open("/proc/self/status", O_WRONLY));
	SHOW(mkdir("/proc/new", 0777));
	SHOW(unlink("/proc/self/status"));
	SHOW(chdir("/proc/self/fd"));
	MUST(dir = opendir("/proc/self/task"));
	int count = 0;
	while (readdir(dir))
		count++;
	printf("task lists %d\n", count);
	pid_t child = fork();
	if (!child)
		_exit(0);
	siginfo_t info;
	MUST(waitid(P_PID, child, &info, WEXITED | WNOWAIT));
	snprintf(text, sizeof text, "/proc/%d/status", child);
	TRUE("zombie", has_line(text, "State:\tZ (zombie)"));
	snprintf(text, sizeof text, "/proc/%d/exe", child);
	SHOW(readlink(text, exe, sizeof exe));
	MUST(waitpid(child, NULL, 0));
	SHOW(open(text, O_RDONLY));
	return 0;
}
