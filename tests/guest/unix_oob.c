/* unix(7): urgent bytes of streams: marks, SIGURG, SO_OOBINLINE, POLLPRI, one byte after another. */
#include "common.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#ifndef SIOCATMARK
#define SIOCATMARK 0x8905
#endif

static volatile sig_atomic_t urgent_signals;
static int a, b;

static void on_urgent(int sig)
{
	(void)sig;
	urgent_signals++;
}

static void pair(void)
{
	int s[2];

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	a = s[0];
	b = s[1];
}

static void unpair(void)
{
	close(a);
	close(b);
}

static void got(const char *name, size_t max, int flags)
{
	char buf[64] = "";
	int mark = -1;
	struct pollfd p = { b, POLLIN | POLLPRI | POLLRDHUP, 0 };

	errno = 0;
	long n = recv(b, buf, max, flags | MSG_DONTWAIT);
	int error = errno;
	ioctl(b, SIOCATMARK, &mark);
	poll(&p, 1, 0);
	printf("%s: %ld %s '%s' mark %d poll %#x\n", name, n, n < 0 ? strerrorname_np(error) : "-", n > 0 ? buf : "",
	       mark, p.revents);
	fflush(stdout);
}

static void plain(void)
{
	int left;

	pair();
	SHOW(fcntl(b, F_SETOWN, getpid()));
	got("nothing urgent", 9, MSG_OOB);
	SHOW(send(a, "", 0, MSG_OOB));
	SHOW(send(a, "abc", 3, 0));
	SHOW(send(a, "deX", 3, MSG_OOB));
	SHOW(send(a, "fgh", 3, 0));
	printf("signals %d\n", urgent_signals);
	SHOW(ioctl(b, FIONREAD, &left));
	printf("to read %d\n", left);
	got("peek", 20, MSG_PEEK);
	got("some", 2, 0);
	got("up to the mark", 20, 0);
	got("peek at the mark", 20, MSG_PEEK);
	got("urgent, peeked", 9, MSG_OOB | MSG_PEEK);
	got("urgent", 9, MSG_OOB);
	got("urgent again", 9, MSG_OOB);
	got("behind", 20, 0);
	got("no more", 20, 0);
	SHOW(send(a, "Y", 1, MSG_OOB));
	got("only urgent, plain", 9, 0);
	got("then", 9, MSG_OOB);
	SHOW(send(a, "Z", 1, MSG_OOB));
	got("only urgent", 9, MSG_OOB);
	got("only its mark", 9, 0);
	SHOW(send(a, "after", 5, 0));
	got("after", 9, 0);
	SHOW(send(a, "V", 1, MSG_OOB));
	got("without room", 0, MSG_OOB);
	SHOW(recv(b, (void *)1, 1, MSG_OOB));
	got("V", 9, MSG_OOB);
	unpair();
}

static void several(void)
{
	pair();
	SHOW(send(a, "1A", 2, MSG_OOB));
	SHOW(send(a, "2B", 2, MSG_OOB));
	got("second", 9, MSG_OOB);
	got("up to the second", 20, 0);
	got("no more", 20, 0);
	SHOW(send(a, "C", 1, MSG_OOB));
	SHOW(send(a, "D", 1, MSG_OOB));
	got("D", 9, MSG_OOB);
	got("before D", 9, 0);
	got("no more", 9, 0);
	SHOW(send(a, "E", 1, MSG_OOB));
	got("E", 9, MSG_OOB);
	SHOW(send(a, "fF", 2, MSG_OOB));
	got("peek before F", 9, MSG_PEEK);
	got("before F", 9, 0);
	got("F", 9, MSG_OOB);
	got("no more", 9, 0);
	SHOW(send(a, "gG", 2, MSG_OOB));
	SHOW(send(a, "h", 1, 0));
	got("G", 9, MSG_OOB);
	got("over the mark, peeked", 9, MSG_PEEK);
	got("to the mark", 9, 0);
	got("behind", 9, 0);
	unpair();
}

static void inlined(void)
{
	int on = 1;

	pair();
	SHOW(setsockopt(b, SOL_SOCKET, SO_OOBINLINE, &on, sizeof on));
	SHOW(send(a, "ij", 2, 0));
	SHOW(send(a, "Z", 1, MSG_OOB));
	SHOW(send(a, "kl", 2, 0));
	got("apart", 9, MSG_OOB);
	got("peek", 9, MSG_PEEK);
	got("up to the mark", 9, 0);
	got("from the mark, peeked", 9, MSG_PEEK);
	got("from the mark", 9, 0);
	got("no more", 9, 0);
	SHOW(send(a, "M", 1, MSG_OOB));
	got("only urgent", 9, 0);
	SHOW(send(a, "N", 1, MSG_OOB));
	SHOW(send(a, "O", 1, MSG_OOB));
	got("first", 9, 0);
	got("second", 9, 0);
	unpair();
}

static void ended(void)
{
	char c;

	pair();
	SHOW(send(a, "xU", 2, MSG_OOB));
	SHOW(shutdown(a, SHUT_WR));
	got("x", 9, 0);
	got("U", 9, MSG_OOB);
	got("end", 9, 0);
	unpair();
	pair();
	SHOW(send(a, "U", 1, MSG_OOB));
	got("U", 9, MSG_OOB);
	close(b);
	SHOW(recv(a, &c, 1, 0));
	SHOW(send(a, "V", 1, MSG_OOB | MSG_NOSIGNAL));
	close(a);
	pair();
	SHOW(send(a, "U", 1, MSG_OOB));
	close(b);
	SHOW(recv(a, &c, 1, 0));
	close(a);
	pair();
	SHOW(shutdown(b, SHUT_RD));
	SHOW(send(a, "V", 1, MSG_OOB | MSG_NOSIGNAL));
	unpair();
}

static void others(void)
{
	int s[2];
	char c;

	MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
	SHOW(send(s[0], "x", 1, MSG_OOB));
	SHOW(recv(s[1], &c, 1, MSG_OOB | MSG_DONTWAIT));
	close(s[0]);
	close(s[1]);
	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s));
	SHOW(send(s[0], "x", 1, MSG_OOB));
	SHOW(recv(s[1], &c, 1, MSG_OOB | MSG_DONTWAIT));
	SHOW(ioctl(s[1], SIOCATMARK, &c));
	close(s[0]);
	close(s[1]);
	int alone = socket(AF_UNIX, SOCK_STREAM, 0), mark = -1;
	SHOW(send(alone, "x", 1, MSG_OOB));
	SHOW(send(alone, "x", 0, MSG_OOB));
	SHOW(recv(alone, &c, 1, MSG_OOB));
	SHOW(ioctl(alone, SIOCATMARK, &mark));
	printf("mark %d\n", mark);
	close(alone);
}

/* A descriptor and credentials come with what they were sent with. */
static void rights(void)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 }, data[16] = "";
	struct iovec iov = { "pQ", 2 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	int fd = 1;

	pair();
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	SHOW(sendmsg(a, &msg, MSG_OOB));
	SHOW(send(a, "r", 1, 0));
	iov = (struct iovec){ data, sizeof data };
	msg.msg_controllen = sizeof control;
	SHOW(recvmsg(b, &msg, 0));
	printf("'%s' flags %#x control %zu\n", data, msg.msg_flags, msg.msg_controllen);
	msg.msg_controllen = sizeof control;
	SHOW(recvmsg(b, &msg, MSG_OOB));
	printf("'%s' flags %#x control %zu\n", data, msg.msg_flags, msg.msg_controllen);
	unpair();
}

int main(void)
{
	signal(SIGURG, on_urgent);
	plain();
	several();
	inlined();
	ended();
	others();
	rights();
	return 0;
}
