/*
 * rtnetlink(7), what those hear who joined its groups, to the letter: replaced and appended routes, replaced
 * addresses, addresses that go with others or take their place, neighbours that go; who hears at all; and errors of
 * requests that are odd in one place.
 */
#include "rtnetlink.h"

static void addresses(int index)
{
	int s4 = member(RTNLGRP_IPV4_IFADDR), s6 = member(RTNLGRP_IPV6_IFADDR), r4 = member(RTNLGRP_IPV4_ROUTE);
	char ip[32];

	for (int promote = 0; promote < 2; promote++) {
		printf("promote %d\n", promote);
		write_to("/proc/sys/net/ipv4/conf/one/promote_secondaries", promote ? "1" : "0");
		for (int i = 1; i <= 3; i++) {
			snprintf(ip, sizeof ip, "10.8.0.%d", i);
			address_request(RTM_NEWADDR, MAKE, index, ip, 24);
			ask(ip);
		}
		address_request(RTM_NEWADDR, MAKE, index, "10.8.1.1", 24);
		ask("of another network");
		heard("members", s4);
		heard("members of routes", r4);
		address_request(RTM_DELADDR, 0, index, "10.8.0.1", 24);
		ask("remove the first");
		heard("members", s4);
		heard("members of routes", r4);
		dump("addresses", RTM_GETADDR, AF_INET, index);
		dump("routes", RTM_GETROUTE, AF_INET, RT_TABLE_MAIN);
		address_request(RTM_DELADDR, 0, index, "10.8.0.2", 24);
		ask("remove the second");
		heard("members", s4);
		address_request(RTM_DELADDR, 0, index, "10.8.0.3", 24);
		ask("remove the third");
		address_request(RTM_DELADDR, 0, index, "10.8.1.1", 24);
		ask("remove that of another network");
		forget(s4);
		forget(r4);
	}
	address_request(RTM_NEWADDR, MAKE, index, "10.9.0.1", 24);
	ask("address");
	address_request(RTM_NEWADDR, MAKE, index, "fd09::1", 64);
	ask("address");
	poll(&(struct pollfd){ .fd = s6, .events = POLLIN }, 1, 1000);
	forget(s4);
	forget(s6);
	address_request(RTM_NEWADDR, NLM_F_REPLACE, index, "10.9.0.1", 24);
	ask("replace");
	heard("members", s4);
	address_request(RTM_NEWADDR, NLM_F_REPLACE, index, "fd09::1", 64);
	ask("replace");
	heard("members of 6", s6);
	address_request(RTM_NEWADDR, MAKE, index, "fd09::1", 129);
	ask("an address that is there, with a prefix too long");
	address_request(RTM_DELADDR, 0x200, index, "10.9.0.1", 24);
	ask("in bulk");
	struct ifaddrmsg a = { .ifa_family = AF_INET, .ifa_prefixlen = 24, .ifa_index = index };
	nl_begin(&q, RTM_NEWADDR, MAKE, &a, sizeof a);
	nl_attr(&q, IFA_LOCAL, "ab", 2);
	ask("two bytes of an address");
	a.ifa_family = AF_INET6;
	nl_begin(&q, RTM_NEWADDR, MAKE, &a, sizeof a);
	nl_attr(&q, IFA_LOCAL, "abcd", 4);
	ask("four bytes of an address of 6");
	nl_begin(&q, RTM_DELADDR, 0, &a, sizeof a);
	nl_attr(&q, IFA_LOCAL, "abcd", 4);
	ask("removal of such a one");
	a.ifa_family = 77;
	nl_begin(&q, RTM_NEWADDR, MAKE, &a, sizeof a);
	put_ip(IFA_LOCAL, "10.9.0.8");
	ask("of an unknown family");
	nl_begin(&q, RTM_NEWADDR, MAKE, &a, 4);
	ask("header too short");
	close(s4);
	close(s6);
	close(r4);
}

static void routes(int index)
{
	int s4 = member(RTNLGRP_IPV4_ROUTE), s6 = member(RTNLGRP_IPV6_ROUTE);
	const char *nets[] = { "172.30.0.0", "fd30::" }, *by[] = { "10.9.0.9", "fd09::9" }, *other[] = { "10.9.0.8", "fd09::8" };

	for (int i = 0; i < 2; i++) {
		int s = i ? s6 : s4, prefix = i ? 48 : 16;

		route_request(RTM_NEWROUTE, MAKE, nets[i], prefix, by[i], 0);
		ask_in("add", nets[i]);
		heard("members", s);
		route_request(RTM_NEWROUTE, NLM_F_REPLACE, nets[i], prefix, other[i], 0);
		ask_in("replace", nets[i]);
		heard("members", s);
		route_request(RTM_NEWROUTE, NLM_F_REPLACE, nets[i], prefix, other[i], 0);
		ask_in("replace by the same", nets[i]);
		heard("members", s);
		route_request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, nets[i], prefix, by[i], 0);
		put_u32(RTA_PRIORITY, 5);
		ask_in("create or replace", nets[i]);
		heard("members", s);
		if (!i) {
			route_request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_APPEND, nets[i], prefix, by[i], 0);
			ask_in("append", nets[i]);
			heard("members", s);
		}
		route_request(RTM_NEWROUTE, MAKE, nets[i], prefix, by[i], 0);
		put_u32(RTA_PRIORITY, 3);
		ask_in("of another metric", nets[i]);
		route_request(RTM_NEWROUTE, MAKE, nets[i], prefix + 8, by[i], 0);
		ask_in("within it", nets[i]);
		route_request(RTM_NEWROUTE, MAKE, i ? "::" : "0.0.0.0", 0, by[i], 0);
		ask_in("default", nets[i]);
		dump("main table", RTM_GETROUTE, i ? AF_INET6 : AF_INET, RT_TABLE_MAIN);
		route_request(RTM_NEWROUTE, MAKE, nets[i], prefix, by[i], 0);
		((struct rtmsg *)NLMSG_DATA(&q.h))->rtm_type = 77;
		ask_in("of an unknown type", nets[i]);
		route_request(RTM_NEWROUTE, MAKE, nets[i], prefix, by[i], 0);
		nl_attr(&q, RTA_OIF, "a", 1);
		ask_in("over a byte", nets[i]);
		route_request(RTM_DELROUTE, 0x200, nets[i], prefix, by[i], 0);
		ask_in("remove in bulk", nets[i]);
		route_request(RTM_DELROUTE, 0, nets[i], prefix, NULL, 0);
		forget(s);
		ask_in("remove", nets[i]);
		heard("members", s);
	}
	close(s4);
	close(s6);
}

static void neighbours(int index)
{
	int s = member(RTNLGRP_NEIGH);

	for (int i = 0; i < 2; i++) {
		const char *ip = i ? "fd09::9" : "10.9.0.9";

		neighbour_request(RTM_NEWNEIGH, MAKE, index, ip, 9);
		ask_in("add", ip);
		neighbour_request(RTM_NEWNEIGH, MAKE, 0, ip, 9);
		ask_in("add to no link", ip);
		forget(s);
		neighbour_request(RTM_DELNEIGH, 0x200, index, ip, 0);
		ask_in("remove in bulk", ip);
		neighbour_request(RTM_DELNEIGH, 0, 0, ip, 0);
		ask_in("remove from no link", ip);
		neighbour_request(RTM_DELNEIGH, 0, index, ip, 0);
		ask_in("remove", ip);
		heard("members", s);
	}
	close(s);
}

static void links(void)
{
	pair_request(MAKE, "", "six");
	ask("pair of which one has an empty name");
	pair_request(MAKE, "five", "");
	ask("pair of which the other has an empty name");
	link_request(RTM_NEWLINK, 0, 0, "one");
	nl_attr(&q, IFLA_MTU, "ab", 2);
	ask("mtu of two bytes");
	link_request(RTM_DELLINK, 0x200, 0, "one");
	ask("remove in bulk");
}

/* Only sockets with an address hear. */
static void unbound(int index)
{
	int s = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_ROUTE), group = RTNLGRP_IPV4_IFADDR;
	struct sockaddr_nl own, any = { .nl_family = AF_NETLINK };
	socklen_t len = sizeof own;

	SHOW(setsockopt(s, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group));
	SHOW(getsockname(s, (struct sockaddr *)&own, &len));
	printf("address %d groups %#x\n", own.nl_pid != 0, own.nl_groups);
	address_request(RTM_NEWADDR, MAKE, index, "10.9.0.60", 24);
	ask("add");
	heard("without an address", s);
	SHOW(bind(s, (struct sockaddr *)&any, sizeof any));
	SHOW(getsockname(s, (struct sockaddr *)&own, &len));
	printf("address %d groups %#x\n", own.nl_pid != 0, own.nl_groups);
	SHOW(setsockopt(s, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group));
	address_request(RTM_DELADDR, 0, index, "10.9.0.60", 24);
	ask("remove");
	heard("with an address", s);
	close(s);
}

/* Interfaces give themselves addresses of IPv6 if their parameters say so. */
static void own_addresses(int index)
{
	struct ifinfomsg l = { .ifi_index = index, .ifi_change = IFF_UP };

	for (int mode = 0; mode < 2; mode++) {
		write_to("/proc/sys/net/ipv6/conf/one/addr_gen_mode", mode ? "0" : "1");
		for (int up = 0; up < 2; up++) {
			l.ifi_flags = up ? IFF_UP : 0;
			nl_begin(&q, RTM_NEWLINK, 0, &l, sizeof l);
			ask(up ? "up" : "down");
		}
		FILE *f = fopen("/proc/thread-self/net/if_inet6", "r");
		char line[256];
		int count = 0;

		while (f && fgets(line, sizeof line, f))
			count += strstr(line, " one\n") && !strncmp(line, "fe80", 4);
		printf("mode %d: %d\n", mode, count);
		fclose(f);
	}
	write_to("/proc/sys/net/ipv6/conf/one/disable_ipv6", "1");
	dump("disabled", RTM_GETADDR, AF_INET6, index);
	address_request(RTM_NEWADDR, MAKE, index, "fd09::1", 64);
	ask("address without IPv6");
}

static void bound(void)
{
	char name[IFNAMSIZ] = "";
	socklen_t len = sizeof name;
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	SHOW(setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "one", 3));
	link_request(RTM_DELLINK, 0, 0, "one");
	ask("remove");
	SHOW(getsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, name, &len));
	close(s);
}

int main(void)
{
	int index;

	alone();
	index = device();
	addresses(index);
	routes(index);
	neighbours(index);
	links();
	unbound(index);
	own_addresses(index);
	bound();
	return 0;
}
