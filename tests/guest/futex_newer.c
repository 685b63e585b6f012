/* The newer futex calls: futex_waitv, futex_wake, futex_wait, futex_requeue; and membarrier's forms about others. */
#include "common.h"
#include <linux/futex.h>
#include <pthread.h>
#include <linux/membarrier.h>

#define NR_WAITV 449
#define NR_WAKE 454
#define NR_WAIT 455
#define NR_REQUEUE 456
#define SIZE_U32 2
#define PRIVATE 128

struct waiter { uint64_t val, uaddr; uint32_t flags, reserved; };

static uint32_t words[130];

static long waitv(struct waiter *w, unsigned n, unsigned flags, struct timespec *until, int clock)
{
	return syscall(NR_WAITV, w, n, flags, until, clock);
}

static long wake(uint32_t *word, int n) { return syscall(NR_WAKE, word, ~0u, n, SIZE_U32 | PRIVATE); }

static long wait_(uint32_t *word, uint32_t value, struct timespec *until)
{
	return syscall(NR_WAIT, word, (long)value, (long)~0u, SIZE_U32 | PRIVATE, until, CLOCK_MONOTONIC);
}

static struct timespec in_ms(long ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += ms * 1000000;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	return t;
}

static struct waiter *all(unsigned n)
{
	static struct waiter w[130];

	for (unsigned i = 0; i < 130; i++)
		w[i] = (struct waiter){ 0, (uintptr_t)&words[i], SIZE_U32 | PRIVATE, 0 };
	(void)n;
	return w;
}

static void errors(void)
{
	struct timespec soon = in_ms(20), bad = { 0, 1000000000 };
	struct waiter *w = all(130);

	SHOW(waitv(w, 0, 0, NULL, 0));
	SHOW(waitv(w, 129, 0, NULL, 0));
	SHOW(waitv(w, 1, 1, NULL, 0));
	SHOW(waitv(NULL, 1, 0, NULL, 0));
	SHOW(waitv((void *)8, 1, 0, NULL, 0));
	SHOW(waitv(w, 1, 0, &soon, CLOCK_BOOTTIME));
	SHOW(waitv(w, 1, 0, &bad, CLOCK_MONOTONIC));
	SHOW(waitv(w, 128, 0, &soon, CLOCK_MONOTONIC));
	w[1].reserved = 1;
	SHOW(waitv(w, 2, 0, NULL, 0));
	w = all(2);
	w[1].flags = 0;
	SHOW(waitv(w, 2, 0, NULL, 0));
	w = all(2);
	w[1].uaddr += 1;
	SHOW(waitv(w, 2, 0, NULL, 0));
	w = all(2);
	w[1].val = 7;
	SHOW(waitv(w, 2, 0, NULL, 0));
	soon = in_ms(20);
	SHOW(wait_(&words[0], 1, NULL));
	SHOW(wait_(&words[0], 0, &soon));
	SHOW(wait_((uint32_t *)8, 0, NULL));
	SHOW(syscall(NR_WAKE, &words[0], ~0u, 1, 0x100));
	SHOW(wake(&words[0], 1));
	SHOW(syscall(NR_REQUEUE, w, 1, 1, 1));
	SHOW(syscall(NR_REQUEUE, all(2), 0, -1, 1));
}

static long result;

static void *waits_for_many(void *arg)
{
	(void)arg;
	result = waitv(all(5), 5, 0, NULL, 0);
	return NULL;
}

static void *waits_for_one(void *arg)
{
	(void)arg;
	result = wait_(&words[0], 0, NULL);
	return NULL;
}

static void wakes(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, waits_for_many, NULL);
	while (wake(&words[3], 1) != 1)
		sleep_ms(1);
	pthread_join(thread, NULL);
	printf("woken by %ld\n", result);
	pthread_create(&thread, NULL, waits_for_one, NULL);
	struct waiter pair[2] = { all(2)[0], all(2)[1] };
	while (syscall(NR_REQUEUE, pair, 0, 0, 1) != 1)
		sleep_ms(1);
	printf("at the old place: %ld\n", wake(&words[0], 1));
	printf("at the new place: %ld\n", wake(&words[1], 1));
	pthread_join(thread, NULL);
	printf("requeued and woken: %ld\n", result);
}

static volatile sig_atomic_t hits;
static void on_signal(int signo) { hits += signo == SIGUSR1; }

static void signals(int restart)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = restart };
	struct timespec far = in_ms(400);
	sigset_t set, old;

	sigaction(SIGUSR1, &sa, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	for (int kind = 0; kind < 3; kind++) {
		pid_t me = getpid(), pid;

		hits = 0;
		far = in_ms(300);
		sigprocmask(SIG_BLOCK, &set, &old);
		fflush(stdout);
		pid = fork();
		if (!pid) {
			sleep_ms(80);
			kill(me, SIGUSR1);
			_exit(0);
		}
		sigprocmask(SIG_SETMASK, &old, NULL);
		errno = 0;
		long r = kind == 0 ? waitv(all(2), 2, 0, &far, CLOCK_MONOTONIC) :
			 kind == 1 ? wait_(&words[0], 0, &far) : waitv(all(2), 2, 0, &far, CLOCK_MONOTONIC);
		printf("restart %d, kind %d: %ld %s, handled %d\n", !!restart, kind, r, strerrorname_np(errno), hits);
		waitpid(pid, NULL, 0);
	}
}

int main(void)
{
	errors();
	wakes();
	signals(0);
	signals(SA_RESTART);
	long query = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
	TRUE("global", query & MEMBARRIER_CMD_GLOBAL);
	SHOW(syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0));
	SHOW(syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 1, 0));
	SHOW(syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0));
	SHOW(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0));
	SHOW(syscall(SYS_membarrier, 1 << 20, 0, 0));
	return 0;
}
