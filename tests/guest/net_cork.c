/* tcp(7), udp(7): what TCP_CORK, MSG_MORE and UDP_CORK hold back, and for how long; over lo and over interfaces. */
#include "veth.h"
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>

static void set(const char *name, int s, int level, int option, int value)
{
	CHECK(name, setsockopt(s, level, option, &value, sizeof value));
}

/* What has come. */
static void now(const char *name, int s)
{
	char buf[64] = "";

	errno = 0;
	long n = recv(s, buf, sizeof buf - 1, MSG_DONTWAIT);
	printf("%s: %ld %s '%s'\n", name, n, n < 0 ? strerrorname_np(errno) : "-", n > 0 ? buf : "");
	fflush(stdout);
}

/* What comes soon. */
static void got(const char *name, int s)
{
	struct pollfd p = { s, POLLIN, 0 };

	poll(&p, 1, 2000);
	now(name, s);
}

/* What does not come at once: not much later it would. */
static void held(const char *name, int s)
{
	sleep_ms(5);
	now(name, s);
}

static long drain(int s)
{
	static char buf[1 << 20];
	long sum = 0, n;

	sleep_ms(25);
	while ((n = recv(s, buf, sizeof buf, MSG_DONTWAIT)) > 0)
		sum += n;
	return sum;
}

static void corked(int a, int b)
{
	int left = -1;

	set("cork", a, IPPROTO_TCP, TCP_CORK, 1);
	SHOW(send(a, "a", 1, 0));
	held("corked", b);
	struct pollfd p = { b, POLLIN, 0 };
	SHOW(poll(&p, 1, 0));
	SHOW(ioctl(b, FIONREAD, &left));
	printf("to read %d\n", left);
	SHOW(ioctl(a, SIOCOUTQ, &left));
	printf("to send %d\n", left);
	SHOW(send(a, "b", 1, 0));
	set("uncork", a, IPPROTO_TCP, TCP_CORK, 0);
	got("uncorked", b);
	SHOW(send(a, "c", 1, 0));
	got("not corked", b);
	set("cork", a, IPPROTO_TCP, TCP_CORK, 1);
	set("nodelay", a, IPPROTO_TCP, TCP_NODELAY, 1);
	SHOW(send(a, "d", 1, 0));
	held("both", b);
	set("nodelay again", a, IPPROTO_TCP, TCP_NODELAY, 1);
	got("pushed", b);
	SHOW(send(a, "e", 1, 0));
	held("held again", b);
	set("nodelay off", a, IPPROTO_TCP, TCP_NODELAY, 0);
	held("still held", b);
	set("cork again", a, IPPROTO_TCP, TCP_CORK, 1);
	held("held", b);
	set("uncork", a, IPPROTO_TCP, TCP_CORK, 0);
	got("uncorked", b);
}

static void more(int a, int b)
{
	SHOW(send(a, "ab", 2, MSG_MORE));
	held("more to come", b);
	SHOW(send(a, "cd", 2, MSG_MORE));
	held("and more", b);
	SHOW(send(a, "ef", 2, 0));
	got("no more to come", b);
	SHOW(send(a, "gh", 2, MSG_MORE));
	set("nodelay", a, IPPROTO_TCP, TCP_NODELAY, 1);
	got("nodelay", b);
	SHOW(send(a, "ij", 2, MSG_MORE));
	held("more, with nodelay", b);
	SHOW(write(a, "k", 1));
	got("written", b);
	SHOW(send(a, "lm", 2, MSG_MORE));
	set("cork off", a, IPPROTO_TCP, TCP_CORK, 0);
	got("uncorked", b);
}

static void waits(int a, int b)
{
	struct pollfd p = { b, POLLIN, 0 };
	long start = now_ms(), took;

	set("cork", a, IPPROTO_TCP, TCP_CORK, 1);
	SHOW(send(a, "a", 1, 0));
	SHOW(poll(&p, 1, 1000));
	took = now_ms() - start;
	TRUE("about 200 ms", took >= 150 && took < 400);
	got("waited", b);
}

static void large(int a, int b)
{
	static char data[50000];
	char c;
	int lo = 0;
	socklen_t len = sizeof lo;
	long n, all;

	/* Over lo a segment is longer than all that an interface holds back. */
	getsockopt(a, IPPROTO_TCP, TCP_MAXSEG, &lo, &len);
	all = lo > 10000 ? sizeof data : 10000;
	set("cork", a, IPPROTO_TCP, TCP_CORK, 1);
	TRUE("sent", send(a, data, all, 0) == all);
	n = drain(b);
	TRUE("full segments went", n > all / 2 && n < all);
	set("uncork", a, IPPROTO_TCP, TCP_CORK, 0);
	n += drain(b);
	TRUE("the rest went", n == all);
	SHOW(send(a, data, 100, MSG_MORE));
	SHOW(send(a, data, 0, 0));
	SHOW(recv(b, &c, 1, MSG_DONTWAIT));
	SHOW(send(a, data, 1, 0));
	printf("%ld\n", drain(b));
}

static void ends(int a, int b)
{
	set("cork", a, IPPROTO_TCP, TCP_CORK, 1);
	SHOW(send(a, "last", 4, 0));
	SHOW(shutdown(a, SHUT_WR));
	got("last", b);
	got("end", b);
}

static void closes(int a, int b)
{
	set("cork", a, IPPROTO_TCP, TCP_CORK, 1);
	SHOW(send(a, "last", 4, 0));
	dup2(b, a);
	got("last", b);
	got("end", b);
}

static void urgent(int a, int b)
{
	set("cork", a, IPPROTO_TCP, TCP_CORK, 1);
	SHOW(send(a, "ab", 2, 0));
	SHOW(send(a, "U", 1, MSG_OOB));
	got("urgent is not held", b);
}

static void all(const char *name, void (*make)(int *, int *))
{
	void (*parts[])(int, int) = { corked, more, waits, large, ends, closes, urgent };

	for (unsigned n = 0; n < sizeof parts / sizeof *parts; n++) {
		int a, b;

		printf("%s %d\n", name, n);
		make(&a, &b);
		parts[n](a, b);
		close(a);
		close(b);
	}
}

static void datagrams(int family, int type, const char *near, const char *far)
{
	struct sockaddr_in6 to6 = { .sin6_family = AF_INET6 };
	struct sockaddr_in to = { .sin_family = AF_INET };
	struct sockaddr *at = family == AF_INET ? (struct sockaddr *)&to : (struct sockaddr *)&to6;
	socklen_t len = family == AF_INET ? sizeof to : sizeof to6;
	static char large[65536];
	int a = socket(family, type, 0), b = far ? far_socket(family, type, 0) : socket(family, type, 0), value;
	socklen_t four = 4;

	inet_pton(family, far ? far : near, family == AF_INET ? (void *)&to.sin_addr : (void *)&to6.sin6_addr);
	MUST(bind(b, at, len));
	MUST(getsockname(b, at, &len));
	SHOW(sendto(a, "ab", 2, MSG_MORE, at, len));
	held("more to come", b);
	SHOW(sendto(a, "cd", 2, MSG_MORE, NULL, 0));
	SHOW(sendto(a, "ef", 2, 0, NULL, 0));
	got("one datagram", b);
	held("no other", b);
	SHOW(send(a, "x", 1, 0));
	SHOW(connect(a, at, len));
	set("cork", a, IPPROTO_UDP, UDP_CORK, 1);
	SHOW(send(a, "gh", 2, 0));
	SHOW(send(a, "", 0, 0));
	SHOW(send(a, "ij", 2, 0));
	held("corked", b);
	SHOW(getsockopt(a, IPPROTO_UDP, UDP_CORK, &value, &four));
	printf("value %d\n", value);
	set("uncork", a, IPPROTO_UDP, UDP_CORK, 0);
	got("uncorked", b);
	set("uncork again", a, IPPROTO_UDP, UDP_CORK, 0);
	held("nothing", b);
	/* An empty one. */
	SHOW(send(a, "", 0, MSG_MORE));
	SHOW(send(a, "", 0, 0));
	got("empty", b);
	/* Too long: all of it is lost. */
	SHOW(send(a, large, 40000, MSG_MORE));
	SHOW(send(a, large, 40000, 0));
	held("too long", b);
	SHOW(send(a, "k", 1, 0));
	got("the next", b);
	SHOW(send(a, large, 65536, MSG_MORE));
	/* It stays on its way whatever happens to the socket. */
	SHOW(send(a, "l", 1, MSG_MORE));
	SHOW(send(a, "m", 1, MSG_OOB));
	SHOW(shutdown(a, SHUT_RD));
	SHOW(send(a, "n", 1, 0));
	got("both", b);
	SHOW(send(a, "o", 1, MSG_MORE));
	close(a);
	held("closed", b);
	close(b);
}

int main(void)
{
	veth_setup();
	all("lo", lo_connect);
	all("cable", veth_connect);
	datagrams(AF_INET, SOCK_DGRAM, "127.0.0.1", NULL);
	datagrams(AF_INET, SOCK_DGRAM, NULL, "10.9.0.2");
	datagrams(AF_INET6, SOCK_DGRAM, "::1", NULL);
	datagrams(AF_INET6, SOCK_DGRAM, NULL, "fd09::2");
	return 0;
}
