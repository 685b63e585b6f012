/* mq_overview(7). */
#include "common.h"
#include <mqueue.h>
#include <poll.h>

static volatile int got, value;

static void on_signal(int sig, siginfo_t *info, void *context)
{
	(void)context;
	got = sig;
	value = info->si_value.sival_int;
}

int main(void)
{
	char name[64], buf[100];
	unsigned prio;
	int status;
	snprintf(name, sizeof name, "/guest-test-%d", getpid());
	WORKS("not there", mq_open(name, O_RDWR));
	struct mq_attr attr = { .mq_maxmsg = 3, .mq_msgsize = 100 }, old;
	mqd_t q = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
	TRUE("made", q != (mqd_t)-1);
	WORKS("exists", mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr));
	SHOW(mq_getattr(q, &old));
	printf("%ld %ld %ld %ld\n", old.mq_flags, old.mq_maxmsg, old.mq_msgsize, old.mq_curmsgs);
	SHOW(mq_send(q, "low", 3, 1));
	SHOW(mq_send(q, "high", 4, 9));
	SHOW(mq_send(q, "low too", 7, 1));
	SHOW(mq_send(q, buf, 101, 1));
	SHOW(mq_send(q, buf, 1, 32768));
	struct pollfd p = { q, POLLIN | POLLOUT, 0 };
	SHOW(poll(&p, 1, 0));
	printf("revents %#x\n", p.revents);
	struct timespec past = { 1, 0 };
	SHOW(mq_timedsend(q, "x", 1, 0, &past));
	attr.mq_flags = O_NONBLOCK;
	SHOW(mq_setattr(q, &attr, &old));
	SHOW(mq_send(q, "x", 1, 0));
	SHOW(mq_receive(q, buf, 99, &prio));
	for (int i = 0; i < 3; i++) {
		int n = SHOW(mq_receive(q, buf, 100, &prio));
		printf("%u %.*s\n", prio, n, buf);
	}
	SHOW(mq_receive(q, buf, 100, &prio));
	attr.mq_flags = 0;
	SHOW(mq_setattr(q, &attr, NULL));
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
	sigaction(SIGUSR1, &sa, NULL);
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 5 };
	SHOW(mq_notify(q, &event));
	SHOW(mq_notify(q, &event));
	SHOW(mq_send(q, "told", 4, 0));
	printf("signal %d value %d\n", got == SIGUSR1, value);
	SHOW(mq_notify(q, &event));
	SHOW(mq_notify(q, NULL));
	SHOW(mq_receive(q, buf, 100, NULL));
	pid_t pid = fork();
	if (pid == 0) {
		sleep_ms(30);
		_exit(mq_send(q, "from the child", 14, 3) == 0 ? 4 : 1);
	}
	SHOW(mq_receive(q, buf, 100, &prio));
	waitpid(pid, &status, 0);
	report_status("child", status);
	mqd_t r = mq_open(name, O_RDONLY);
	CHECK("read-only", mq_send(r, "x", 1, 0));
	SHOW(mq_unlink(name));
	SHOW(mq_unlink(name));
	SHOW(mq_send(q, "still open", 10, 0));
	SHOW(mq_close(q));
	SHOW(mq_receive(r, buf, 100, NULL));
	CHECK("not a queue", mq_send(1, "x", 1, 0));
	return 0;
}
