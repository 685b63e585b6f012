/*
 * rtnetlink(7): making, changing and removing links, addresses, routes, rules and neighbours, with the errors of
 * each, what dumps show afterwards, and what those hear who joined the groups.
 */
#include "rtnetlink.h"
#include <linux/capability.h>

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
		forget(i ? s6 : s4);
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
		forget(i ? s6 : s4);
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
		forget(s);
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

	alone();
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
