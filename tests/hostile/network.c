/*
 * Networks of a guest's own, filled until they refuse: namespaces, interfaces, addresses, routes, rules, neighbours, the
 * queues of netlink sockets that nobody reads and of interfaces that nobody takes frames from, frames that go round for
 * ever. Each has its bound, is
 * usable again afterwards, and the sandbox lives on.
 *
 * expect namespaces: bounded
 * expect interfaces: bounded
 * expect addresses: bounded
 * expect routes: bounded
 * expect rules: bounded
 * expect neighbours: answered
 * expect notifications: ENOBUFS, then read
 * expect frames: dropped
 * expect ring: answered
 * expect filled: exit 0
 * expect again: exit 0
 * expect still alive: 1
 */
#define _GNU_SOURCE
#include "common.h"
#include "../guest/netlink.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fib_rules.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/neighbour.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* More than any of the bounds. */
#define MANY 6000

static int route = -1;

/* 0, or what the kernel says against it. */
static int ask(struct nl_request *r, int type, int flags)
{
	struct { struct nlmsghdr head; struct nlmsgerr error; char rest[1024]; } answer;

	r->h.nlmsg_type = type;
	r->h.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	if (send(route, r, r->h.nlmsg_len, 0) < 0)
		return -errno;
	if (recv(route, &answer, sizeof answer, 0) < 0)
		return -errno;
	return answer.error.error;
}

static int add_pair(int n)
{
	struct nl_request r = { .h.nlmsg_len = NLMSG_HDRLEN };
	struct ifinfomsg none = { .ifi_family = AF_UNSPEC };
	struct rtattr *info, *data, *peer;
	char name[IFNAMSIZ];

	nl_put(&r, &none, sizeof none);
	sprintf(name, "a%d", n);
	nl_attr(&r, IFLA_IFNAME, name, strlen(name) + 1);
	info = nl_attr(&r, IFLA_LINKINFO, NULL, 0);
	nl_attr(&r, IFLA_INFO_KIND, "veth", 5);
	data = nl_attr(&r, IFLA_INFO_DATA, NULL, 0);
	peer = nl_attr(&r, VETH_INFO_PEER, NULL, 0);
	nl_put(&r, &none, sizeof none);
	sprintf(name, "b%d", n);
	nl_attr(&r, IFLA_IFNAME, name, strlen(name) + 1);
	nl_end(&r, peer);
	nl_end(&r, data);
	nl_end(&r, info);
	return ask(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
}

static int remove_pair(int n)
{
	struct nl_request r = { .h.nlmsg_len = NLMSG_HDRLEN };
	struct ifinfomsg none = { .ifi_family = AF_UNSPEC };
	char name[IFNAMSIZ];

	nl_put(&r, &none, sizeof none);
	sprintf(name, "a%d", n);
	nl_attr(&r, IFLA_IFNAME, name, strlen(name) + 1);
	return ask(&r, RTM_DELLINK, 0);
}

static int add_address(int n)
{
	struct nl_request r = { .h.nlmsg_len = NLMSG_HDRLEN };
	struct ifaddrmsg own = { AF_INET, 32, 0, RT_SCOPE_UNIVERSE, 1 };
	uint32_t ip = htonl(0x0a800000 + n);

	nl_put(&r, &own, sizeof own);
	nl_attr(&r, IFA_LOCAL, &ip, sizeof ip);
	nl_attr(&r, IFA_ADDRESS, &ip, sizeof ip);
	return ask(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
}

static int add_route(int n)
{
	struct nl_request r = { .h.nlmsg_len = NLMSG_HDRLEN };
	struct rtmsg own = { .rtm_family = AF_INET, .rtm_dst_len = 32, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_STATIC,
			     .rtm_scope = RT_SCOPE_LINK, .rtm_type = RTN_UNICAST };
	uint32_t ip = htonl(0x0b000000 + n), lo = 1;

	nl_put(&r, &own, sizeof own);
	nl_attr(&r, RTA_DST, &ip, sizeof ip);
	nl_attr(&r, RTA_OIF, &lo, sizeof lo);
	return ask(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
}

static int add_rule(int n)
{
	struct nl_request r = { .h.nlmsg_len = NLMSG_HDRLEN };
	struct fib_rule_hdr own = { .family = AF_INET, .table = RT_TABLE_MAIN, .action = FR_ACT_TO_TBL };
	uint32_t priority = 100 + n;

	nl_put(&r, &own, sizeof own);
	nl_attr(&r, FRA_PRIORITY, &priority, sizeof priority);
	return ask(&r, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL);
}

static int add_neighbour(int n)
{
	struct nl_request r = { .h.nlmsg_len = NLMSG_HDRLEN };
	struct ndmsg own = { .ndm_family = AF_INET, .ndm_ifindex = if_nametoindex("a0"), .ndm_state = NUD_PERMANENT };
	uint32_t ip = htonl(0x0c000000 + n);

	nl_put(&r, &own, sizeof own);
	nl_attr(&r, NDA_DST, &ip, sizeof ip);
	nl_attr(&r, NDA_LLADDR, "\2\0\0\0\0\1", 6);
	return ask(&r, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE);
}

static void fill(const char *name, int (*add)(int), int from)
{
	int n = from, e = 0;

	while (n < MANY && !(e = add(n)))
		n++;
	if (n < MANY && n > from)
		printf("%s: bounded\n", name);
	else
		printf("%s: %d, %s\n", name, n, strerror(-e));
	fflush(stdout);
}

static void up(const char *name, int on)
{
	struct ifreq r = { 0 };
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	strcpy(r.ifr_name, name);
	ioctl(s, SIOCGIFFLAGS, &r);
	r.ifr_flags = on ? r.ifr_flags | IFF_UP : r.ifr_flags & ~IFF_UP;
	ioctl(s, SIOCSIFFLAGS, &r);
	close(s);
}

static void start(void)
{
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) && unshare(CLONE_NEWNET))
		perror("unshare");
	close(route);
	route = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
}

static void notifications(void)
{
	struct sockaddr_nl all = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE };
	int s = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_ROUTE), few = 2048, got = 0, lost = 0;
	char b[8192];

	setsockopt(s, SOL_SOCKET, SO_RCVBUF, &few, sizeof few);
	bind(s, (struct sockaddr *)&all, sizeof all);
	for (int n = 0; n < 3000; n++)
		up("lo", n & 1);
	for (;;) {
		ssize_t len = recv(s, b, sizeof b, 0);

		if (len < 0 && errno == ENOBUFS)
			lost++;
		else if (len < 0)
			break;
		else
			got++;
	}
	printf("notifications: %s%s\n", lost ? "ENOBUFS, " : "", got && errno == EAGAIN ? "then read" : "then nothing");
	close(s);
}

/* More than 100 MB for an interface whose other end belongs to a process that never looks. */
static void frames(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(0x0c000005) };
	struct nl_request r = { .h.nlmsg_len = NLMSG_HDRLEN };
	struct ifaddrmsg own = { AF_INET, 8, 0, RT_SCOPE_UNIVERSE, 0 };
	uint32_t ip = htonl(0x0c000001);
	int s, e;
	static char b[60000];

	start();
	s = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	e = add_pair(0);
	own.ifa_index = if_nametoindex("a0");
	nl_put(&r, &own, sizeof own);
	nl_attr(&r, IFA_LOCAL, &ip, sizeof ip);
	e = e ? e : ask(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
	up("a0", 1);
	up("b0", 1);
	add_neighbour(5);
	for (int n = 0; n < 2000; n++)
		if (sendto(s, b, sizeof b, 0, (struct sockaddr *)&to, sizeof to) < 0 && errno != EAGAIN && errno != ENOBUFS)
			e = -errno;
	printf("frames: %s\n", e ? strerror(-e) : "dropped");
	close(s);
}

static int add_port(const char *name, uint32_t bridge)
{
	struct nl_request r = { .h.nlmsg_len = NLMSG_HDRLEN };
	struct ifinfomsg port = { .ifi_index = if_nametoindex(name), .ifi_flags = IFF_UP, .ifi_change = IFF_UP };

	nl_put(&r, &port, sizeof port);
	nl_attr(&r, IFLA_MASTER, &bridge, sizeof bridge);
	return ask(&r, RTM_NEWLINK, 0);
}

static int add_bridge(void)
{
	struct nl_request r = { .h.nlmsg_len = NLMSG_HDRLEN };
	struct ifinfomsg on = { .ifi_family = AF_UNSPEC, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
	struct rtattr *info;

	nl_put(&r, &on, sizeof on);
	nl_attr(&r, IFLA_IFNAME, "ring", 5);
	info = nl_attr(&r, IFLA_LINKINFO, NULL, 0);
	nl_attr(&r, IFLA_INFO_KIND, "bridge", 7);
	nl_end(&r, info);
	return ask(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
}

/* A bridge all of whose ports lead back to it: what is for all comes back, and more of it each time. */
static void ring(void)
{
	const char *ports[] = { "a0", "b0", "a1", "b1" };
	unsigned char frame[64] = { 255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 9, 0x88, 0xb5 };
	struct sockaddr_ll to = { .sll_family = AF_PACKET };
	int s, e;

	start();
	s = socket(AF_PACKET, SOCK_RAW, 0);
	e = add_bridge();
	e = e ? e : add_pair(0);
	e = e ? e : add_pair(1);
	for (int n = 0; n < 4; n++)
		e = e ? e : add_port(ports[n], if_nametoindex("ring"));
	to.sll_ifindex = if_nametoindex("ring");
	for (int n = 0; n < 100; n++) {
		sendto(s, frame, sizeof frame, 0, (struct sockaddr *)&to, sizeof to);
		e = e || if_nametoindex("ring") ? e : -ENODEV;
	}
	printf("ring: %s\n", e ? strerror(-e) : "answered");
	for (int n = 0; n < 4; n++)
		up(ports[n], 0);
	close(s);
}

static void attack(void)
{
	int held[1000], n = 0;

	/* Thousands of interfaces take a slow machine longer than other attacks. */
	alarm(60);
	start();
	while (n < 1000 && !unshare(CLONE_NEWNET) && (held[n] = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) >= 0)
		n++;
	printf("namespaces: %s\n", n > 0 && n < 1000 ? "bounded" : "not bounded");
	while (n > 1)
		close(held[--n]);
	setns(held[0], CLONE_NEWNET);
	close(route);
	route = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	up("lo", 1);
	fill("interfaces", add_pair, 0);
	for (n = MANY; n > 0; n--)
		remove_pair(n);
	fill("addresses", add_address, 0);
	fill("routes", add_route, 0);
	fill("rules", add_rule, 0);
	for (n = 0; n < MANY && !add_neighbour(n + 16); n++)
		;
	/* Linux drops old entries, or refuses. */
	printf("neighbours: answered\n");
	notifications();
	frames();
	ring();
	fflush(stdout);
}

/* Nothing of what the other one filled is left. */
static void again(void)
{
	start();
	up("lo", 1);
	if (add_pair(0) || add_address(1) || add_route(1) || add_rule(1) || add_neighbour(1))
		_exit(1);
}

int main(void)
{
	in_child("filled", attack, EXACT);
	in_child("again", again, EXACT);
	printf("still alive: 1\n");
	return 0;
}
