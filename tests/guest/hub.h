/*
 * Network namespaces around one: each leaf has an end of a pair, "eth0"; the other ends, "p0" and so on, are in the hub.
 */
#ifndef HUB_H
#define HUB_H

#include "rtnetlink.h"
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#define LEAVES 3

static int hub, leaf[LEAVES];

static inline void enter(int namespace)
{
	MUST(setns(namespace, CLONE_NEWNET));
	if (nl)
		close(nl);
	MUST(nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
}

static inline void quietly(void)
{
	struct { struct nlmsghdr h; struct nlmsgerr e; char rest[2048]; } got;

	q.h.nlmsg_flags |= NLM_F_ACK;
	MUST(send(nl, &q, q.h.nlmsg_len, 0));
	MUST(recv(nl, &got, sizeof got, 0));
	if (got.e.error) {
		printf("request %d: %s\n", q.h.nlmsg_type, strerrorname_np(-got.e.error));
		fflush(stdout);
	}
}

static inline void set_up(const char *name, int up)
{
	struct ifinfomsg *l;

	link_request(RTM_NEWLINK, 0, 0, name);
	l = NLMSG_DATA(&q.h);
	l->ifi_flags = up ? IFF_UP : 0;
	l->ifi_change = IFF_UP;
	quietly();
}

/* Waits for a link that comes up: IFF_RUNNING tells when it takes packets. */
static inline void settle(const char *name)
{
	struct ifreq r = { 0 };
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	strcpy(r.ifr_name, name);
	for (int i = 0; i < 400 && !(r.ifr_flags & IFF_RUNNING); i++) {
		MUST(ioctl(s, SIOCGIFFLAGS, &r));
		usleep(5000);
	}
	close(s);
}

static inline void own(const char *name, const char *ip, int prefix)
{
	address_request(RTM_NEWADDR, MAKE, if_nametoindex(name), ip, prefix);
	quietly();
}

static inline void way(const char *to, int prefix, const char *by)
{
	route_request(RTM_NEWROUTE, MAKE, to, prefix, by, 0);
	quietly();
}

static inline int write_to(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY), error = 0;

	if (fd < 0 || write(fd, value, strlen(value)) != (ssize_t)strlen(value))
		error = errno;
	close(fd);
	if (error)
		printf("%s: %s\n", path, strerrorname_np(error));
	return -error;
}

static inline int new_namespace(void)
{
	int fd;

	MUST(unshare(CLONE_NEWNET));
	MUST(fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
	enter(fd);
	quiet();
	set_up("lo", 1);
	return fd;
}

/* A pair from the hub to a leaf. */
static inline void wire(int n)
{
	struct ifinfomsg none = { .ifi_family = AF_UNSPEC };
	struct rtattr *info, *data, *peer;
	char name[16];

	snprintf(name, sizeof name, "p%d", n);
	link_request(RTM_NEWLINK, MAKE, 0, name);
	info = nl_attr(&q, IFLA_LINKINFO, NULL, 0);
	nl_attr(&q, IFLA_INFO_KIND, "veth", 5);
	data = nl_attr(&q, IFLA_INFO_DATA, NULL, 0);
	peer = nl_attr(&q, VETH_INFO_PEER, &none, sizeof none);
	put_name(IFLA_IFNAME, "eth0");
	put_u32(IFLA_NET_NS_FD, leaf[n]);
	nl_end(&q, peer);
	nl_end(&q, data);
	nl_end(&q, info);
	quietly();
	set_up(name, 1);
}

static inline void hub_setup(void)
{
	for (int i = 0; i < LEAVES; i++)
		leaf[i] = new_namespace();
	hub = new_namespace();
	for (int i = 0; i < LEAVES; i++)
		wire(i);
	for (int i = 0; i < LEAVES; i++) {
		enter(leaf[i]);
		set_up("eth0", 1);
	}
	enter(hub);
}

/* Sockets. */

struct any {
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	};
	socklen_t len;
};

static inline struct any at(const char *text, int port)
{
	struct any a = { .len = sizeof a.in };

	a.in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port) };
	if (inet_pton(AF_INET, text, &a.in.sin_addr) == 1)
		return a;
	a.in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(port) };
	inet_pton(AF_INET6, text, &a.in6.sin6_addr);
	a.len = sizeof a.in6;
	return a;
}

static inline const char *text_of(const void *sockaddr)
{
	static char text[INET6_ADDRSTRLEN];
	const struct sockaddr *sa = sockaddr;

	if (sa->sa_family == AF_INET)
		return inet_ntop(AF_INET, &((struct sockaddr_in *)sa)->sin_addr, text, sizeof text);
	if (sa->sa_family == AF_INET6)
		return inet_ntop(AF_INET6, &((struct sockaddr_in6 *)sa)->sin6_addr, text, sizeof text);
	return "nobody";
}

static inline int ready(int s, int ms)
{
	return poll(&(struct pollfd){ .fd = s, .events = POLLIN }, 1, ms) == 1;
}

/* One datagram from here to an address there, and one back: as long as `len`. */
static inline void udp(const char *what, int here, int there, const char *ip, size_t len)
{
	struct any to = at(ip, 7001), peer = { .len = sizeof peer.in6 };
	static char data[9000];
	int a, b;

	enter(there);
	MUST(b = socket(to.sa.sa_family, SOCK_DGRAM, 0));
	MUST(bind(b, &to.sa, to.len));
	enter(here);
	MUST(a = socket(to.sa.sa_family, SOCK_DGRAM, 0));
	MUST(sendto(a, data, len, 0, &to.sa, to.len));
	if (!ready(b, 500)) {
		printf("%s: nothing comes\n", what);
	} else {
		ssize_t n = recvfrom(b, data, sizeof data, 0, &peer.sa, &peer.len);

		printf("%s: %zd from %s", what, n, text_of(&peer.sa));
		MUST(sendto(b, data, len, 0, &peer.sa, peer.len));
		printf(", back %zd\n", ready(a, 500) ? recv(a, data, sizeof data, 0) : 0);
	}
	fflush(stdout);
	close(a);
	close(b);
}

/* Much data both ways. */
static inline void tcp(const char *what, int here, int there, const char *ip)
{
	struct any to = at(ip, 7000), peer = { .len = sizeof peer.in6 };
	static char data[65536];
	int l, a, b, on = 1;
	long got = 0, back = 0;

	enter(there);
	MUST(l = socket(to.sa.sa_family, SOCK_STREAM, 0));
	MUST(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
	MUST(bind(l, &to.sa, to.len));
	MUST(listen(l, 1));
	enter(here);
	MUST(a = socket(to.sa.sa_family, SOCK_STREAM, 0));
	CHECK(what, connect(a, &to.sa, to.len));
	MUST(b = accept(l, &peer.sa, &peer.len));
	if (!fork()) {
		for (int i = 0; i < 64; i++)
			MUST(send(a, data, sizeof data, 0));
		shutdown(a, SHUT_WR);
		_exit(0);
	}
	for (ssize_t n; (n = read(b, data, sizeof data)) > 0;)
		got += n;
	wait(NULL);
	if (!fork()) {
		for (int i = 0; i < 16; i++)
			MUST(send(b, data, sizeof data, 0));
		_exit(0);
	}
	close(b);
	for (ssize_t n; (n = read(a, data, sizeof data)) > 0;)
		back += n;
	wait(NULL);
	printf("%s: %ld from %s, back %ld\n", what, got, text_of(&peer.sa), back);
	fflush(stdout);
	close(a);
	close(l);
}

/* An echo, and what comes of it. */
static inline void ping(const char *what, int here, const char *ip)
{
	struct any to = at(ip, 0), from = { .len = sizeof from.in6 };
	int v6 = to.sa.sa_family == AF_INET6, s;
	char echo[16] = { v6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO, 0, 0, 0, 0, 0, 0, 1, 'd', 'a', 't', 'a' }, got[64] = "";

	enter(here);
	write_to("/proc/sys/net/ipv4/ping_group_range", "0 0");
	MUST(s = socket(to.sa.sa_family, SOCK_DGRAM, v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP));
	MUST(sendto(s, echo, sizeof echo, 0, &to.sa, to.len));
	if (ready(s, 2500) && recvfrom(s, got, sizeof got, MSG_DONTWAIT, &from.sa, &from.len) > 0)
		printf("%s: type %d from %s\n", what, (unsigned char)got[0], text_of(&from.sa));
	else
		printf("%s: nothing comes\n", what);
	fflush(stdout);
	close(s);
}

#endif
