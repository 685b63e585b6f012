/* Processes at once: forks by different users, leaders that exit first, execve from any thread, layouts. */
#include "common.h"
#include <pthread.h>
#include <sched.h>

/* Each child must be of the user that forked it, however many fork at once. */
static void fork_as(int uid)
{
	if (setresuid(uid, uid, uid) == -1)
		_exit(3);
	for (int i = 0; i < 100; i++) {
		int status;
		pid_t p = fork();

		if (p == 0)
			_exit(getuid() == (uid_t)uid ? 0 : 1);
		waitpid(p, &status, 0);
		if (status != 0)
			_exit(1);
	}
}

static void users(void)
{
	pid_t p[4];

	for (int i = 0; i < 4; i++) {
		p[i] = fork();
		if (p[i] == 0) {
			fork_as(1000 + i);
			_exit(0);
		}
	}
	for (int i = 0; i < 4; i++) {
		int status;
		waitpid(p[i], &status, 0);
		report_status("forks by one of four users", status);
	}
}

static void *outlive(void *arg)
{
	char buf[64];
	int fd;

	sleep_ms(50);
	fd = open("/proc/self/comm", O_RDONLY);
	printf("after the leader: read %s\n", read(fd, buf, sizeof buf) > 0 ? "works" : "FAILS");
	fflush(stdout);
	_exit(4);
	return arg;
}

static void leader_exits(void)
{
	pthread_t t;

	pthread_create(&t, 0, outlive, 0);
	pthread_exit(0);
}

static void *join_leader(void *leader)
{
	printf("joining the leader: %d\n", pthread_join(*(pthread_t *)leader, 0));
	fflush(stdout);
	_exit(6);
}

static void leader_is_joined(void)
{
	static pthread_t me;
	pthread_t t;

	me = pthread_self();
	pthread_create(&t, 0, join_leader, &me);
	pthread_exit(0);
}

static void *spin(void *arg)
{
	for (;;)
		syscall(SYS_gettid);
	return arg;
}

static void *exec_now(void *arg)
{
	sleep_ms(20);
	execl("/bin/sh", "sh", "-c", "echo executed by a thread; test $$ = $1 && echo as the leader; exit 8", "sh",
	      (char *)arg, (char *)0);
	return 0;
}

static void exec_from_thread(void)
{
	pthread_t t;
	static char pid[16];

	snprintf(pid, sizeof pid, "%d", getpid());
	for (int i = 0; i < 3; i++)
		pthread_create(&t, 0, spin, 0);
	pthread_create(&t, 0, exec_now, pid);
	for (;;)
		pause();
}

static void *exec_true(void *arg)
{
	execl("/bin/true", "true", (char *)0);
	return arg;
}

static void execs_at_once(void)
{
	pthread_t t;

	for (int i = 0; i < 4; i++)
		pthread_create(&t, 0, exec_true, 0);
	for (;;)
		pause();
}

/* Every execve gets a layout of its own. */
static void layouts(void)
{
	char seen[4][32] = {0};
	int different = 0;

	for (int i = 0; i < 4; i++) {
		FILE *f = popen("grep -m1 libc /proc/self/maps | cut -d- -f1", "r");
		if (!fgets(seen[i], sizeof seen[i], f))
			strcpy(seen[i], "none");
		pclose(f);
	}
	for (int i = 1; i < 4; i++)
		different += strcmp(seen[0], seen[i]) != 0;
	TRUE("libc is somewhere else each time", different == 3);
}

static void *forker(void *arg)
{
	for (int i = 0; i < 25; i++) {
		pid_t p = fork();
		if (p == 0)
			_exit(0);
		if (p > 0)
			waitpid(p, 0, 0);
	}
	return arg;
}

static void storm(void)
{
	pthread_t t[8];

	for (int i = 0; i < 8; i++)
		pthread_create(&t[i], 0, forker, 0);
	for (int i = 0; i < 8; i++)
		pthread_join(t[i], 0);
}

int main(void)
{
	users();
	IN_CHILD("a leader that exits first", leader_exits());
	IN_CHILD("a leader that is joined", leader_is_joined());
	IN_CHILD("execve from a thread", exec_from_thread());
	IN_CHILD("execve from four threads", execs_at_once());
	IN_CHILD("two hundred forks from eight threads", storm());
	layouts();
	return 0;
}
