/* tcp(7) over the loopback interface. */
#include "common.h"
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static char buf[1 << 20];

static void show_poll(const char *name, int fd)
{
	struct pollfd p = { fd, POLLIN | POLLOUT | POLLRDHUP | POLLPRI, 0 };
	int n = poll(&p, 1, 100);
	printf("%s: %d %#x\n", name, n, p.revents);
}

static struct sockaddr_in v4(const char *ip, int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	inet_pton(AF_INET, ip, &a.sin_addr);
	return a;
}

static int listener(struct sockaddr_in *a)
{
	int l = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof *a;
	*a = v4("127.0.0.1", 0);
	MUST(bind(l, (struct sockaddr *)a, sizeof *a));
	MUST(listen(l, 10));
	MUST(getsockname(l, (struct sockaddr *)a, &len));
	return l;
}

static void pair(int *s)
{
	struct sockaddr_in a;
	int l = listener(&a);
	s[0] = socket(AF_INET, SOCK_STREAM, 0);
	MUST(connect(s[0], (struct sockaddr *)&a, sizeof a));
	s[1] = accept(l, NULL, NULL);
	MUST(s[1]);
	close(l);
}

static void connecting(void)
{
	struct sockaddr_in a, b;
	struct sockaddr_in6 six;
	socklen_t len = sizeof b;
	int l = listener(&a), c = socket(AF_INET, SOCK_STREAM, 0);
	show_poll("unconnected", c);
	show_poll("listening", l);
	SHOW(getpeername(c, (struct sockaddr *)&b, &len));
	SHOW(recv(c, buf, 1, 0));
	SHOW(send(c, buf, 1, MSG_NOSIGNAL));
	SHOW(shutdown(c, SHUT_WR));
	SHOW(recv(l, buf, 1, 0));
	SHOW(connect(c, (struct sockaddr *)&a, 8));
	six.sin6_family = AF_INET6;
	CHECK("wrong family", connect(c, (struct sockaddr *)&six, sizeof six));
	SHOW(connect(c, (struct sockaddr *)&a, sizeof a));
	SHOW(connect(c, (struct sockaddr *)&a, sizeof a));
	show_poll("someone to accept", l);
	len = sizeof b;
	int s = accept4(l, (struct sockaddr *)&b, &len, SOCK_NONBLOCK);
	TRUE("accepted", s >= 0);
	printf("from %s len %d\n", inet_ntoa(b.sin_addr), (int)len);
	struct sockaddr_in own;
	len = sizeof own;
	getsockname(c, (struct sockaddr *)&own, &len);
	TRUE("addresses agree", own.sin_port == b.sin_port && own.sin_addr.s_addr == b.sin_addr.s_addr);
	SHOW(recv(s, buf, 1, 0));
	SHOW(listen(c, 1));
	int dup = socket(AF_INET, SOCK_STREAM, 0);
	CHECK("address in use", bind(dup, (struct sockaddr *)&a, sizeof a));
	b = v4("10.1.2.3", 80);
	CHECK("not our address", bind(dup, (struct sockaddr *)&b, sizeof b));
	close(l);
	int d = socket(AF_INET, SOCK_STREAM, 0);
	CHECK("nobody listens", connect(d, (struct sockaddr *)&a, sizeof a));
	CHECK("nobody listens, again", connect(d, (struct sockaddr *)&a, sizeof a));
	int n = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	CHECK("nobody listens, not waiting", connect(n, (struct sockaddr *)&a, sizeof a));
	show_poll("refused", n);
	int error;
	len = sizeof error;
	getsockopt(n, SOL_SOCKET, SO_ERROR, &error, &len);
	printf("SO_ERROR %s\n", strerrorname_np(error));
	show_poll("error taken", n);
	l = listener(&a);
	int m = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	CHECK("not waiting", connect(m, (struct sockaddr *)&a, sizeof a));
	show_poll("connected", m);
	getsockopt(m, SOL_SOCKET, SO_ERROR, &error, &len);
	printf("SO_ERROR %d\n", error);
	SHOW(connect(m, (struct sockaddr *)&a, sizeof a));
	SHOW(connect(m, (struct sockaddr *)&a, sizeof a));
	fcntl(l, F_SETFL, O_NONBLOCK);
	int t = accept(l, NULL, NULL);
	TRUE("accepted", t >= 0);
	SHOW(accept(l, NULL, NULL));
	a = v4("0.0.0.0", ntohs(a.sin_port));
	int z = socket(AF_INET, SOCK_STREAM, 0);
	CHECK("to any address", connect(z, (struct sockaddr *)&a, sizeof a));
}

static void data(void)
{
	int s[2], n, status;
	pair(s);
	SHOW(send(s[0], "hello", 5, 0));
	SHOW(ioctl(s[1], FIONREAD, &n));
	printf("FIONREAD %d\n", n);
	SHOW(recv(s[1], buf, 100, MSG_PEEK));
	SHOW(recv(s[1], buf, 2, 0));
	SHOW(recv(s[1], buf, 100, 0));
	SHOW(recv(s[1], buf, 100, MSG_DONTWAIT));
	SHOW(send(s[0], "abc!", 4, MSG_OOB));
	show_poll("urgent", s[1]);
	SHOW(recv(s[1], buf, 100, 0));
	SHOW(recv(s[1], buf, 100, MSG_OOB));
	SHOW(recv(s[1], buf, 100, MSG_OOB));
	SHOW(shutdown(s[0], SHUT_WR));
	show_poll("peer shut", s[1]);
	SHOW(recv(s[1], buf, 100, 0));
	SHOW(send(s[0], "x", 1, MSG_NOSIGNAL));
	SHOW(send(s[1], "reply", 5, 0));
	SHOW(shutdown(s[1], SHUT_WR));
	sleep_ms(10);
	show_poll("both shut", s[0]);
	SHOW(recv(s[0], buf, 100, 0));
	SHOW(recv(s[0], buf, 100, 0));
	close(s[0]);
	close(s[1]);

	pair(s);
	send(s[0], "unread", 6, 0);
	sleep_ms(10);
	close(s[1]);
	sleep_ms(10);
	show_poll("reset", s[0]);
	SHOW(recv(s[0], buf, 1, 0));
	SHOW(recv(s[0], buf, 1, 0));
	SHOW(send(s[0], buf, 1, MSG_NOSIGNAL));
	close(s[0]);

	pair(s);
	close(s[1]);
	sleep_ms(10);
	show_poll("closed", s[0]);
	SHOW(recv(s[0], buf, 1, 0));
	SHOW(send(s[0], buf, 1, MSG_NOSIGNAL));
	sleep_ms(10);
	SHOW(send(s[0], buf, 1, MSG_NOSIGNAL));
	IN_CHILD("write to a closed connection", write(s[0], "x", 1));
	close(s[0]);

	pair(s);
	struct linger linger = { 1, 0 };
	setsockopt(s[1], SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
	close(s[1]);
	sleep_ms(10);
	SHOW(recv(s[0], buf, 1, 0));
	close(s[0]);

	pair(s);
	pid_t pid = fork();
	if (pid == 0) {
		close(s[0]);
		long total = 0, got;
		while ((got = recv(s[1], buf, 100000, 0)) > 0)
			total += got;
		_exit(total == 16L << 20 ? 7 : 1);
	}
	close(s[1]);
	long sent = 0;
	for (int i = 0; i < 16; i++)
		sent += send(s[0], buf, 1 << 20, 0);
	printf("sent %ld\n", sent);
	close(s[0]);
	waitpid(pid, &status, 0);
	report_status("reader of 16 MiB", status);
}

static void option(int s, const char *name, int level, int opt)
{
	int v = -7;
	socklen_t len = sizeof v;
	errno = 0;
	int r = getsockopt(s, level, opt, &v, &len);
	printf("%s: %d %s = %d len %d\n", name, r, r ? strerrorname_np(errno) : "-", v, (int)len);
}

static void options(void)
{
	int s = socket(AF_INET, SOCK_STREAM, 0), v;
#define OPT(level, name) option(s, #name, level, name)
	OPT(IPPROTO_TCP, TCP_NODELAY);
	OPT(IPPROTO_TCP, TCP_MAXSEG);
	OPT(IPPROTO_TCP, TCP_CORK);
	OPT(IPPROTO_TCP, TCP_KEEPIDLE);
	OPT(IPPROTO_TCP, TCP_KEEPINTVL);
	OPT(IPPROTO_TCP, TCP_KEEPCNT);
	OPT(IPPROTO_TCP, TCP_SYNCNT);
	OPT(IPPROTO_TCP, TCP_LINGER2);
	OPT(IPPROTO_TCP, TCP_DEFER_ACCEPT);
	OPT(IPPROTO_TCP, TCP_QUICKACK);
	OPT(IPPROTO_TCP, TCP_USER_TIMEOUT);
	OPT(IPPROTO_IP, IP_TOS);
	OPT(IPPROTO_IP, IP_TTL);
	OPT(IPPROTO_IP, IP_MTU);
	OPT(IPPROTO_IPV6, IPV6_V6ONLY);
	OPT(SOL_SOCKET, SO_TYPE);
	OPT(SOL_SOCKET, SO_PROTOCOL);
	OPT(SOL_SOCKET, SO_DOMAIN);
	OPT(SOL_SOCKET, SO_ACCEPTCONN);
	OPT(SOL_SOCKET, SO_KEEPALIVE);
	OPT(SOL_SOCKET, SO_RCVLOWAT);
	OPT(IPPROTO_TCP, 9999);
	v = 1;
	SHOW(setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &v, sizeof v));
	OPT(IPPROTO_TCP, TCP_NODELAY);
	v = 0;
	SHOW(setsockopt(s, IPPROTO_TCP, TCP_KEEPIDLE, &v, sizeof v));
	v = 40000;
	SHOW(setsockopt(s, IPPROTO_TCP, TCP_KEEPIDLE, &v, sizeof v));
	v = 128;
	SHOW(setsockopt(s, IPPROTO_TCP, TCP_KEEPCNT, &v, sizeof v));
	SHOW(setsockopt(s, IPPROTO_TCP, TCP_KEEPCNT, &v, 1));
	v = 300;
	SHOW(setsockopt(s, IPPROTO_IP, IP_TTL, &v, sizeof v));
	char name[16] = { 0 };
	socklen_t len = sizeof name;
	SHOW(getsockopt(s, IPPROTO_TCP, TCP_CONGESTION, name, &len));
	printf("length %d\n", (int)len);
	SHOW(setsockopt(s, IPPROTO_TCP, TCP_CONGESTION, "nonsense", 8));
	struct tcp_info info;
	len = sizeof info;
	SHOW(getsockopt(s, IPPROTO_TCP, TCP_INFO, &info, &len));
	printf("state %d\n", info.tcpi_state);
}

static void reuse(void)
{
	struct sockaddr_in a;
	int l = listener(&a), x = socket(AF_INET, SOCK_STREAM, 0), y = socket(AF_INET, SOCK_STREAM, 0), on = 1;
	setsockopt(x, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	CHECK("reuse beside a listener", bind(x, (struct sockaddr *)&a, sizeof a));
	close(l);
	CHECK("after it closed", bind(x, (struct sockaddr *)&a, sizeof a));
	setsockopt(y, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	CHECK("two that reuse", bind(y, (struct sockaddr *)&a, sizeof a));
	SHOW(listen(x, 1));
	SHOW(listen(y, 1));
	close(x);
	close(y);
	int p = socket(AF_INET, SOCK_STREAM, 0), q = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(p, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
	setsockopt(q, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
	SHOW(bind(p, (struct sockaddr *)&a, sizeof a));
	SHOW(listen(p, 5));
	SHOW(bind(q, (struct sockaddr *)&a, sizeof a));
	SHOW(listen(q, 5));
}

static void six(void)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6 }, b;
	socklen_t len = sizeof a;
	char text[64];
	int l = socket(AF_INET6, SOCK_STREAM, 0);
	SHOW(bind(l, (struct sockaddr *)&a, sizeof a));
	SHOW(listen(l, 5));
	getsockname(l, (struct sockaddr *)&a, &len);
	struct sockaddr_in four = v4("127.0.0.1", ntohs(a.sin6_port));
	int c = socket(AF_INET, SOCK_STREAM, 0);
	CHECK("IPv4 to a dual-stack listener", connect(c, (struct sockaddr *)&four, sizeof four));
	len = sizeof b;
	int s = accept(l, (struct sockaddr *)&b, &len);
	TRUE("accepted", s >= 0);
	printf("%s len %d\n", inet_ntop(AF_INET6, &b.sin6_addr, text, 64), (int)len);
	a.sin6_addr = in6addr_loopback;
	int d = socket(AF_INET6, SOCK_STREAM, 0);
	CHECK("IPv6", connect(d, (struct sockaddr *)&a, sizeof a));
	len = sizeof b;
	s = accept(l, (struct sockaddr *)&b, &len);
	printf("%s len %d\n", inet_ntop(AF_INET6, &b.sin6_addr, text, 64), (int)len);
	int only = socket(AF_INET6, SOCK_STREAM, 0), on = 1;
	SHOW(setsockopt(only, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on));
	a = (struct sockaddr_in6){ .sin6_family = AF_INET6 };
	SHOW(bind(only, (struct sockaddr *)&a, sizeof a));
	SHOW(listen(only, 5));
	len = sizeof a;
	getsockname(only, (struct sockaddr *)&a, &len);
	four = v4("127.0.0.1", ntohs(a.sin6_port));
	int e = socket(AF_INET, SOCK_STREAM, 0);
	CHECK("IPv4 to an IPv6-only listener", connect(e, (struct sockaddr *)&four, sizeof four));
}

int main(void)
{
	WORKS("bad protocol", socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
	WORKS("bad type", socket(AF_INET, SOCK_SEQPACKET, 0));
	WORKS("negative protocol", socket(AF_INET, SOCK_STREAM, -1));
	connecting();
	data();
	options();
	reuse();
	six();
	return 0;
}
