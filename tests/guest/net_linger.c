/* socket(7): SO_LINGER of connections over interfaces: how long close waits, and for what. */
#include "veth.h"
#include <poll.h>
#include <sys/time.h>
#include <sys/time.h>
#include <pthread.h>

static void linger(int s, int seconds)
{
	struct linger l = { 1, seconds };

	SHOW(setsockopt(s, SOL_SOCKET, SO_LINGER, &l, sizeof l));
}

/* Sends until nothing more fits; how much that was. */
static long fill(int s)
{
	static char data[1 << 16];
	long sum = 0, n;

	do {
		while ((n = send(s, data, sizeof data, MSG_DONTWAIT)) > 0)
			sum += n;
		sleep_ms(20);
	} while ((n = send(s, data, sizeof data, MSG_DONTWAIT)) > 0 && (sum += n));
	return sum;
}

static long drained;

static void *drain(void *arg)
{
	static char buf[1 << 16];
	long n;

	sleep_ms(200);
	while ((n = recv(*(int *)arg, buf, sizeof buf, 0)) > 0)
		drained += n;
	return NULL;
}

static void on_alarm(int sig)
{
	(void)sig;
}

static void took(const char *name, long start, long least, long most)
{
	long ms = now_ms() - start;

	TRUE(name, ms >= least && ms <= most);
	if (ms < least || ms > most)
		printf("%ld ms\n", ms);
}

int main(void)
{
	int a, b, small = 4096;
	long start, sent;
	char c;
	struct itimerval soon = { .it_value.tv_usec = 200000 };
	pthread_t thread;

	signal(SIGALRM, on_alarm);
	veth_setup();

	veth_connect(&a, &b);
	linger(a, 0);
	SHOW(send(a, "x", 1, 0));
	SHOW(close(a));
	sleep_ms(20);
	/* What had come is lost or not; then the connection is. */
	while (recv(b, &c, 1, 0) == 1)
		;
	printf("%s\n", strerrorname_np(errno));
	close(b);

	veth_connect(&a, &b);
	linger(a, 5);
	SHOW(send(a, "x", 1, 0));
	start = now_ms();
	SHOW(close(a));
	took("nothing to wait for", start, 0, 150);
	SHOW(recv(b, &c, 1, 0));
	SHOW(recv(b, &c, 1, 0));
	close(b);

	veth_connect(&a, &b);
	MUST(setsockopt(b, SOL_SOCKET, SO_RCVBUF, &small, sizeof small));
	MUST(fill(a));
	linger(a, 1);
	start = now_ms();
	SHOW(close(a));
	took("waits for a second", start, 950, 1400);
	close(b);

	veth_connect(&a, &b);
	MUST(setsockopt(b, SOL_SOCKET, SO_RCVBUF, &small, sizeof small));
	MUST(sent = fill(a));
	linger(a, 30);
	MUST(fcntl(a, F_SETFL, O_NONBLOCK));
	pthread_create(&thread, NULL, drain, &b);
	start = now_ms();
	SHOW(close(a));
	took("waits until all is there", start, 190, 3000);
	pthread_join(thread, NULL);
	TRUE("all of it", sent == drained);
	close(b);

	veth_connect(&a, &b);
	MUST(setsockopt(b, SOL_SOCKET, SO_RCVBUF, &small, sizeof small));
	MUST(fill(a));
	linger(a, 30);
	int other = dup(a);
	start = now_ms();
	SHOW(close(other));
	took("only the last one waits", start, 0, 100);
	setitimer(ITIMER_REAL, &soon, NULL);
	start = now_ms();
	SHOW(close(a));
	took("a signal ends it", start, 150, 600);
	SHOW(close(a));
	close(b);
	return 0;
}
