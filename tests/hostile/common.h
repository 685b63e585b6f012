/* What hostile programs share: attacks in children, and a witness beside them that must not notice. */
#ifndef COMMON_H
#define COMMON_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* How an attack may end its process: by the signal that is printed, or by any. */
enum { EXACT, ANY_SIGNAL };

static inline void ended(const char *name, int status, int any)
{
	if (WIFEXITED(status))
		printf("%s: exit %d\n", name, WEXITSTATUS(status));
	else if (any)
		printf("%s: killed\n", name);
	else
		printf("%s: SIG%s\n", name, sigabbrev_np(WTERMSIG(status)));
	fflush(stdout);
}

/* An attack gets ten seconds. */
static inline void in_child(const char *name, void (*attack)(void), int any)
{
	int status;
	pid_t p = fork();

	if (p == 0) {
		alarm(10);
		attack();
		_exit(0);
	}
	waitpid(p, &status, 0);
	ended(name, status, any);
}

/* Starts what works all the time while the attacks run. */
static inline pid_t start_witness(void (*witness)(void))
{
	pid_t p = fork();

	if (p == 0) {
		witness();
		_exit(0);
	}
	return p;
}

static inline void end_witness(pid_t p)
{
	int status;

	waitpid(p, &status, 0);
	ended("witness", status, EXACT);
}

#endif
