/* Timed and untimed futex waits with signals in the middle: nobody sees an error that no handler caused. */
#include "common.h"
#include <linux/futex.h>
#include <pthread.h>

static int word;

static long futex(int op, int value, const struct timespec *timeout)
{
	return syscall(SYS_futex, &word, op, value, timeout, 0, FUTEX_BITSET_MATCH_ANY);
}

static void handler(int signo)
{
	(void)signo;
}

static pid_t target;

static void *disturb(void *arg)
{
	int signo = *(int *)arg;

	for (int i = 0; i < 5; i++) {
		sleep_ms(20);
		if (signo == SIGSTOP) {
			kill(getpid(), SIGCONT);
			continue;
		}
		syscall(SYS_tgkill, getpid(), target, signo);
	}
	sleep_ms(20);
	word = 1;
	syscall(SYS_futex, &word, FUTEX_WAKE, 1, 0, 0, 0);
	return 0;
}

static void with(const char *name, int signo, int flags, const struct timespec *timeout, int op)
{
	pthread_t t;
	struct sigaction sa = {.sa_handler = signo == SIGURG ? SIG_DFL : handler, .sa_flags = flags};

	word = 0;
	target = syscall(SYS_gettid);
	if (signo != SIGSTOP)
		sigaction(signo, &sa, 0);
	pthread_create(&t, 0, disturb, &signo);
	struct timespec until;
	if (op == FUTEX_WAIT_BITSET && timeout) {
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += timeout->tv_sec;
		timeout = &until;
	}
	CHECK(name, futex(op, 0, timeout));
	pthread_join(t, 0);
}

int main(void)
{
	struct timespec second = {1, 0}, shortly = {0, 50000000};

	with("ignored signal, no timeout", SIGURG, 0, 0, FUTEX_WAIT);
	with("ignored signal, timeout", SIGURG, 0, &second, FUTEX_WAIT);
	with("continue, timeout", SIGSTOP, 0, &second, FUTEX_WAIT);
	with("handler with SA_RESTART, no timeout", SIGUSR1, SA_RESTART, 0, FUTEX_WAIT);
	with("handler without SA_RESTART, no timeout", SIGUSR1, 0, 0, FUTEX_WAIT);
	with("handler with SA_RESTART, timeout", SIGUSR1, SA_RESTART, &second, FUTEX_WAIT);
	with("handler without SA_RESTART, timeout", SIGUSR1, 0, &second, FUTEX_WAIT);
	with("absolute timeout, handler with SA_RESTART", SIGUSR1, SA_RESTART, &second, FUTEX_WAIT_BITSET);
	word = 0;
	CHECK("timeout", futex(FUTEX_WAIT, 0, &shortly));
	CHECK("other value", futex(FUTEX_WAIT, 1, 0));
	CHECK("wake nobody", futex(FUTEX_WAKE, 1, 0));
	CHECK("bad timeout", futex(FUTEX_WAIT, 0, &(struct timespec){0, -1}));
	return 0;
}
