/* udp(7), ip(7): groups, broadcasts, errors that come back, time stamps, sharing of ports. */
#include "common.h"
#include <arpa/inet.h>
#include <linux/errqueue.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

static struct sockaddr_in at(const char *ip, int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	inet_pton(AF_INET, ip, &a.sin_addr);
	return a;
}

static int udp(const char *ip, struct sockaddr_in *a)
{
	socklen_t len = sizeof *a;
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	*a = at(ip, 0);
	MUST(bind(s, (struct sockaddr *)a, sizeof *a));
	MUST(getsockname(s, (struct sockaddr *)a, &len));
	return s;
}

static void show_poll(const char *name, int fd)
{
	struct pollfd p = { fd, POLLIN | POLLOUT | POLLPRI, 0 };
	int n = poll(&p, 1, 0);
	printf("%s: poll %d %#x\n", name, n, p.revents);
}

static void show_error(const char *name, int fd)
{
	int error = -1;
	socklen_t len = sizeof error;
	MUST(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len));
	printf("%s: SO_ERROR %s\n", name, error ? strerrorname_np(error) : "0");
}

static void got(const char *name, int fd, int flags)
{
	char buf[64] = "";
	errno = 0;
	long n = recv(fd, buf, sizeof buf - 1, flags | MSG_DONTWAIT);
	printf("%s: %ld %s '%s'\n", name, n, n < 0 ? strerrorname_np(errno) : "-", n > 0 ? buf : "");
}

static void show_message(const char *name, int fd, int flags)
{
	char buf[64], control[512];
	struct sockaddr_in from = { 0 };
	struct iovec v = { buf, sizeof buf };
	struct msghdr m = { &from, sizeof from, &v, 1, control, sizeof control, 0 };
	errno = 0;
	long n = recvmsg(fd, &m, flags | MSG_DONTWAIT);
	printf("%s: %ld %s flags %#x", name, n, n < 0 ? strerrorname_np(errno) : "-", n < 0 ? 0 : m.msg_flags);
	for (struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		printf(" [%d %d %d]", c->cmsg_level, c->cmsg_type, (int)c->cmsg_len);
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) {
			struct sock_extended_err *e = (void *)CMSG_DATA(c);
			struct sockaddr_in *o = (void *)SO_EE_OFFENDER(e);
			printf(" %s origin %d type %d code %d info %d offender %d %s", strerrorname_np(e->ee_errno), e->ee_origin,
			       e->ee_type, e->ee_code, e->ee_info, o->sin_family, inet_ntoa(o->sin_addr));
		}
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo *i = (void *)CMSG_DATA(c);
			printf(" interface %d to %s", i->ipi_ifindex, inet_ntoa(i->ipi_addr));
		}
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_TIMESTAMP) {
			struct timeval t, now;
			memcpy(&t, CMSG_DATA(c), sizeof t);
			gettimeofday(&now, NULL);
			printf(" recent %d", now.tv_sec - t.tv_sec <= 1 && t.tv_sec <= now.tv_sec);
		}
	}
	printf("\n");
}

static void errors(void)
{
	struct sockaddr_in none, me, peer;
	int on = 1, s = udp("127.0.0.1", &none);
	close(s);
	s = udp("127.0.0.1", &me);
	SHOW(sendto(s, "lost", 4, 0, (struct sockaddr *)&none, sizeof none));
	show_error("not asked", s);
	SHOW(setsockopt(s, IPPROTO_IP, IP_RECVERR, &on, sizeof on));
	SHOW(sendto(s, "lost", 4, 0, (struct sockaddr *)&none, sizeof none));
	show_poll("error queued", s);
	CHECK("next send", sendto(s, "again", 5, 0, (struct sockaddr *)&none, sizeof none));
	CHECK("and then", sendto(s, "again", 5, 0, (struct sockaddr *)&none, sizeof none));
	show_message("plain receive", s, 0);
	show_message("first error", s, MSG_ERRQUEUE);
	show_message("second error", s, MSG_ERRQUEUE);
	show_message("no error", s, MSG_ERRQUEUE);
	show_error("after all", s);
	show_poll("after all", s);
	/* Connected. */
	SHOW(connect(s, (struct sockaddr *)&none, sizeof none));
	SHOW(send(s, "x", 1, 0));
	got("connected", s, 0);
	got("connected, again", s, 0);
	show_message("its queue", s, MSG_ERRQUEUE);
	struct sockaddr un = { AF_UNSPEC };
	SHOW(connect(s, &un, sizeof un));
	socklen_t len = sizeof peer;
	SHOW(getpeername(s, (struct sockaddr *)&peer, &len));
	MUST(getsockname(s, (struct sockaddr *)&peer, &len));
	TRUE("disconnecting keeps the bound port", peer.sin_port == me.sin_port);
	close(s);
}

static void groups(void)
{
	struct sockaddr_in a, b, any = at("0.0.0.0", 0);
	int on = 1, off = 0;
	socklen_t len = sizeof a;
	int s = socket(AF_INET, SOCK_DGRAM, 0), r = socket(AF_INET, SOCK_DGRAM, 0), q = socket(AF_INET, SOCK_DGRAM, 0);
	MUST(setsockopt(r, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
	MUST(setsockopt(q, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
	MUST(bind(r, (struct sockaddr *)&any, sizeof any));
	MUST(getsockname(r, (struct sockaddr *)&a, &len));
	b = a;
	MUST(bind(q, (struct sockaddr *)&b, sizeof b));
	a = at("239.77.1.2", ntohs(a.sin_port));
	struct ip_mreq m = { a.sin_addr, { htonl(INADDR_LOOPBACK) } };
	struct ip_mreqn n = { a.sin_addr, { 0 }, 1 };
	CHECK("no interface for groups", sendto(s, "x", 1, 0, (struct sockaddr *)&a, sizeof a));
	CHECK("unicast is no group", setsockopt(r, IPPROTO_IP, IP_ADD_MEMBERSHIP, &(struct ip_mreq){ m.imr_interface, m.imr_interface }, sizeof m));
	CHECK("short", setsockopt(r, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, 4));
	CHECK("no such interface", setsockopt(r, IPPROTO_IP, IP_ADD_MEMBERSHIP, &(struct ip_mreqn){ a.sin_addr, { 0 }, 99 }, sizeof n));
	CHECK("leave what was not joined", setsockopt(r, IPPROTO_IP, IP_DROP_MEMBERSHIP, &m, sizeof m));
	SHOW(setsockopt(r, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m));
	CHECK("twice", setsockopt(r, IPPROTO_IP, IP_ADD_MEMBERSHIP, &n, sizeof n));
	SHOW(setsockopt(s, IPPROTO_IP, IP_MULTICAST_IF, &m.imr_interface, sizeof m.imr_interface));
	struct in_addr i = { 0 };
	len = sizeof i;
	SHOW(getsockopt(s, IPPROTO_IP, IP_MULTICAST_IF, &i, &len));
	printf("interface %s\n", inet_ntoa(i));
	SHOW(setsockopt(q, IPPROTO_IP, IP_MULTICAST_ALL, &off, sizeof off));
	SHOW(sendto(s, "to many", 7, 0, (struct sockaddr *)&a, sizeof a));
	got("member", r, 0);
	got("not a member", q, 0);
	SHOW(setsockopt(q, IPPROTO_IP, IP_MULTICAST_ALL, &on, sizeof on));
	SHOW(setsockopt(r, IPPROTO_IP, IP_PKTINFO, &on, sizeof on));
	SHOW(sendto(s, "to all", 6, 0, (struct sockaddr *)&a, sizeof a));
	show_message("member", r, 0);
	got("one that hears all", q, 0);
	struct ip_mreq_source src = { a.sin_addr, { htonl(INADDR_LOOPBACK) }, { htonl(INADDR_LOOPBACK) } };
	SHOW(setsockopt(r, IPPROTO_IP, IP_BLOCK_SOURCE, &src, sizeof src));
	SHOW(setsockopt(r, IPPROTO_IP, IP_BLOCK_SOURCE, &src, sizeof src));
	SHOW(sendto(s, "blocked", 7, 0, (struct sockaddr *)&a, sizeof a));
	got("blocked", r, 0);
	SHOW(setsockopt(r, IPPROTO_IP, IP_UNBLOCK_SOURCE, &src, sizeof src));
	SHOW(setsockopt(r, IPPROTO_IP, IP_UNBLOCK_SOURCE, &src, sizeof src));
	SHOW(sendto(s, "heard", 5, 0, (struct sockaddr *)&a, sizeof a));
	got("unblocked", r, 0);
	SHOW(setsockopt(r, IPPROTO_IP, IP_DROP_MEMBERSHIP, &m, sizeof m));
	SHOW(setsockopt(q, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &src, sizeof src));
	SHOW(sendto(s, "source", 6, 0, (struct sockaddr *)&a, sizeof a));
	got("skip", q, 0);
	got("skip", q, 0);
	got("with a source", q, 0);
	SHOW(setsockopt(q, IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP, &src, sizeof src));
	SHOW(setsockopt(q, IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP, &src, sizeof src));
	int count = 0;
	for (int g = 0; g < 25; g++) {
		m.imr_multiaddr.s_addr = htonl(0xef010000 + g);
		if (setsockopt(q, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m) == 0)
			count++;
		else if (count == g)
			printf("after %d: %s\n", count, strerrorname_np(errno));
	}
	close(r);
	close(q);
	close(s);
	/* IPv6. */
	int t = socket(AF_INET6, SOCK_DGRAM, 0);
	struct ipv6_mreq m6 = { .ipv6mr_interface = 1 };
	inet_pton(AF_INET6, "ff05::1234", &m6.ipv6mr_multiaddr);
	struct sockaddr_in6 six = { .sin6_family = AF_INET6 };
	MUST(bind(t, (struct sockaddr *)&six, sizeof six));
	len = sizeof six;
	MUST(getsockname(t, (struct sockaddr *)&six, &len));
	SHOW(setsockopt(t, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &m6, sizeof m6));
	SHOW(setsockopt(t, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &m6, sizeof m6));
	SHOW(setsockopt(t, IPPROTO_IPV6, IPV6_MULTICAST_IF, &(int){ 1 }, 4));
	six.sin6_addr = m6.ipv6mr_multiaddr;
	SHOW(sendto(t, "six", 3, 0, (struct sockaddr *)&six, sizeof six));
	got("six", t, 0);
	SHOW(setsockopt(t, IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, &m6, sizeof m6));
	SHOW(setsockopt(t, IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, &m6, sizeof m6));
	close(t);
}

static void broadcasts(void)
{
	struct sockaddr_in a, to;
	int on = 1, s = udp("0.0.0.0", &a), r = udp("127.0.0.1", &to);
	to = at("127.255.255.255", ntohs(a.sin_port));
	SHOW(sendto(r, "all", 3, 0, (struct sockaddr *)&to, sizeof to));
	SHOW(connect(r, (struct sockaddr *)&to, sizeof to));
	SHOW(setsockopt(r, SOL_SOCKET, SO_BROADCAST, &on, sizeof on));
	SHOW(sendto(r, "all", 3, 0, (struct sockaddr *)&to, sizeof to));
	got("broadcast", s, 0);
	to = at("255.255.255.255", ntohs(a.sin_port));
	CHECK("to the world", sendto(s, "all", 3, 0, (struct sockaddr *)&to, sizeof to));
	close(s);
	close(r);
}

static void stamps(void)
{
	struct sockaddr_in a;
	int on = 1, off = 0, s = udp("127.0.0.1", &a);
	SHOW(setsockopt(s, SOL_SOCKET, SO_TIMESTAMP, &on, sizeof on));
	SHOW(setsockopt(s, IPPROTO_IP, IP_RECVTTL, &on, sizeof on));
	SHOW(setsockopt(s, IPPROTO_IP, IP_RECVTOS, &on, sizeof on));
	SHOW(sendto(s, "x", 1, 0, (struct sockaddr *)&a, sizeof a));
	show_message("stamped", s, 0);
	SHOW(setsockopt(s, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on));
	SHOW(sendto(s, "x", 1, 0, (struct sockaddr *)&a, sizeof a));
	show_message("in nanoseconds", s, 0);
	SHOW(setsockopt(s, SOL_SOCKET, SO_TIMESTAMPNS, &off, sizeof off));
	SHOW(sendto(s, "x", 1, 0, (struct sockaddr *)&a, sizeof a));
	show_message("no more", s, 0);
	/* Too little room for ancillary data. */
	SHOW(sendto(s, "x", 1, 0, (struct sockaddr *)&a, sizeof a));
	char control[20], buf[4];
	struct iovec v = { buf, sizeof buf };
	struct msghdr m = { NULL, 0, &v, 1, control, sizeof control, 0 };
	SHOW(recvmsg(s, &m, 0));
	printf("flags %#x room used %zu\n", m.msg_flags, m.msg_controllen);
	close(s);
}

static void sharing(void)
{
	struct sockaddr_in a = at("127.0.0.1", 0);
	socklen_t len = sizeof a;
	int on = 1, s[4], counts[4] = { 0 };
	for (int i = 0; i < 4; i++) {
		s[i] = socket(AF_INET, SOCK_DGRAM, 0);
		MUST(setsockopt(s[i], SOL_SOCKET, SO_REUSEPORT, &on, sizeof on));
		MUST(bind(s[i], (struct sockaddr *)&a, sizeof a));
		MUST(getsockname(s[i], (struct sockaddr *)&a, &len));
	}
	for (int c = 0; c < 200; c++) {
		int f = socket(AF_INET, SOCK_DGRAM, 0);
		MUST(connect(f, (struct sockaddr *)&a, sizeof a));
		MUST(send(f, "1", 1, 0));
		MUST(send(f, "2", 1, 0));
		close(f);
	}
	int pairs = 1;
	for (int i = 0; i < 4; i++) {
		char one, two;
		while (recv(s[i], &one, 1, MSG_DONTWAIT) == 1) {
			if (recv(s[i], &two, 1, MSG_DONTWAIT) != 1 || one != '1' || two != '2')
				pairs = 0;
			counts[i]++;
		}
		close(s[i]);
	}
	TRUE("a sender always reaches the same socket", pairs);
	TRUE("senders are spread", counts[0] > 20 && counts[1] > 20 && counts[2] > 20 && counts[3] > 20);
	printf("all %d\n", counts[0] + counts[1] + counts[2] + counts[3]);
}

int main(void)
{
	errors();
	groups();
	broadcasts();
	stamps();
	sharing();
	return 0;
}
