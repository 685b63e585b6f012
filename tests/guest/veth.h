/*
 * Two network namespaces of the test's own with a pair of interfaces between them. The process is in the first, at
 * 10.9.0.1, fd09::1 and fe80::1, all over "near"; the other end is 10.9.0.2, fd09::2 and fe80::2, over "far".
 */
#ifndef VETH_H
#define VETH_H

#include "rtnetlink.h"
#include <netinet/in.h>
#include <sys/ioctl.h>

static int veth_near, veth_far;

/* Sends the request to the namespace that the process is in. */
static inline void veth_ask(void)
{
	MUST(nl = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	quietly();
	close(nl);
}

static inline void veth_up(const char *name)
{
	struct ifreq r = { 0 };
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	strcpy(r.ifr_name, name);
	MUST(ioctl(s, SIOCGIFFLAGS, &r));
	r.ifr_flags |= IFF_UP;
	MUST(ioctl(s, SIOCSIFFLAGS, &r));
	close(s);
}

static inline void veth_address(const char *name, const char *ip)
{
	address_request(RTM_NEWADDR, MAKE, if_nametoindex(name), ip, family_of(ip) == AF_INET6 ? 64 : 24);
	veth_ask();
}

static inline void veth_route(const char *network, int prefix, const char *gateway)
{
	route_request(RTM_NEWROUTE, MAKE, network, prefix, gateway, 0);
	veth_ask();
}

static inline void veth_setup(void)
{
	MUST(unshare(CLONE_NEWNET));
	MUST(veth_far = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
	quiet();
	veth_up("lo");
	MUST(unshare(CLONE_NEWNET));
	MUST(veth_near = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
	quiet();
	veth_up("lo");
	pair_request_into(veth_far, MAKE, "near", "far");
	veth_ask();
	veth_up("near");
	veth_address("near", "10.9.0.1");
	veth_address("near", "fd09::1");
	veth_address("near", "fe80::1");
	MUST(setns(veth_far, CLONE_NEWNET));
	veth_up("far");
	veth_address("far", "10.9.0.2");
	veth_address("far", "fd09::2");
	veth_address("far", "fe80::2");
	MUST(setns(veth_near, CLONE_NEWNET));
}

/* A socket at the other end. */
static inline int far_socket(int family, int type, int protocol)
{
	int s;

	MUST(setns(veth_far, CLONE_NEWNET));
	s = socket(family, type, protocol);
	MUST(setns(veth_near, CLONE_NEWNET));
	MUST(s);
	return s;
}

/* A connection to a listener at an address that is not bound yet: a its client, b its server. */
static inline void stream_pair(int l, const char *ip, int *a, int *b)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = inet_addr(ip) };
	socklen_t len = sizeof at;

	MUST(bind(l, (struct sockaddr *)&at, sizeof at));
	MUST(listen(l, 1));
	MUST(getsockname(l, (struct sockaddr *)&at, &len));
	MUST(*a = socket(AF_INET, SOCK_STREAM, 0));
	MUST(connect(*a, (struct sockaddr *)&at, sizeof at));
	MUST(*b = accept(l, NULL, NULL));
	close(l);
}

/* Between both ends: a near, b far. */
static inline void veth_connect(int *a, int *b)
{
	stream_pair(far_socket(AF_INET, SOCK_STREAM, 0), "10.9.0.2", a, b);
}

/* The same over lo. */
static inline void lo_connect(int *a, int *b)
{
	stream_pair(socket(AF_INET, SOCK_STREAM, 0), "127.0.0.1", a, b);
}

#endif
