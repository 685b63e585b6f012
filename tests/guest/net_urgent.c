/* tcp(7): urgent data over lo and over interfaces: marks, SIGURG, SO_OOBINLINE, POLLPRI, one byte after another. */
#include "veth.h"
#include <netinet/tcp.h>
#include <poll.h>

static volatile sig_atomic_t urgent_signals;

static void on_urgent(int sig)
{
	(void)sig;
	urgent_signals++;
}

static void settle(void)
{
	sleep_ms(25);
}

static void show_poll(const char *name, int fd)
{
	struct pollfd p = { fd, POLLIN | POLLPRI | POLLRDHUP, 0 };
	int n = poll(&p, 1, 0);

	printf("%s: poll %d %#x\n", name, n, p.revents);
}

static void got(const char *name, int fd, int flags)
{
	char buf[64] = "";
	int mark = -1, left = -1;

	errno = 0;
	long n = recv(fd, buf, sizeof buf - 1, flags | MSG_DONTWAIT);
	printf("%s: %ld %s '%s'", name, n, n < 0 ? strerrorname_np(errno) : "-", n > 0 ? buf : "");
	ioctl(fd, SIOCATMARK, &mark);
	ioctl(fd, FIONREAD, &left);
	printf(" mark %d left %d\n", mark, left);
	fflush(stdout);
}

static void one(int a, int b)
{
	int on = 1;

	got("nothing urgent", b, MSG_OOB);
	SHOW(fcntl(b, F_SETOWN, getpid()));
	urgent_signals = 0;
	SHOW(send(a, "abc", 3, 0));
	SHOW(send(a, "deX", 3, MSG_OOB));
	SHOW(send(a, "fgh", 3, 0));
	settle();
	printf("signals %d\n", urgent_signals);
	show_poll("urgent", b);
	got("peek", b, MSG_PEEK);
	got("up to the mark", b, 0);
	got("peek at the mark", b, MSG_PEEK);
	got("urgent, peeked", b, MSG_OOB | MSG_PEEK);
	got("urgent", b, MSG_OOB);
	got("urgent again", b, MSG_OOB);
	show_poll("taken", b);
	got("behind", b, 0);
	got("no more", b, 0);
	SHOW(send(a, "Y", 1, MSG_OOB));
	settle();
	printf("signals %d\n", urgent_signals);
	show_poll("only urgent", b);
	got("only urgent, plain", b, 0);
	got("then", b, MSG_OOB);
	SHOW(setsockopt(b, SOL_SOCKET, SO_OOBINLINE, &on, sizeof on));
	SHOW(send(a, "ij", 2, 0));
	SHOW(send(a, "Z", 1, MSG_OOB));
	SHOW(send(a, "kl", 2, 0));
	settle();
	got("inline, apart", b, MSG_OOB);
	got("inline, up to the mark", b, 0);
	got("inline, from the mark", b, 0);
	got("inline, no more", b, 0);
	SHOW(send(a, "M", 1, MSG_OOB));
	settle();
	show_poll("inline, only urgent", b);
	got("inline, only urgent", b, 0);
}

static void several(int a, int b)
{
	/* The second takes the first's place. */
	SHOW(send(a, "1A", 2, MSG_OOB));
	SHOW(send(a, "2B", 2, MSG_OOB));
	settle();
	got("second", b, MSG_OOB);
	got("up to the second", b, 0);
	got("behind it", b, 0);
	/* The first is next to be read when the second comes. */
	SHOW(send(a, "C", 1, MSG_OOB));
	settle();
	SHOW(send(a, "D", 1, MSG_OOB));
	settle();
	got("D", b, MSG_OOB);
	got("before D", b, 0);
	SHOW(send(a, "E", 1, MSG_OOB));
	settle();
	got("E", b, MSG_OOB);
	SHOW(send(a, "fF", 2, MSG_OOB));
	settle();
	show_poll("E taken, F there", b);
	got("before F", b, 0);
	got("F", b, MSG_OOB);
	got("behind F", b, 0);
	/* No room for it. */
	SHOW(send(a, "G", 1, MSG_OOB));
	settle();
	char none;
	struct iovec iov = { &none, 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	SHOW(recvmsg(b, &msg, MSG_OOB));
	printf("flags %#x\n", msg.msg_flags);
	got("gone", b, MSG_OOB);
	/* Nobody waits for it. */
	SHOW(send(a, "", 0, MSG_OOB));
	SHOW(send(a, "tail", 4, 0));
	settle();
	got("tail", b, 0);
	show_poll("at the end of it", b);
}

static void ended(int a, int b)
{
	SHOW(send(a, "xU", 2, MSG_OOB));
	SHOW(shutdown(a, SHUT_WR));
	settle();
	show_poll("ended", b);
	got("x", b, 0);
	got("U", b, MSG_OOB);
	got("end", b, 0);
	got("urgent at the end", b, MSG_OOB);
}

static void all(const char *name, void (*make)(int *, int *))
{
	void (*parts[])(int, int) = { one, several, ended };

	for (int n = 0; n < 3; n++) {
		int a, b;

		printf("%s %d\n", name, n);
		make(&a, &b);
		parts[n](a, b);
		close(a);
		close(b);
	}
}

int main(void)
{
	signal(SIGURG, on_urgent);
	veth_setup();
	all("lo", lo_connect);
	all("cable", veth_connect);
	return 0;
}
