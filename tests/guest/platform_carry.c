/* What a program keeps over execve, threads and forks: nice value and affinity. */
#include "common.h"
#include <sched.h>
#include <sys/resource.h>

static void show(const char *when)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	sched_getaffinity(0, sizeof set, &set);
	printf("%s: nice %d, processor 0 %s, %s\n", when, getpriority(PRIO_PROCESS, 0), CPU_ISSET(0, &set) ? "in" : "out",
	       CPU_COUNT(&set) == 1 ? "alone" : "with others");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	cpu_set_t set;

	if (argc > 1) {
		show("after execve");
		IN_CHILD("child after execve", show("in a child"));
		return 0;
	}
	CPU_ZERO(&set);
	CPU_SET(0, &set);
	SHOW(setpriority(PRIO_PROCESS, 0, 5));
	SHOW(sched_setaffinity(0, sizeof set, &set));
	show("set");
	IN_CHILD("child", show("in a child"));
	execl("/proc/self/exe", argv[0], "again", (char *)0);
	return 1;
}
