/*
 * rtnetlink(7): making, changing and removing links, addresses, routes, rules and neighbours, with the errors of
 * each, what dumps show afterwards, and what those hear who joined the groups.
 */
#include "common.h"
#include "netlink.h"
#include <arpa/inet.h>
#include <linux/capability.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#define MAKE (NLM_F_CREATE | NLM_F_EXCL)
#define NOWHERE 4711

static int nl;
static struct nl_request q;
static char answer[65536];

static void put_u32(int type, uint32_t value)
{
	nl_attr(&q, type, &value, sizeof value);
}

static void put_name(int type, const char *name)
{
	nl_attr(&q, type, name, strlen(name) + 1);
}

static void put_ip(int type, const char *text)
{
	char ip[16];
	int v6 = strchr(text, ':') != NULL;

	inet_pton(v6 ? AF_INET6 : AF_INET, text, ip);
	nl_attr(&q, type, ip, v6 ? 16 : 4);
}

static int family_of(const char *text)
{
	return strchr(text, ':') ? AF_INET6 : AF_INET;
}

/* Sends the request for an acknowledgement and says what that holds. */
static int ask(const char *name)
{
	struct { struct nlmsghdr h; struct nlmsgerr e; char rest[2048]; } got;

	q.h.nlmsg_flags |= NLM_F_ACK;
	MUST(send(nl, &q, q.h.nlmsg_len, 0));
	MUST(recv(nl, &got, sizeof got, 0));
	if (got.h.nlmsg_type != NLMSG_ERROR)
		printf("%s: message %d\n", name, got.h.nlmsg_type);
	else
		printf("%s: %s\n", name, got.e.error ? strerrorname_np(-got.e.error) : "0");
	fflush(stdout);
	return got.e.error;
}

static int ask_in(const char *what, const char *which)
{
	char name[128];

	snprintf(name, sizeof name, "%s, %s", what, which);
	return ask(name);
}

/* Requests. */

static void link_request(int type, int flags, int index, const char *name)
{
	struct ifinfomsg link = { .ifi_family = AF_UNSPEC, .ifi_index = index };

	nl_begin(&q, type, flags, &link, sizeof link);
	if (name)
		put_name(IFLA_IFNAME, name);
}

static void pair_request(int flags, const char *name, const char *other)
{
	struct ifinfomsg none = { .ifi_family = AF_UNSPEC };
	struct rtattr *info, *data, *peer;

	link_request(RTM_NEWLINK, flags, 0, name);
	info = nl_attr(&q, IFLA_LINKINFO, NULL, 0);
	nl_attr(&q, IFLA_INFO_KIND, "veth", 5);
	data = nl_attr(&q, IFLA_INFO_DATA, NULL, 0);
	peer = nl_attr(&q, VETH_INFO_PEER, &none, sizeof none);
	put_name(IFLA_IFNAME, other);
	nl_end(&q, peer);
	nl_end(&q, data);
	nl_end(&q, info);
}

static void address_request(int type, int flags, int index, const char *ip, int prefix)
{
	struct ifaddrmsg address = { .ifa_family = family_of(ip), .ifa_prefixlen = prefix, .ifa_index = index };

	nl_begin(&q, type, flags, &address, sizeof address);
	put_ip(IFA_LOCAL, ip);
	put_ip(IFA_ADDRESS, ip);
	if (type == RTM_NEWADDR && address.ifa_family == AF_INET6)
		put_u32(IFA_FLAGS, IFA_F_NODAD);
}

static void route_request(int type, int flags, const char *to, int prefix, const char *by, int index)
{
	struct rtmsg route = { .rtm_family = family_of(to), .rtm_dst_len = prefix, .rtm_table = RT_TABLE_MAIN,
			       .rtm_protocol = RTPROT_BOOT, .rtm_type = RTN_UNICAST,
			       .rtm_scope = by || strchr(to, ':') ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK };

	if (type == RTM_DELROUTE) {
		route.rtm_scope = RT_SCOPE_NOWHERE;
		route.rtm_protocol = 0;
		route.rtm_type = 0;
	}
	nl_begin(&q, type, flags, &route, sizeof route);
	if (prefix)
		put_ip(RTA_DST, to);
	if (by)
		put_ip(RTA_GATEWAY, by);
	if (index)
		put_u32(RTA_OIF, index);
}

static void rule_request(int type, int flags, int family, int priority, const char *from, int prefix)
{
	struct fib_rule_hdr rule = { .family = family, .src_len = prefix, .table = RT_TABLE_MAIN, .action = FR_ACT_TO_TBL };

	nl_begin(&q, type, flags, &rule, sizeof rule);
	if (priority)
		put_u32(FRA_PRIORITY, priority);
	if (from)
		put_ip(FRA_SRC, from);
}

static void neighbour_request(int type, int flags, int index, const char *ip, int last)
{
	struct ndmsg n = { .ndm_family = family_of(ip), .ndm_ifindex = index, .ndm_state = NUD_PERMANENT };
	unsigned char mac[6] = { 2, 0, 0, 0, 0, last };

	nl_begin(&q, type, flags, &n, sizeof n);
	put_ip(NDA_DST, ip);
	if (last)
		nl_attr(&q, NDA_LLADDR, mac, sizeof mac);
}

/* What messages say. */

static const struct rtattr *find(const struct nlmsghdr *h, size_t fixed, int type)
{
	struct rtattr *a = (void *)((char *)NLMSG_DATA(h) + NLMSG_ALIGN(fixed));
	int left = h->nlmsg_len - NLMSG_SPACE(fixed);

	for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == type)
			return a;
	return NULL;
}

static const char *ip_of(int family, const struct rtattr *a)
{
	static char text[2][INET6_ADDRSTRLEN];
	static int turn;

	if (!a)
		return "-";
	turn = !turn;
	return inet_ntop(family, RTA_DATA(a), text[turn], sizeof text[0]);
}

static uint32_t u32_of(const struct rtattr *a)
{
	return a ? *(uint32_t *)RTA_DATA(a) : 0;
}

/* Addresses that interfaces give themselves, and routes to those, are random. */
static int random_address(const struct nlmsghdr *h)
{
	struct rtmsg *r = NLMSG_DATA(h);
	const struct rtattr *a = NULL;

	if (h->nlmsg_type == RTM_NEWADDR || h->nlmsg_type == RTM_DELADDR)
		a = find(h, sizeof(struct ifaddrmsg), IFA_ADDRESS);
	else if (h->nlmsg_type == RTM_NEWROUTE || h->nlmsg_type == RTM_DELROUTE)
		a = find(h, sizeof(struct rtmsg), RTA_DST);
	return r->rtm_family == AF_INET6 && a && IN6_IS_ADDR_LINKLOCAL((struct in6_addr *)RTA_DATA(a));
}

static void say(const struct nlmsghdr *h)
{
	const char *change = h->nlmsg_type % 4 ? h->nlmsg_type % 4 == 1 ? "gone" : "?" : "new";
	void *d = NLMSG_DATA(h);

	if (random_address(h))
		return;
	if (h->nlmsg_type <= RTM_DELLINK) {
		struct ifinfomsg *l = d;
		const struct rtattr *name = find(h, sizeof *l, IFLA_IFNAME);

		printf("  %s link %s mtu %u\n", change, name ? (char *)RTA_DATA(name) : "-", u32_of(find(h, sizeof *l, IFLA_MTU)));
	} else if (h->nlmsg_type <= RTM_DELADDR) {
		struct ifaddrmsg *a = d;
		const struct rtattr *label = find(h, sizeof *a, IFA_LABEL);

		printf("  %s address %s local %s /%d scope %d flags %#x label %s\n", change,
		       ip_of(a->ifa_family, find(h, sizeof *a, IFA_ADDRESS)), ip_of(a->ifa_family, find(h, sizeof *a, IFA_LOCAL)),
		       a->ifa_prefixlen, a->ifa_scope, u32_of(find(h, sizeof *a, IFA_FLAGS)) & ~IFA_F_NODAD, label ? (char *)RTA_DATA(label) : "-");
	} else if (h->nlmsg_type <= RTM_DELROUTE) {
		struct rtmsg *r = d;

		printf("  %s route %s/%d by %s table %u type %d scope %d protocol %d metric %u\n", change,
		       ip_of(r->rtm_family, find(h, sizeof *r, RTA_DST)), r->rtm_dst_len,
		       ip_of(r->rtm_family, find(h, sizeof *r, RTA_GATEWAY)), u32_of(find(h, sizeof *r, RTA_TABLE)), r->rtm_type,
		       r->rtm_scope, r->rtm_protocol, u32_of(find(h, sizeof *r, RTA_PRIORITY)));
	} else if (h->nlmsg_type <= RTM_DELNEIGH) {
		struct ndmsg *n = d;
		const struct rtattr *mac = find(h, sizeof *n, NDA_LLADDR);

		printf("  %s neighbour %s state %#x mac %d\n", change, ip_of(n->ndm_family, find(h, sizeof *n, NDA_DST)), n->ndm_state,
		       mac ? ((unsigned char *)RTA_DATA(mac))[5] : -1);
	} else {
		struct fib_rule_hdr *r = d;

		printf("  %s rule %u from %s/%d table %d action %d\n", change, u32_of(find(h, sizeof *r, FRA_PRIORITY)),
		       ip_of(r->family, find(h, sizeof *r, FRA_SRC)), r->src_len, r->table, r->action);
	}
}

/* A socket that hears of a group: only those with an address do. */
static int member(int group)
{
	struct sockaddr_nl any = { .nl_family = AF_NETLINK };
	int s = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_ROUTE);

	MUST(bind(s, (struct sockaddr *)&any, sizeof any));
	MUST(setsockopt(s, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group));
	return s;
}

/* Forgets what was heard. */
static void drain(int s)
{
	while (recv(s, answer, sizeof answer, 0) > 0)
		;
}

static void heard(const char *name, int s)
{
	ssize_t n;

	printf("%s hear:\n", name);
	while ((n = recv(s, answer, sizeof answer, 0)) > 0)
		for (struct nlmsghdr *h = (void *)answer; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n))
			say(h);
	fflush(stdout);
}

/* Whether a member hears that a link changed: how often is the kernel's affair. */
static void heard_link(const char *what, int s, int type, const char *name)
{
	int found = 0;
	ssize_t n;

	while ((n = recv(s, answer, sizeof answer, 0)) > 0)
		for (struct nlmsghdr *h = (void *)answer; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
			const struct rtattr *a = find(h, sizeof(struct ifinfomsg), IFLA_IFNAME);

			found |= h->nlmsg_type == type && a && !strcmp(RTA_DATA(a), name);
		}
	TRUE(what, found);
}

/* What a dump holds; of routes and addresses those alone that stand in `table` or on `index`. */
static void dump(const char *name, int type, int family, int only)
{
	union {
		struct ifinfomsg link;
		struct ifaddrmsg address;
		struct rtmsg route;
		struct ndmsg neighbour;
		struct fib_rule_hdr rule;
	} f = { .link.ifi_family = family };
	size_t len = type == RTM_GETADDR ? sizeof f.address : type == RTM_GETLINK ? sizeof f.link : sizeof f.route;
	int done = 0;

	nl_begin(&q, type, NLM_F_DUMP, &f, len);
	MUST(send(nl, &q, q.h.nlmsg_len, 0));
	printf("%s:\n", name);
	while (!done) {
		ssize_t n = recv(nl, answer, sizeof answer, 0);

		MUST(n);
		for (struct nlmsghdr *h = (void *)answer; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
			struct rtmsg *r = NLMSG_DATA(h);

			if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR)
				done = 1;
			else if (type == RTM_GETROUTE && (int)u32_of(find(h, sizeof *r, RTA_TABLE)) != only)
				continue;
			else if (type == RTM_GETADDR && (int)((struct ifaddrmsg *)r)->ifa_index != only)
				continue;
			else
				say(h);
		}
	}
	fflush(stdout);
}

static void quiet(void)
{
	int fd = open("/proc/sys/net/ipv6/conf/default/addr_gen_mode", O_WRONLY);

	if (fd >= 0 && write(fd, "1", 1) != 1)
		perror("addr_gen_mode");
	close(fd);
}

static void links(void)
{
	int s = member(RTNLGRP_LINK);

	dump("links at first", RTM_GETLINK, AF_UNSPEC, 0);
	pair_request(MAKE, "one", "two");
	ask("make a pair");
	TRUE("both are there", if_nametoindex("one") && if_nametoindex("two"));
	heard_link("members hear of it", s, RTM_NEWLINK, "one");
	pair_request(MAKE, "one", "three");
	ask("again");
	pair_request(NLM_F_CREATE, "four", "two");
	ask("the other name is taken");
	TRUE("nothing was made", !if_nametoindex("four"));
	pair_request(0, "five", "six");
	ask("without create");
	pair_request(MAKE, "a-name-of-16-let", "six");
	ask("name too long");
	pair_request(MAKE, "a/b", "six");
	ask("name with a slash");
	link_request(RTM_NEWLINK, MAKE, 0, "seven");
	ask("no kind");
	struct rtattr *info = nl_attr(&q, IFLA_LINKINFO, NULL, 0);
	put_name(IFLA_INFO_KIND, "nokind");
	nl_end(&q, info);
	ask("unknown kind");
	link_request(RTM_NEWLINK, 0, NOWHERE, NULL);
	ask("change of no link by index");
	link_request(RTM_NEWLINK, 0, 0, "nolink");
	ask("change of no link by name");
	link_request(RTM_NEWLINK, 0, 0, NULL);
	ask("change of nothing");

	link_request(RTM_NEWLINK, 0, 0, "one");
	put_u32(IFLA_MTU, 1400);
	ask("mtu");
	heard_link("members hear of the mtu", s, RTM_NEWLINK, "one");
	link_request(RTM_NEWLINK, 0, 0, "one");
	put_u32(IFLA_MTU, 20);
	ask("mtu too small");
	link_request(RTM_NEWLINK, 0, 0, "one");
	put_u32(IFLA_MTU, 100000);
	ask("mtu too large");
	link_request(RTM_NEWLINK, 0, if_nametoindex("two"), "deux");
	ask("rename");
	heard_link("members hear of the name", s, RTM_NEWLINK, "deux");
	link_request(RTM_NEWLINK, 0, if_nametoindex("deux"), "one");
	ask("rename to a taken one");
	link_request(RTM_NEWLINK, 0, if_nametoindex("deux"), "deux");
	ask("rename to its own");
	link_request(RTM_NEWLINK, 0, 0, "one");
	nl_attr(&q, IFLA_ADDRESS, "\2\0\0\0\0\1", 6);
	ask("hardware address");
	link_request(RTM_NEWLINK, 0, 0, "one");
	nl_attr(&q, IFLA_ADDRESS, "\2\0\0", 3);
	ask("short hardware address");
	link_request(RTM_NEWLINK, 0, 0, "one");
	nl_attr(&q, IFLA_ADDRESS, "\1\0\0\0\0\1", 6);
	ask("hardware address of a group");
	link_request(RTM_NEWLINK, 0, 0, "one");
	put_u32(IFLA_NET_NS_FD, 999);
	ask("to no namespace");
	link_request(RTM_NEWLINK, 0, 0, "lo");
	int own = open("/proc/self/ns/net", O_RDONLY);
	put_u32(IFLA_NET_NS_FD, own);
	ask("lo to its own namespace");
	close(own);
	dump("links then", RTM_GETLINK, AF_UNSPEC, 0);

	link_request(RTM_DELLINK, 0, NOWHERE, NULL);
	ask("remove no link by index");
	link_request(RTM_DELLINK, 0, 0, "nolink");
	ask("remove no link by name");
	link_request(RTM_DELLINK, 0, 0, NULL);
	ask("remove nothing");
	link_request(RTM_DELLINK, 0, 0, "lo");
	ask("remove lo");
	link_request(RTM_DELLINK, 0, 0, "deux");
	ask("remove an end");
	heard_link("members hear of the removal", s, RTM_DELLINK, "deux");
	TRUE("both are gone", !if_nametoindex("one") && !if_nametoindex("deux"));
	ask("remove it again");
	close(s);
}

/* A pair that is up: what follows is about it. */
static int device(void)
{
	pair_request(MAKE, "one", "two");
	ask("pair");
	for (int i = 0; i < 3; i++) {
		const char *names[] = { "lo", "one", "two" };
		struct ifinfomsg up = { .ifi_flags = IFF_UP, .ifi_change = IFF_UP };

		nl_begin(&q, RTM_NEWLINK, 0, &up, sizeof up);
		put_name(IFLA_IFNAME, names[i]);
		ask_in("up", names[i]);
	}
	return if_nametoindex("one");
}

static void addresses(int index)
{
	int s4 = member(RTNLGRP_IPV4_IFADDR), s6 = member(RTNLGRP_IPV6_IFADDR);
	const char *ips[] = { "10.9.0.1", "fd09::1" };

	for (int i = 0; i < 2; i++) {
		const char *ip = ips[i];
		int prefix = i ? 64 : 24;

		address_request(RTM_NEWADDR, MAKE, index, ip, prefix);
		ask_in("add", ip);
		ask_in("add again", ip);
		/* Addresses of IPv6 are announced a moment later. */
		poll(&(struct pollfd){ .fd = i ? s6 : s4, .events = POLLIN }, 1, 1000);
		heard("members", i ? s6 : s4);
		address_request(RTM_NEWADDR, NLM_F_REPLACE, index, ip, prefix);
		ask_in("replace", ip);
		address_request(RTM_NEWADDR, NLM_F_CREATE, index, ip, prefix);
		ask_in("create without excl", ip);
		address_request(RTM_NEWADDR, MAKE, NOWHERE, ip, prefix);
		ask_in("add to no link", ip);
		drain(i ? s6 : s4);
		address_request(RTM_NEWADDR, MAKE, index, i ? "fd09::66" : "10.9.0.66", i ? 129 : 33);
		ask_in("prefix too long", ip);
		address_request(RTM_DELADDR, 0, index, i ? "fd09::77" : "10.9.0.77", prefix);
		ask_in("remove none such", ip);
		address_request(RTM_DELADDR, 0, NOWHERE, ip, prefix);
		ask_in("remove of no link", ip);
		address_request(RTM_DELADDR, 0, index, ip, prefix - 8);
		ask_in("remove with another prefix", ip);
	}
	address_request(RTM_NEWADDR, MAKE, index, "10.9.0.2", 24);
	put_name(IFA_LABEL, "one:2");
	put_ip(IFA_BROADCAST, "10.9.0.255");
	ask("a second one with a label");
	address_request(RTM_NEWADDR, MAKE, index, "10.9.0.1", 16);
	ask("another prefix of the first");
	struct ifaddrmsg bare = { .ifa_family = AF_INET, .ifa_prefixlen = 24, .ifa_index = index };
	nl_begin(&q, RTM_NEWADDR, MAKE, &bare, sizeof bare);
	ask("no address at all");
	bare.ifa_family = AF_INET6;
	nl_begin(&q, RTM_NEWADDR, MAKE, &bare, sizeof bare);
	ask("no address at all, 6");
	address_request(RTM_NEWADDR, MAKE, index, "ff02::7", 64);
	ask("address of a group");
	dump("addresses", RTM_GETADDR, AF_INET, index);
	dump("addresses, 6", RTM_GETADDR, AF_INET6, index);
	address_request(RTM_DELADDR, 0, index, "10.9.0.1", 16);
	ask("remove the other prefix");
	heard("members of 4", s4);
	address_request(RTM_DELADDR, 0, index, "10.9.0.1", 24);
	ask("remove the first");
	dump("addresses after", RTM_GETADDR, AF_INET, index);
	address_request(RTM_NEWADDR, MAKE, index, "10.9.0.1", 24);
	ask("add it once more");
	close(s4);
	close(s6);
}

static void routes(int index)
{
	int s4 = member(RTNLGRP_IPV4_ROUTE), s6 = member(RTNLGRP_IPV6_ROUTE);
	const char *nets[] = { "172.30.0.0", "fd30::" }, *by[] = { "10.9.0.9", "fd09::9" }, *far[] = { "203.0.113.9", "fd77::9" };

	for (int i = 0; i < 2; i++) {
		const char *to = nets[i];
		int prefix = i ? 48 : 16;

		route_request(RTM_NEWROUTE, MAKE, to, prefix, by[i], 0);
		ask_in("add", to);
		ask_in("add again", to);
		heard("members", i ? s6 : s4);
		route_request(RTM_NEWROUTE, NLM_F_REPLACE, to, prefix, NULL, index);
		ask_in("replace", to);
		route_request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, to, prefix, by[i], 0);
		ask_in("create or replace", to);
		route_request(RTM_NEWROUTE, NLM_F_REPLACE, to, prefix + 4, by[i], 0);
		ask_in("replace none", to);
		drain(i ? s6 : s4);
		route_request(RTM_NEWROUTE, MAKE, to, prefix + 4, far[i], 0);
		ask_in("gateway out of reach", to);
		route_request(RTM_NEWROUTE, MAKE, to, prefix + 4, NULL, NOWHERE);
		ask_in("over no link", to);
		route_request(RTM_NEWROUTE, MAKE, to, i ? 129 : 33, by[i], 0);
		ask_in("prefix too long", to);
		route_request(RTM_NEWROUTE, MAKE, to, prefix, by[i], 0);
		put_u32(RTA_PRIORITY, 2000);
		ask_in("with another metric", to);
		route_request(RTM_NEWROUTE, MAKE, to, prefix, by[i], 0);
		put_u32(RTA_TABLE, 100);
		ask_in("in a table of its own", to);
		route_request(RTM_DELROUTE, 0, to, prefix + 1, NULL, 0);
		ask_in("remove none such", to);
		route_request(RTM_DELROUTE, 0, to, prefix, far[i], 0);
		ask_in("remove by another gateway", to);
		route_request(RTM_DELROUTE, 0, to, prefix, NULL, 0);
		put_u32(RTA_TABLE, 101);
		ask_in("remove of an empty table", to);
		dump("main table", RTM_GETROUTE, i ? AF_INET6 : AF_INET, RT_TABLE_MAIN);
		dump("table 100", RTM_GETROUTE, i ? AF_INET6 : AF_INET, 100);
		route_request(RTM_DELROUTE, 0, to, prefix, NULL, 0);
		put_u32(RTA_PRIORITY, 2000);
		ask_in("remove by metric", to);
		route_request(RTM_DELROUTE, 0, to, prefix, by[i], 0);
		ask_in("remove", to);
		ask_in("remove again", to);
		route_request(RTM_DELROUTE, 0, to, prefix, NULL, 0);
		put_u32(RTA_TABLE, 100);
		ask_in("remove from the table", to);
		heard(i ? "members of 6" : "members of 4", i ? s6 : s4);
	}
	struct rtmsg route = { .rtm_family = AF_INET, .rtm_dst_len = 24, .rtm_table = RT_TABLE_MAIN, .rtm_type = RTN_BLACKHOLE,
			       .rtm_protocol = RTPROT_STATIC };
	nl_begin(&q, RTM_NEWROUTE, MAKE, &route, sizeof route);
	put_ip(RTA_DST, "198.51.100.0");
	ask("blackhole");
	route.rtm_type = RTN_UNICAST;
	nl_begin(&q, RTM_NEWROUTE, MAKE, &route, sizeof route);
	put_ip(RTA_DST, "198.51.100.0");
	ask("to nowhere");
	route_request(RTM_NEWROUTE, MAKE, "172.30.1.1", 24, "10.9.0.9", 0);
	ask("bits below the prefix");
	route_request(RTM_NEWROUTE, MAKE, "0.0.0.0", 0, "10.9.0.9", 0);
	ask("default");
	dump("main table", RTM_GETROUTE, AF_INET, RT_TABLE_MAIN);
	heard("members of 4", s4);
	close(s4);
	close(s6);
}

static void rules(void)
{
	int s = member(RTNLGRP_IPV4_RULE);

	for (int i = 0; i < 2; i++) {
		int family = i ? AF_INET6 : AF_INET;
		const char *from = i ? "fd09::" : "10.9.0.0";
		int prefix = i ? 64 : 24;

		rule_request(RTM_NEWRULE, MAKE, family, 500, from, prefix);
		ask_in("add a rule", from);
		ask_in("add it again", from);
		rule_request(RTM_NEWRULE, NLM_F_CREATE, family, 0, from, prefix);
		ask_in("without priority", from);
		rule_request(RTM_NEWRULE, MAKE, family, 600, from, i ? 129 : 33);
		ask_in("prefix too long", from);
		dump("rules", RTM_GETRULE, family, 0);
		rule_request(RTM_DELRULE, 0, family, 501, from, prefix);
		ask_in("remove none such", from);
		rule_request(RTM_DELRULE, 0, family, 500, from, prefix);
		ask_in("remove", from);
		ask_in("remove again", from);
		rule_request(RTM_DELRULE, 0, family, 0, from, prefix);
		ask_in("remove without priority", from);
		dump("rules after", RTM_GETRULE, family, 0);
	}
	rule_request(RTM_NEWRULE, MAKE, 77, 500, NULL, 0);
	ask("rule of an unknown family");
	heard("members of 4", s);
	close(s);
}

static void neighbours(int index)
{
	int s = member(RTNLGRP_NEIGH);

	for (int i = 0; i < 2; i++) {
		const char *ip = i ? "fd09::9" : "10.9.0.9";

		neighbour_request(RTM_NEWNEIGH, MAKE, index, ip, 9);
		ask_in("add", ip);
		ask_in("add again", ip);
		neighbour_request(RTM_NEWNEIGH, NLM_F_REPLACE, index, ip, 8);
		ask_in("replace", ip);
		neighbour_request(RTM_NEWNEIGH, NLM_F_REPLACE, index, i ? "fd09::8" : "10.9.0.8", 8);
		ask_in("replace none", ip);
		neighbour_request(RTM_NEWNEIGH, MAKE, NOWHERE, ip, 9);
		ask_in("of no link", ip);
		heard("members", s);
		dump("neighbours", RTM_GETNEIGH, i ? AF_INET6 : AF_INET, 0);
		neighbour_request(RTM_DELNEIGH, 0, index, i ? "fd09::8" : "10.9.0.8", 0);
		ask_in("remove none such", ip);
		neighbour_request(RTM_DELNEIGH, 0, NOWHERE, ip, 0);
		ask_in("remove of no link", ip);
		neighbour_request(RTM_DELNEIGH, 0, index, ip, 0);
		ask_in("remove", ip);
		drain(s);
		dump("neighbours after", RTM_GETNEIGH, i ? AF_INET6 : AF_INET, 0);
	}
	struct ndmsg bare = { .ndm_family = AF_INET, .ndm_ifindex = index, .ndm_state = NUD_PERMANENT };
	nl_begin(&q, RTM_NEWNEIGH, MAKE, &bare, sizeof bare);
	ask("no address");
	nl_begin(&q, RTM_NEWNEIGH, MAKE, &bare, sizeof bare);
	put_ip(NDA_DST, "10.9.0.7");
	nl_attr(&q, NDA_LLADDR, "\2\0\0", 3);
	ask("short hardware address");
	close(s);
}

/* Without NLM_F_ACK errors alone are answered. */
static void acknowledgements(int index)
{
	struct { struct nlmsghdr h; struct nlmsgerr e; char rest[2048]; } got;
	int on = 1;

	address_request(RTM_NEWADDR, MAKE, index, "10.9.0.50", 24);
	CHECK("add without ack", send(nl, &q, q.h.nlmsg_len, 0) > 0);
	CHECK("no answer", recv(nl, &got, sizeof got, MSG_DONTWAIT));
	CHECK("again without ack", send(nl, &q, q.h.nlmsg_len, 0) > 0);
	CHECK("an answer", recv(nl, &got, sizeof got, MSG_DONTWAIT) > 0);
	printf("it is %d: %s, about %d\n", got.h.nlmsg_type, strerrorname_np(-got.e.error), got.e.msg.nlmsg_type);
	q.h.nlmsg_flags &= ~NLM_F_REQUEST;
	CHECK("not a request", send(nl, &q, q.h.nlmsg_len, 0) > 0);
	CHECK("no answer", recv(nl, &got, sizeof got, MSG_DONTWAIT));
	q.h.nlmsg_flags |= NLM_F_REQUEST;
	SHOW(setsockopt(nl, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on));
	ask("extended error");
	q.h.nlmsg_type = RTM_DELADDR;
	q.h.nlmsg_flags = NLM_F_REQUEST;
	ask("extended success");
	ask("extended error of removal");
	on = 0;
	SHOW(setsockopt(nl, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on));
	/* Two requests in one datagram have two answers. */
	address_request(RTM_NEWADDR, MAKE | NLM_F_ACK, index, "10.9.0.51", 24);
	char both[512];
	size_t one = NLMSG_ALIGN(q.h.nlmsg_len);
	memcpy(both, &q, one);
	memcpy(both + one, &q, one);
	CHECK("two at once", send(nl, both, 2 * one, 0) == (ssize_t)(2 * one));
	for (int i = 0; i < 2; i++) {
		CHECK("answer", recv(nl, &got, sizeof got, MSG_DONTWAIT) > 0);
		printf("answer %d: %s\n", i, got.e.error ? strerrorname_np(-got.e.error) : "0");
	}
	CHECK("no third", recv(nl, &got, sizeof got, MSG_DONTWAIT));
	address_request(RTM_DELADDR, 0, index, "10.9.0.51", 24);
	ask("remove");
}

/* Strict checks mind nothing about dumps that ask for all. */
static void strict(void)
{
	int value = -1, turns[] = { 0, 1 };
	socklen_t len = sizeof value;

	for (int i = 0; i < 2; i++) {
		SHOW(setsockopt(nl, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &turns[i], sizeof turns[i]));
		SHOW(getsockopt(nl, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &value, &len));
		printf("strict %d\n", value);
		dump("links", RTM_GETLINK, AF_UNSPEC, 0);
		dump("routes", RTM_GETROUTE, AF_INET, RT_TABLE_MAIN);
		dump("rules", RTM_GETRULE, AF_INET, 0);
	}
	MUST(setsockopt(nl, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &turns[0], sizeof turns[0]));
}

/* Who may not administer the network changes nothing of it, but may look at all. */
static void without_capability(int index)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct caps[2];

	MUST(syscall(SYS_capget, &head, caps));
	caps[0].effective &= ~(1U << CAP_NET_ADMIN);
	MUST(syscall(SYS_capset, &head, caps));
	MUST(nl = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	pair_request(MAKE, "eight", "nine");
	ask("pair without capability");
	link_request(RTM_DELLINK, 0, 0, "nolink");
	ask("removal of no link without capability");
	address_request(RTM_NEWADDR, MAKE, NOWHERE, "10.9.0.60", 24);
	ask("address without capability");
	address_request(RTM_DELADDR, 0, index, "10.9.0.1", 24);
	ask("removal of an address without capability");
	route_request(RTM_NEWROUTE, MAKE, "172.30.0.0", 16, "10.9.0.9", 0);
	ask("route without capability");
	route_request(RTM_DELROUTE, 0, "0.0.0.0", 0, NULL, 0);
	ask("removal of a route without capability");
	rule_request(RTM_NEWRULE, MAKE, AF_INET, 500, NULL, 0);
	ask("rule without capability");
	neighbour_request(RTM_NEWNEIGH, MAKE, index, "10.9.0.9", 9);
	ask("neighbour without capability");
	dump("links without capability", RTM_GETLINK, AF_UNSPEC, 0);
	dump("addresses without capability", RTM_GETADDR, AF_INET, index);
}

int main(void)
{
	int index;

	MUST(unshare(CLONE_NEWNET));
	quiet();
	MUST(nl = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	links();
	index = device();
	addresses(index);
	routes(index);
	rules();
	neighbours(index);
	acknowledgements(index);
	strict();
	without_capability(index);
	return 0;
}
