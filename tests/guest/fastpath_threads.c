/* Calls of several threads at once, from places that are rewritten while they run; signals and forks in the middle. */
#include "common.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/time.h>

enum { THREADS = 4, ROUNDS = 3000, FORKS = 20 };

static int file, zero;
static pid_t me;
static char *volatile nowhere = (char *)8;
static atomic_int alarms, wrong;

static void expect(int holds)
{
	if (!holds)
		atomic_fetch_add(&wrong, 1);
}

/* May have stopped its thread anywhere. */
static void on_alarm(int signo)
{
	int saved = errno;

	(void)signo;
	atomic_fetch_add(&alarms, 1);
	expect(getpid() == me || getppid() == me);
	errno = saved;
}

static void work(int rounds, pid_t pid)
{
	char buf[64];
	struct stat st;

	for (int i = 0; i < rounds; i++) {
		memset(buf, 0xff, sizeof buf);
		expect(pread(file, buf, 8, (i % 100) * 8) == 8 && atoi(buf) == i % 100);
		expect(read(zero, buf, sizeof buf) == sizeof buf && buf[0] == 0 && buf[63] == 0);
		expect(lseek(zero, 0, SEEK_CUR) == 0);
		expect(write(-1, buf, 1) == -1 && errno == EBADF);
		expect(read(zero, nowhere, 1) == -1 && errno == EFAULT);
		expect(getpid() == pid);
		expect(fstat(file, &st) == 0 && st.st_size == 800);
	}
}

static void *worker(void *unused)
{
	pid_t tid = gettid();

	(void)unused;
	work(ROUNDS, me);
	for (int i = 0; i < ROUNDS; i++)
		expect(gettid() == tid);
	return NULL;
}

static void *forker(void *unused)
{
	(void)unused;
	for (int i = 0; i < FORKS; i++) {
		int status = 0;
		pid_t child = fork();

		if (child == 0) {
			wrong = 0;
			work(50, getpid());
			_exit(wrong ? 1 : 42);
		}
		while (waitpid(child, &status, 0) == -1 && errno == EINTR)
			;
		expect(WIFEXITED(status) && WEXITSTATUS(status) == 42);
	}
	return NULL;
}

int main(void)
{
	char path[] = "/tmp/fastpath_threads.XXXXXX", line[9];
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	struct itimerval every = { { 0, 700 }, { 0, 700 } }, never = { { 0, 0 }, { 0, 0 } };
	pthread_t threads[THREADS + 1];

	file = mkstemp(path);
	unlink(path);
	for (int i = 0; i < 100; i++) {
		snprintf(line, sizeof line, "%07d\n", i);
		expect(write(file, line, 8) == 8);
	}
	zero = open("/dev/zero", O_RDONLY);
	me = getpid();
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, worker, NULL);
	pthread_create(&threads[THREADS], NULL, forker, NULL);
	work(ROUNDS, me);
	for (int i = 0; i <= THREADS; i++)
		pthread_join(threads[i], NULL);
	setitimer(ITIMER_REAL, &never, NULL);
	printf("calls that went wrong: %d\n", wrong);
	printf("alarms came: %d\n", alarms > 0);
	return 0;
}
