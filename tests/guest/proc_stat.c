/* The line of numbers in /proc/PID/stat, field by field (proc_pid_stat(5)). */
#include "common.h"
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/times.h>

enum { FIELDS = 52, NAME_MAX_ = 64 };

/* Numbers as in the manual page: values[18] is the priority. */
static long long values[FIELDS + 1];
static char name[NAME_MAX_], state;

static int look(const char *path)
{
	char text[4096], *at;
	int fd = open(path, O_RDONLY), count = 3;
	ssize_t n = read(fd, text, sizeof(text) - 1);

	close(fd);
	if (n <= 0)
		return -1;
	text[n] = 0;
	values[1] = strtoll(text, &at, 10);
	at = strrchr(text, ')');
	snprintf(name, sizeof(name), "%.*s", (int)(at - strchr(text, '(') - 1), strchr(text, '(') + 1);
	state = at[2];
	for (char *word = strtok(at + 3, " "); word && count < FIELDS; word = strtok(NULL, " "))
		values[++count] = strtoull(word, NULL, 10);
	return count;
}

static void show(const char *what, int from, int to)
{
	printf("%s:", what);
	for (int n = from; n <= to; n++)
		printf(" %lld", values[n]);
	printf("\n");
	fflush(stdout);
}

static void *wait_for_end(void *arg)
{
	pthread_barrier_wait(arg);
	pthread_barrier_wait(arg);
	return NULL;
}

static void scheduling(void)
{
	struct sched_param none = { 0 };

	look("/proc/self/stat");
	show("priority, nice", 18, 19);
	show("rt_priority, policy", 40, 41);
	MUST(setpriority(PRIO_PROCESS, 0, 7));
	MUST(sched_setscheduler(0, SCHED_BATCH, &none));
	look("/proc/self/stat");
	show("priority, nice", 18, 19);
	show("rt_priority, policy", 40, 41);
	MUST(sched_setscheduler(0, SCHED_IDLE, &none));
	look("/proc/self/stat");
	show("rt_priority, policy", 40, 41);
}

static void signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, 31);
	sigaddset(&set, 32 + 8);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGUSR2, SIG_IGN);
	signal(SIGTERM, exit);
	signal(40, exit);
	look("/proc/self/stat");
	show("pending, blocked, ignored, caught", 31, 34);
	pthread_kill(pthread_self(), SIGUSR1);
	look("/proc/self/stat");
	show("pending, blocked, ignored, caught", 31, 34);
	kill(getpid(), 31);
	look("/proc/self/stat");
	show("pending, blocked, ignored, caught", 31, 34);
}

static void threads(void)
{
	pthread_t t[3];
	pthread_barrier_t barrier;
	char path[64];

	pthread_barrier_init(&barrier, NULL, 4);
	for (int n = 0; n < 3; n++)
		pthread_create(&t[n], NULL, wait_for_end, &barrier);
	pthread_barrier_wait(&barrier);
	look("/proc/self/stat");
	show("threads", 20, 20);
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", gettid());
	look(path);
	show("threads", 20, 20);
	printf("state %c, own id: %d\n", state, values[1] == gettid());
	pthread_barrier_wait(&barrier);
	for (int n = 0; n < 3; n++)
		pthread_join(t[n], NULL);
}

static char *burn(void)
{
	struct tms used;
	char *memory = malloc(50 << 20);

	memset(memory, 1, 50 << 20);
	do
		times(&used);
	while (used.tms_utime + used.tms_stime < 10);
	return memory;
}

/* Time of one thread, while another has used more. */
static void *thread_usage(void *arg)
{
	struct rusage used;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", gettid());
	do
		getrusage(RUSAGE_THREAD, &used);
	while (used.ru_utime.tv_usec + used.ru_stime.tv_usec < 50000);
	look(path);
	TRUE("time of a thread", values[14] + values[15] >= 4 && values[14] + values[15] < 9);
	return arg;
}

static void usage(void)
{
	struct tms used;
	pthread_t thread;

	look("/proc/self/stat");
	long long size = values[23], resident = values[24], faults = values[10], start = values[22];
	free(burn());
	char *memory = burn();
	times(&used);
	look("/proc/self/stat");
	TRUE("size grows", values[23] - size >= 50 << 20 && values[23] - size < 60 << 20);
	TRUE("resident pages grow", values[24] - resident >= 20 << 8);
	TRUE("faults grow", values[10] > faults);
	TRUE("time is what times(2) says", llabs(values[14] + values[15] - used.tms_utime - used.tms_stime) <= 3);
	TRUE("its start stays", values[22] == start);
	free(memory);
	pthread_create(&thread, NULL, thread_usage, NULL);
	pthread_join(thread, NULL);
	pid_t child = fork();
	if (child == 0) {
		free(burn());
		_exit(0);
	}
	waitpid(child, NULL, 0);
	look("/proc/self/stat");
	TRUE("time of children", values[16] + values[17] >= 9 && values[16] + values[17] < 100);
	TRUE("faults of children", values[11] > 0);
}

static void places(void)
{
	extern char etext, edata;
	int here;

	look("/proc/self/stat");
	TRUE("code", values[26] < values[27] && values[26] <= (intptr_t)places && values[27] >= (intptr_t)places);
	TRUE("code ends", values[27] >= (intptr_t)&etext - 4096);
	TRUE("stack", values[28] > (intptr_t)&here && values[28] - (intptr_t)&here < 1 << 20);
	TRUE("data", values[45] < values[46] && values[46] >= (intptr_t)&edata - 4096);
	TRUE("heap", values[47] >= values[46] && values[47] <= (intptr_t)sbrk(0));
	TRUE("arguments", values[48] > values[28] && values[49] > values[48]);
	TRUE("environment", values[50] >= values[49] && values[51] > values[50]);
	TRUE("limit of resident pages", (unsigned long long)values[25] == RLIM_INFINITY);
}

int main(void)
{
	char path[64];
	int ready[2];

	SHOW(look("/proc/self/stat"));
	printf("name %s, state %c\n", name, state);
	TRUE("parent", values[4] == getppid());
	TRUE("group", values[5] == getpgrp());
	TRUE("session", values[6] == getsid(0));
	show("terminal", 7, 7);
	show("not used", 21, 21);
	show("stack pointer and address of the living", 29, 30);
	show("wait channel, swap", 35, 37);
	show("exit signal", 38, 38);
	TRUE("processor", values[39] >= 0 && values[39] < sysconf(_SC_NPROCESSORS_CONF));
	show("guest time", 43, 44);
	show("exit status", 52, 52);
	printf("forked and not run anew: %lld\n", values[9] & 0x40);
	scheduling();
	IN_CHILD("signals", signals());
	threads();
	places();
	usage();
	MUST(pipe(ready));
	pid_t child = fork();
	if (child == 0) {
		MUST(write(ready[1], "x", 1));
		pause();
	}
	MUST(read(ready[0], path, 1));
	sleep_ms(50);
	snprintf(path, sizeof(path), "/proc/%d/stat", child);
	SHOW(look(path));
	printf("state %c, forked and not run anew: %lld, nice %lld\n", state, values[9] & 0x40, values[19]);
	show("wait channel, swap, exit signal", 35, 38);
	kill(child, SIGTERM);
	siginfo_t info;
	MUST(waitid(P_PID, child, &info, WEXITED | WNOWAIT));
	look(path);
	printf("state %c\n", state);
	show("size", 23, 24);
	show("threads", 20, 20);
	show("exit status", 52, 52);
	waitpid(child, NULL, 0);
	return 0;
}
