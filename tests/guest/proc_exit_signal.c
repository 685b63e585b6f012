/* Which signal the death of a child sends: clone's choice, and when it is not up to it. */
#include "common.h"
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

static volatile sig_atomic_t got[65];

static void note(int signo)
{
	got[signo] = 1;
}

static pid_t child_of(unsigned long flags)
{
	return syscall(SYS_clone, flags, 0, 0, 0, 0);
}

/* Prints which of the signals of interest have come, and forgets them. */
static void show(const char *name)
{
	usleep(30000);
	printf("%s: CHLD %d USR1 %d USR2 %d\n", name, got[SIGCHLD], got[SIGUSR1], got[SIGUSR2]);
	got[SIGCHLD] = got[SIGUSR1] = got[SIGUSR2] = 0;
}

int main(void)
{
	int status;
	struct sigaction sa = {.sa_handler = note, .sa_flags = SA_RESTART};

	sigaction(SIGCHLD, &sa, 0);
	sigaction(SIGUSR1, &sa, 0);
	sigaction(SIGUSR2, &sa, 0);
	setvbuf(stdout, 0, _IONBF, 0);

	pid_t p = child_of(SIGUSR1);
	if (p == 0)
		_exit(1);
	printf("wait without __WALL: %d\n", waitpid(p, &status, 0) == -1 && errno == ECHILD);
	printf("wait with __WCLONE: %d\n", waitpid(p, &status, __WCLONE) == p);
	show("USR1 asked for");

	/* A sibling made with CLONE_PARENT uses its maker's signal, not its own. */
	p = child_of(SIGUSR1);
	if (p == 0) {
		if (child_of(CLONE_PARENT | SIGUSR2) == 0)
			_exit(2);
		usleep(20000);
		_exit(1);
	}
	int count = 0;
	while (waitpid(-1, &status, __WALL) > 0)
		count++;
	printf("children waited for: %d\n", count);
	show("sibling");

	/* A program of its own ends with SIGCHLD. */
	p = child_of(SIGUSR1);
	if (p == 0) {
		execl("/bin/true", "true", (char *)0);
		_exit(1);
	}
	waitpid(p, &status, __WALL);
	show("after execve");

	p = child_of(0);
	if (p == 0)
		_exit(1);
	waitpid(p, &status, __WALL);
	show("no signal");
	return 0;
}
