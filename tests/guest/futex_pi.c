/* Futexes with priority inheritance: the calls themselves, and the C library's mutexes on top of them. */
#include "common.h"
#include <linux/futex.h>
#include <pthread.h>
#include <sys/time.h>

#define PRIVATE FUTEX_PRIVATE_FLAG
#ifndef FUTEX_LOCK_PI2
#define FUTEX_LOCK_PI2 13
#endif

static long futex(uint32_t *word, int op, struct timespec *until)
{
	return syscall(SYS_futex, word, op, 0, until, NULL, 0);
}

static uint32_t me(void) { return syscall(SYS_gettid); }

/* The word, with the caller's id as "me". */
static void word(const char *name, uint32_t w)
{
	uint32_t tid = w & FUTEX_TID_MASK;

	printf("%s: %s%s%s\n", name, tid == 0 ? "nobody" : tid == me() ? "me" : "another", w & FUTEX_WAITERS ? " waiters" : "",
	       w & FUTEX_OWNER_DIED ? " died" : "");
}

static struct timespec in_ms(clockid_t clock, long ms)
{
	struct timespec t;

	clock_gettime(clock, &t);
	t.tv_nsec += ms * 1000000;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	return t;
}

static uint32_t lock;
static int order[4], taken, at_lock;

static void await(int *value, int wanted)
{
	for (long end = now_ms() + 10000; __atomic_load_n(value, __ATOMIC_ACQUIRE) < wanted && now_ms() < end;)
		sleep_ms(1);
}

static void errors(void)
{
	uint32_t w = 0;
	struct timespec bad = { 0, -1 }, soon;

	SHOW(futex((uint32_t *)((char *)&w + 1), FUTEX_LOCK_PI, NULL));
	SHOW(futex((uint32_t *)8, FUTEX_LOCK_PI, NULL));
	SHOW(futex((uint32_t *)8, FUTEX_UNLOCK_PI, NULL));
	SHOW(futex(&w, FUTEX_LOCK_PI, &bad));
	SHOW(futex(&w, FUTEX_LOCK_PI, (void *)8));
	SHOW(futex(&w, FUTEX_UNLOCK_PI | FUTEX_CLOCK_REALTIME, NULL));
	SHOW(futex(&w, FUTEX_UNLOCK_PI, NULL));
	SHOW(futex(&w, FUTEX_LOCK_PI, NULL));
	word("locked", w);
	SHOW(futex(&w, FUTEX_LOCK_PI, NULL));
	SHOW(futex(&w, FUTEX_TRYLOCK_PI, NULL));
	SHOW(futex(&w, FUTEX_UNLOCK_PI, NULL));
	word("unlocked", w);
	SHOW(futex(&w, FUTEX_TRYLOCK_PI | PRIVATE, NULL));
	word("tried", w);
	SHOW(futex(&w, FUTEX_UNLOCK_PI | PRIVATE, NULL));
	w = FUTEX_OWNER_DIED;
	SHOW(futex(&w, FUTEX_LOCK_PI2 | PRIVATE, NULL));
	word("of one who died", w);
	SHOW(futex(&w, FUTEX_UNLOCK_PI | PRIVATE, NULL));
	w = 0x3ffffff0;
	SHOW(futex(&w, FUTEX_LOCK_PI, NULL));
	SHOW(futex(&w, FUTEX_TRYLOCK_PI, NULL));
	pid_t other = fork();
	if (!other)
		for (;;)
			pause();
	w = other;
	soon = in_ms(CLOCK_REALTIME, 30);
	long start = now_ms();
	SHOW(futex(&w, FUTEX_LOCK_PI, &soon));
	TRUE("waited", now_ms() - start >= 25);
	soon = in_ms(CLOCK_MONOTONIC, 30);
	SHOW(futex(&w, FUTEX_LOCK_PI2, &soon));
	soon = in_ms(CLOCK_REALTIME, 30);
	SHOW(futex(&w, FUTEX_LOCK_PI2 | FUTEX_CLOCK_REALTIME, &soon));
	SHOW(futex(&w, FUTEX_TRYLOCK_PI, NULL));
	SHOW(futex(&w, FUTEX_UNLOCK_PI, NULL));
	word("another's", w);
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
}

static void *waiter(void *arg)
{
	__atomic_add_fetch(&at_lock, 1, __ATOMIC_RELEASE);
	if (futex(&lock, FUTEX_LOCK_PI | PRIVATE, NULL))
		return arg;
	order[taken++] = (int)(long)arg;
	if ((lock & FUTEX_TID_MASK) != me())
		taken += 100;
	futex(&lock, FUTEX_UNLOCK_PI | PRIVATE, NULL);
	return NULL;
}

static void line(void)
{
	pthread_t t[3];

	SHOW(futex(&lock, FUTEX_LOCK_PI | PRIVATE, NULL));
	for (long i = 0; i < 3; i++) {
		pthread_create(&t[i], NULL, waiter, (void *)i);
		await(&at_lock, i + 1);
		sleep_ms(50);
	}
	word("contended", lock);
	SHOW(futex(&lock, FUTEX_UNLOCK_PI | PRIVATE, NULL));
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	printf("one after the other: %d %d %d of %d\n", order[0], order[1], order[2], taken);
	TRUE("free in the end", (lock & FUTEX_TID_MASK) == 0);
}

static pthread_mutex_t mutex;
static long counter;
#define ROUNDS 3000

static void *counts(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) {
		pthread_mutex_lock(&mutex);
		counter++;
		pthread_mutex_unlock(&mutex);
	}
	return arg;
}

static volatile sig_atomic_t alarms;
static void on_alarm(int signo) { alarms += signo == SIGALRM; }

static void mutexes(int shared)
{
	pthread_mutexattr_t attr;
	pthread_t t[4];

	pthread_mutexattr_init(&attr);
	SHOW(pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT));
	pthread_mutexattr_setpshared(&attr, shared);
	SHOW(pthread_mutex_init(&mutex, &attr));
	counter = 0;
	struct itimerval every = { { 0, 500 }, { 0, 500 } }, never = { { 0, 0 }, { 0, 0 } };
	signal(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &every, NULL);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, counts, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	setitimer(ITIMER_REAL, &never, NULL);
	printf("counted with %s memory: %ld\n", shared ? "shared" : "private", counter);
	pthread_mutex_lock(&mutex);
	SHOW(pthread_mutex_trylock(&mutex));
	pthread_mutex_unlock(&mutex);
	SHOW(pthread_mutex_destroy(&mutex));
}

struct shared {
	pthread_mutex_t mutex;
	long counter;
	int ready;
};

/* A robust mutex in memory that processes share, whose holder dies: by exit, or killed. */
static void robust(int protocol, int how)
{
	struct shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t attr;
	int status;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setprotocol(&attr, protocol);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&s->mutex, &attr);
	fflush(stdout);
	pid_t pid = fork();
	if (!pid) {
		pthread_mutex_lock(&s->mutex);
		__atomic_store_n(&s->ready, 1, __ATOMIC_RELEASE);
		sleep_ms(how % 2 ? 0 : 100);
		if (how >= 2)
			raise(SIGKILL);
		_exit(0);
	}
	await(&s->ready, 1);
	if (how % 2)
		waitpid(pid, &status, 0);
	int got = pthread_mutex_lock(&s->mutex);
	printf("protocol %d, holder ended in way %d: %s\n", protocol, how, got ? strerrorname_np(got) : "locked");
	SHOW(pthread_mutex_consistent(&s->mutex));
	SHOW(pthread_mutex_unlock(&s->mutex));
	SHOW(pthread_mutex_lock(&s->mutex));
	SHOW(pthread_mutex_unlock(&s->mutex));
	if (how % 2 == 0)
		waitpid(pid, &status, 0);
}

/* Two processes that count. */
static void processes(void)
{
	struct shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&s->mutex, &attr);
	fflush(stdout);
	pid_t pid = fork();
	for (int i = 0; i < ROUNDS; i++) {
		pthread_mutex_lock(&s->mutex);
		s->counter++;
		pthread_mutex_unlock(&s->mutex);
	}
	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
	printf("processes counted: %ld\n", s->counter);
}

int main(void)
{
	errors();
	line();
	mutexes(PTHREAD_PROCESS_PRIVATE);
	mutexes(PTHREAD_PROCESS_SHARED);
	processes();
	for (int how = 0; how < 4; how++)
		robust(PTHREAD_PRIO_INHERIT, how);
	robust(PTHREAD_PRIO_NONE, 0);
	robust(PTHREAD_PRIO_NONE, 1);
	robust(PTHREAD_PRIO_NONE, 3);
	return 0;
}
