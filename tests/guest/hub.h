/*
 * Network namespaces around one: each leaf has an end of a pair, "eth0"; the other ends, "p0" and so on, are in the hub.
 */
#ifndef HUB_H
#define HUB_H

#include "address.h"
#include "rtnetlink.h"
#include <netinet/icmp6.h>
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

static inline void set_up(const char *name, int up)
{
	up_request(name, up);
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
	char name[16];

	snprintf(name, sizeof name, "p%d", n);
	pair_request_into(leaf[n], MAKE, name, "eth0");
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
