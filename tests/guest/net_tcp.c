/* tcp(7): connections to oneself, resets, lingering, low-water marks, shutdowns. */
#include "common.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

static void pair(int *a, int *b)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof at;
	int l = socket(AF_INET, SOCK_STREAM, 0);
	MUST(bind(l, (struct sockaddr *)&at, sizeof at));
	MUST(listen(l, 1));
	MUST(getsockname(l, (struct sockaddr *)&at, &len));
	*a = socket(AF_INET, SOCK_STREAM, 0);
	MUST(connect(*a, (struct sockaddr *)&at, sizeof at));
	*b = accept(l, NULL, NULL);
	MUST(*b);
	close(l);
}

static void settle(void)
{
	sleep_ms(20);
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
	int mark = -1;
	errno = 0;
	long n = recv(fd, buf, sizeof buf - 1, flags | MSG_DONTWAIT);
	printf("%s: %ld %s '%s'", name, n, n < 0 ? strerrorname_np(errno) : "-", n > 0 ? buf : "");
	ioctl(fd, SIOCATMARK, &mark);
	printf(" mark %d\n", mark);
}

static void oneself(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof at;
	int s = socket(AF_INET, SOCK_STREAM, 0);
	MUST(bind(s, (struct sockaddr *)&at, sizeof at));
	MUST(getsockname(s, (struct sockaddr *)&at, &len));
	SHOW(connect(s, (struct sockaddr *)&at, sizeof at));
	SHOW(send(s, "me", 2, 0));
	settle();
	got("from oneself", s, 0);
	SHOW(shutdown(s, SHUT_WR));
	settle();
	got("the end", s, 0);
	show_poll("ended", s);
	SHOW(close(s));
}

static void endings(void)
{
	int a, b, error;
	socklen_t len = sizeof error;
	char buf[16];
	pair(&a, &b);
	MUST(send(a, "unread", 6, 0));
	settle();
	close(b);
	settle();
	got("closed with unread data", a, 0);
	CHECK("send then", send(a, "x", 1, MSG_NOSIGNAL));
	close(a);
	pair(&a, &b);
	struct linger l = { 1, 0 };
	MUST(setsockopt(a, SOL_SOCKET, SO_LINGER, &l, sizeof l));
	close(a);
	settle();
	show_poll("reset", b);
	MUST(getsockopt(b, SOL_SOCKET, SO_ERROR, &error, &len));
	printf("error %s\n", strerrorname_np(error));
	got("after a reset", b, 0);
	close(b);
	pair(&a, &b);
	SHOW(shutdown(a, SHUT_WR));
	settle();
	show_poll("half closed", b);
	got("half closed", b, 0);
	SHOW(send(b, "back", 4, 0));
	settle();
	got("other half", a, 0);
	SHOW(shutdown(b, SHUT_WR));
	settle();
	show_poll("both closed", a);
	CHECK("send", send(a, "x", 1, MSG_NOSIGNAL));
	SHOW(shutdown(a, 7));
	close(a);
	close(b);
	pair(&a, &b);
	SHOW(shutdown(a, SHUT_RD));
	SHOW(recv(a, buf, sizeof buf, 0));
	SHOW(send(b, "late", 4, 0));
	settle();
	got("read after shutdown", a, 0);
	close(a);
	close(b);
}

static void marks(void)
{
	int a, b, low = 5;
	char buf[16];
	pair(&a, &b);
	SHOW(setsockopt(b, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof low));
	MUST(send(a, "abc", 3, 0));
	settle();
	show_poll("below the mark", b);
	MUST(send(a, "de", 2, 0));
	settle();
	show_poll("at the mark", b);
	SHOW(recv(b, buf, sizeof buf, 0));
	MUST(send(a, "12345678", 8, 0));
	settle();
	SHOW(recv(b, buf, 8, MSG_TRUNC));
	struct tcp_info info = { 0 };
	socklen_t len = sizeof info;
	SHOW(getsockopt(a, IPPROTO_TCP, TCP_INFO, &info, &len));
	printf("state %d\n", info.tcpi_state);
	len = 1;
	SHOW(getsockopt(a, IPPROTO_TCP, TCP_INFO, &info, &len));
	printf("length %u\n", len);
	/* Dual stack. */
	struct sockaddr_in6 six = { .sin6_family = AF_INET6 };
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int l = socket(AF_INET6, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM, 0);
	MUST(bind(l, (struct sockaddr *)&six, sizeof six));
	MUST(listen(l, 1));
	len = sizeof six;
	MUST(getsockname(l, (struct sockaddr *)&six, &len));
	four.sin_port = six.sin6_port;
	SHOW(connect(c, (struct sockaddr *)&four, sizeof four));
	len = sizeof six;
	int s = accept(l, (struct sockaddr *)&six, &len);
	printf("mapped %d %u\n", s >= 0 && IN6_IS_ADDR_V4MAPPED(&six.sin6_addr), len);
	SHOW(setsockopt(l, IPPROTO_IPV6, IPV6_V6ONLY, &(int){ 1 }, 4));
	CHECK("disconnect", connect(c, &(struct sockaddr){ AF_UNSPEC }, sizeof(struct sockaddr)));
	settle();
	got("its peer", s, 0);
	close(l);
	close(c);
	close(s);
	/* A file into a connection. */
	FILE *f = tmpfile();
	fwrite("0123456789", 1, 10, f);
	fflush(f);
	off_t from = 3;
	SHOW(sendfile(a, fileno(f), &from, 5));
	settle();
	memset(buf, 0, sizeof buf);
	SHOW(recv(b, buf, sizeof buf, MSG_DONTWAIT));
	printf("%s\n", buf);
	fclose(f);
	close(a);
	close(b);
}

int main(void)
{
	oneself();
	endings();
	marks();
	return 0;
}
