/*
 * A limit on processes (the cgroups' pids controller): what counts, until when, and who is told EAGAIN. PIDS_DIR is the
 * group's directory, natively one of the test's own; without it there is one to be mounted.
 */
#include "common.h"
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/prctl.h>

#define MOST 64

static char dir[4096];
static pid_t children[MOST];
static int made;

/* The number at the end of a file of the group; `max` is -1. */
static long number(const char *file)
{
	char path[4200], text[64] = "";
	int fd;

	snprintf(path, sizeof path, "%s/%s", dir, file);
	MUST(fd = open(path, O_RDONLY));
	MUST(read(fd, text, sizeof text - 1));
	close(fd);
	char *last = strrchr(text, ' ');

	last = last ? last + 1 : text;
	return strncmp(last, "max", 3) == 0 ? -1 : strtol(last, 0, 10);
}

static void current(const char *name)
{
	printf("%s: %ld of %ld\n", name, number("pids.current"), number("pids.max"));
	fflush(stdout);
}

/* What has died is uncounted only after others may know that it did. */
static void becomes(const char *name, long count)
{
	for (int n = 0; n < 2000 && number("pids.current") != count; n++)
		sleep_ms(1);
	current(name);
}

static void refusals(const char *name, long before)
{
	printf("%s: refused %ld times\n", name, number("pids.events") - before);
	fflush(stdout);
}

/* A child that waits to be killed. */
static pid_t waiting_child(void)
{
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	if (pid > 0)
		children[made++] = pid;
	return pid;
}

static int fill(void)
{
	int count = 0;

	while (made < MOST && waiting_child() > 0)
		count++;
	return count;
}

/* The last one dies, and waits for its parent. */
static pid_t kill_one(void)
{
	pid_t pid = children[--made];
	siginfo_t info;

	MUST(kill(pid, SIGKILL));
	MUST(waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
	return pid;
}

static void reap(pid_t pid)
{
	MUST(waitpid(pid, 0, __WALL));
}

static void reap_all(void)
{
	while (made > 0)
		reap(kill_one());
}

static int do_nothing(void *unused)
{
	(void)unused;
	return 0;
}

static void *wait_thread(void *gate)
{
	pthread_mutex_lock(gate);
	pthread_mutex_unlock(gate);
	return 0;
}

static void processes(void)
{
	long events = number("pids.events");

	current("alone");
	printf("children: %d\n", fill());
	WORKS("one more", fork());
	current("full");
	refusals("full", events);
	pid_t dead = kill_one();

	current("with a zombie");
	WORKS("beside a zombie", fork());
	reap(dead);
	current("reaped");
	printf("children again: %d\n", fill());
}

/* All ways to ask for one more, at the limit. */
static void calls(void)
{
	static char stack[16384] __attribute__((aligned(16)));
	char *args[] = { "true", 0 };
	struct { uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, more[6]; } three = { .exit_signal = SIGCHLD };
	pthread_t thread;
	pid_t pid, told = -7;
	int pidfd = -7, status;
	long events = number("pids.events");

	WORKS("vfork", (pid = vfork()) ? pid : (_exit(0), 0));
	WORKS("clone", clone(do_nothing, stack + sizeof stack, SIGCHLD | CLONE_PARENT_SETTID, 0, &told));
	TRUE("its id was not told", told == -7);
	WORKS("clone of a thread", clone(do_nothing, stack + sizeof stack,
					CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM, 0));
	three.flags = CLONE_PIDFD;
	three.pidfd = (uintptr_t)&pidfd;
	int free_fd = dup(1);

	close(free_fd);
	WORKS("clone3", (pid = syscall(SYS_clone3, &three, sizeof three)) ? pid : (_exit(0), 0));
	TRUE("no descriptor is left", dup(1) == free_fd);
	close(free_fd);
	printf("pthread_create: %s\n", strerrorname_np(pthread_create(&thread, 0, wait_thread, 0)));
	printf("posix_spawn: %s\n", strerrorname_np(posix_spawn(&pid, "/bin/true", 0, 0, args, environ)));
	refusals("calls", events);
	three.flags = CLONE_VM;
	WORKS("what is wrong is told first", syscall(SYS_clone3, &three, 8));
	WORKS("and this", clone(do_nothing, stack + sizeof stack, CLONE_THREAD, 0));
	refusals("still", events);
	/* Those that were refused have left nothing behind. */
	WORKS("nobody to wait for", waitpid(-1, &status, WNOHANG));
	current("full as before");
}

/* A program needs no new id. */
static void programs(const char *self)
{
	current("before programs");
	reap(kill_one());
	for (int n = 0; n < 5; n++) {
		int status;
		pid_t pid = fork();

		if (pid == 0) {
			execl(self, self, "program", dir, NULL);
			_exit(99);
		}
		MUST(pid);
		MUST(waitpid(pid, &status, 0));
		report_status("program", status);
	}
	current("after programs");
	fill();
}

/* The program that is run: again itself, while the group is full. */
static int program(const char *self, int depth)
{
	char next[16];

	current("in a program");
	if (depth == 9)
		return 8;
	WORKS("fork in a program", fork());
	if (depth == 3)
		return 7;
	snprintf(next, sizeof next, "%d", depth + 1);
	execl(self, self, "program", dir, next, NULL);
	return 98;
}

static void *exec_thread(void *self)
{
	current("threads before execve");
	execl(self, self, "program", dir, "9", NULL);
	return 0;
}

/* The leader goes first, and counts until the process is gone. */
static void *last_thread(void *leader)
{
	char path[64], state = 0;

	for (int n = 0; n < 2000 && state != 'Z'; n++) {
		snprintf(path, sizeof path, "/proc/self/task/%d/stat", *(pid_t *)leader);
		FILE *f = fopen(path, "r");

		if (!f || fscanf(f, "%*d %*s %c", &state) != 1)
			state = '?';
		if (f)
			fclose(f);
		sleep_ms(1);
	}
	current("the leader is gone");
	exit(5);
}

static void threads(const char *self)
{
	pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
	pthread_t all[MOST];
	int count = 0, error;
	long events;

	reap_all();
	current("without children");
	/* From a place that has made many. */
	for (int n = 0; n < 50; n++)
		if (pthread_create(&all[0], 0, wait_thread, &gate) == 0)
			pthread_join(all[0], 0);
	becomes("after others", 1);
	events = number("pids.events");
	pthread_mutex_lock(&gate);
	while ((error = pthread_create(&all[count], 0, wait_thread, &gate)) == 0)
		count++;
	printf("threads: %d, then %s\n", count, strerrorname_np(error));
	current("full of threads");
	refusals("threads", events);
	WORKS("fork beside threads", fork());
	pthread_mutex_unlock(&gate);
	while (count > 0)
		pthread_join(all[--count], 0);
	becomes("joined", 1);
	IN_CHILD("execve of a thread", {
		pthread_mutex_lock(&gate);
		for (int n = 0; n < 3; n++)
			pthread_create(&all[n], 0, wait_thread, &gate);
		pthread_create(&all[3], 0, exec_thread, (void *)self);
		pause();
	});
	current("after execve of a thread");
	IN_CHILD("leader", {
		pid_t leader = getpid();

		pthread_create(&all[0], 0, last_thread, &leader);
		pthread_exit(0);
	});
	current("after the leader");
}

/* Who reaps for others, or lets the kernel do it. */
static void orphans(void)
{
	int failed = 0, status;
	pid_t pid;

	MUST(prctl(PR_SET_CHILD_SUBREAPER, 1));
	IN_CHILD("parent of an orphan", {
		if (fork() == 0)
			_exit(3);
	});
	siginfo_t info;

	MUST(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT));
	current("an orphan's zombie");
	MUST(wait(&status));
	report_status("orphan", status);
	current("without it");

	signal(SIGCHLD, SIG_IGN);
	for (int n = 0; n < 60; n++) {
		int tries = 0;

		while ((pid = fork()) == -1 && errno == EAGAIN && tries++ < 2000)
			sleep_ms(1);
		if (pid == 0)
			_exit(0);
		failed += pid == -1;
	}
	printf("children that nobody waits for: %d failed\n", failed);
	becomes("all gone", 1);
	signal(SIGCHLD, SIG_DFL);
}

/* At the limit again and again: what is refused now works when there is room. */
static void at_the_edge(void)
{
	int ok = 0, refused = 0;

	fill();
	for (int n = 0; n < 200; n++) {
		pid_t pid = fork();

		if (pid == -1) {
			refused += errno == EAGAIN;
			reap(kill_one());
		} else if (pid == 0) {
			for (;;)
				pause();
		} else {
			children[made++] = pid;
			ok++;
		}
	}
	printf("at the edge: %d made, %d refused\n", ok, refused);
	reap_all();
	current("at last");
}

int main(int argc, char **argv)
{
	const char *given = getenv("PIDS_DIR");
	char self[4096] = "";

	setvbuf(stdout, 0, _IOLBF, 0);
	MUST(readlink("/proc/self/exe", self, sizeof self - 1));
	if (argc > 2 && strcmp(argv[1], "program") == 0) {
		snprintf(dir, sizeof dir, "%s", argv[2]);
		return program(self, argc > 3 ? atoi(argv[3]) : 0);
	}
	if (given) {
		snprintf(dir, sizeof dir, "%s", given);
	} else {
		snprintf(dir, sizeof dir, "/tmp/limit_pids.%d", getpid());
		MUST(mkdir(dir, 0700));
		MUST(mount("none", dir, "cgroup", 0, "pids"));
	}
	processes();
	calls();
	programs(self);
	threads(self);
	orphans();
	at_the_edge();
	return 0;
}
