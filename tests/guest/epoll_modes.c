/* epoll(7): modes, errors, nesting, closing. */
#include "common.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <pthread.h>

static int ep;
static struct epoll_event out[8];

static int ctl(int op, int fd, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.u64 = fd };
	return epoll_ctl(ep, op, fd, &e);
}

static void show(const char *name, int timeout)
{
	int n = epoll_wait(ep, out, 8, timeout);
	printf("%s: %d", name, n);
	for (int i = 0; i < n; i++)
		printf(" %#x", out[i].events);
	printf("\n");
}

static void *late(void *arg)
{
	sleep_ms(50);
	write(*(int *)arg, "12345678", 8);
	return NULL;
}

static volatile int got;

static void on_alarm(int sig)
{
	got = sig;
}

int main(void)
{
	int fd[2];
	char buf[64];
	SHOW(epoll_create(0));
	WORKS("bad flags", epoll_create1(1));
	ep = epoll_create1(EPOLL_CLOEXEC);
	MUST(pipe(fd));
	SHOW(ctl(EPOLL_CTL_ADD, fd[0], EPOLLIN));
	CHECK("twice", ctl(EPOLL_CTL_ADD, fd[0], EPOLLIN));
	CHECK("not there", ctl(EPOLL_CTL_MOD, fd[1], EPOLLIN));
	CHECK("not there", ctl(EPOLL_CTL_DEL, fd[1], EPOLLIN));
	CHECK("not open", ctl(EPOLL_CTL_ADD, 999, EPOLLIN));
	CHECK("itself", ctl(EPOLL_CTL_ADD, ep, EPOLLIN));
	CHECK("unknown operation", ctl(99, fd[0], EPOLLIN));
	CHECK("no event", epoll_ctl(ep, EPOLL_CTL_MOD, fd[0], NULL));
	CHECK("not an epoll", epoll_ctl(fd[0], EPOLL_CTL_ADD, fd[1], out));
	int file = open("/etc/passwd", O_RDONLY);
	CHECK("regular file", ctl(EPOLL_CTL_ADD, file, EPOLLIN));
	CHECK("no room", epoll_wait(ep, out, 0, 0));
	CHECK("not an epoll", epoll_wait(fd[0], out, 1, 0));
	show("empty", 0);
	write(fd[1], "xy", 2);
	show("level", 0);
	show("level again", 0);
	CHECK("mod", ctl(EPOLL_CTL_MOD, fd[0], EPOLLIN | EPOLLET));
	show("edge", 0);
	show("edge again", 0);
	write(fd[1], "z", 1);
	show("edge after write", 0);
	CHECK("mod", ctl(EPOLL_CTL_MOD, fd[0], EPOLLIN | EPOLLONESHOT));
	show("one shot", 0);
	write(fd[1], "z", 1);
	show("one shot again", 0);
	CHECK("mod", ctl(EPOLL_CTL_MOD, fd[0], EPOLLIN | EPOLLONESHOT));
	show("armed again", 0);
	CHECK("mod", ctl(EPOLL_CTL_MOD, fd[0], 0));
	show("nothing asked", 0);
	close(fd[1]);
	show("hang-up anyway", 0);
	int copy = dup(fd[0]);
	close(fd[0]);
	show("closed but for a copy", 0);
	close(copy);
	show("closed", 0);

	int ev = eventfd(0, EFD_NONBLOCK);
	SHOW(ctl(EPOLL_CTL_ADD, ev, EPOLLIN | EPOLLOUT | EPOLLET));
	show("eventfd", 0);
	show("eventfd again", 0);
	read(ev, buf, 8);
	uint64_t one = 1;
	write(ev, &one, 8);
	show("eventfd written", 0);
	SHOW(ctl(EPOLL_CTL_DEL, ev, 0));
	CHECK("exclusive", ctl(EPOLL_CTL_ADD, ev, EPOLLIN | EPOLLEXCLUSIVE));
	CHECK("exclusive cannot change", ctl(EPOLL_CTL_MOD, ev, EPOLLIN));
	SHOW(ctl(EPOLL_CTL_DEL, ev, 0));
	CHECK("exclusive one-shot", ctl(EPOLL_CTL_ADD, ev, EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT));

	int outer = ep, inner = epoll_create1(0);
	SHOW(ctl(EPOLL_CTL_ADD, inner, EPOLLIN));
	ep = inner;
	CHECK("loop", ctl(EPOLL_CTL_ADD, outer, EPOLLIN));
	SHOW(ctl(EPOLL_CTL_ADD, ev, EPOLLIN));
	ep = outer;
	show("nested", 0);
	read(ev, buf, 8);
	show("nested, read", 0);
	int chain[6];
	chain[0] = inner;
	for (int i = 1; i < 6; i++) {
		chain[i] = epoll_create1(0);
		ep = chain[i];
		CHECK("chain", ctl(EPOLL_CTL_ADD, chain[i - 1], EPOLLIN));
	}

	ep = epoll_create1(0);
	MUST(pipe(fd));
	SHOW(ctl(EPOLL_CTL_ADD, fd[0], EPOLLIN));
	pthread_t thread;
	pthread_create(&thread, NULL, late, &fd[1]);
	show("wait for another thread", 2000);
	pthread_join(thread, NULL);
	read(fd[0], buf, 64);
	long start = now_ms();
	show("time-out", 60);
	TRUE("waited about 60 ms", now_ms() - start >= 59 && now_ms() - start < 500);
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	sigaction(SIGALRM, &sa, NULL);
	ualarm(30000, 0);
	CHECK("interrupted", epoll_wait(ep, out, 8, -1));
	sigset_t block;
	sigemptyset(&block);
	sigaddset(&block, SIGALRM);
	got = 0;
	ualarm(20000, 0);
	CHECK("signal blocked", epoll_pwait(ep, out, 8, 60, &block));
	TRUE("delivered afterwards", got == SIGALRM);
	struct timespec ts = { 0, 1000 };
	CHECK("pwait2", epoll_pwait2(ep, out, 8, &ts, NULL));

	int many[20][2];
	for (int i = 0; i < 20; i++) {
		MUST(pipe(many[i]));
		ctl(EPOLL_CTL_ADD, many[i][0], EPOLLIN);
		write(many[i][1], "x", 1);
	}
	int seen = 0;
	for (int round = 0; round < 3; round++) {
		int n = epoll_wait(ep, out, 8, 0);
		printf("round %d: %d\n", round, n);
		for (int i = 0; i < n; i++) {
			read(out[i].data.fd, buf, 1);
			seen++;
		}
	}
	printf("seen %d\n", seen);
	return 0;
}
