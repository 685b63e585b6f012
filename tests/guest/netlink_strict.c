/*
 * rtnetlink(7) with NETLINK_GET_STRICT_CHK and without: what headers and attributes requests may have that look at
 * something, and what filters dumps honour.
 */
#include "rtnetlink.h"

static const char *mode;

static void fixed(int type, const void *data, size_t len)
{
	nl_begin(&q, type, 0, data, len);
}

static void dumped_in(const char *what, int only)
{
	char name[128];

	snprintf(name, sizeof name, "%s, %s", mode, what);
	dumped(name, only);
}

static void asked(const char *what)
{
	struct nlmsghdr *h = (void *)answer;
	ssize_t n;

	q.h.nlmsg_flags = NLM_F_REQUEST;
	MUST(send(nl, &q, q.h.nlmsg_len, 0));
	MUST(n = recv(nl, answer, sizeof answer, 0));
	if (h->nlmsg_type == NLMSG_ERROR)
		printf("%s, %s: %s\n", mode, what, strerrorname_np(-*(int *)NLMSG_DATA(h)));
	else {
		printf("%s, %s:\n", mode, what);
		say(h);
	}
	fflush(stdout);
}

static void links(int index)
{
	struct ifinfomsg l = { 0 };

	l.ifi_index = index;
	fixed(RTM_GETLINK, &l, sizeof l);
	dumped_in("links with an index", 0);
	l = (struct ifinfomsg){ .ifi_flags = IFF_UP };
	fixed(RTM_GETLINK, &l, sizeof l);
	dumped_in("links with flags", 0);
	l = (struct ifinfomsg){ .ifi_change = 1 };
	fixed(RTM_GETLINK, &l, sizeof l);
	dumped_in("links with a change", 0);
	l = (struct ifinfomsg){ 0 };
	fixed(RTM_GETLINK, &l, 8);
	dumped_in("links with a short header", 0);
	fixed(RTM_GETLINK, &l, sizeof l);
	put_u32(IFLA_EXT_MASK, 1);
	dumped_in("links with an extension", 0);
	fixed(RTM_GETLINK, &l, sizeof l);
	put_u32(IFLA_MTU, 1);
	dumped_in("links with an mtu", 0);
	fixed(RTM_GETLINK, &l, sizeof l);
	put_u32(IFLA_MASTER, 4711);
	dumped_in("links of a master", 0);
	fixed(RTM_GETLINK, &l, sizeof l);
	put_u32(1000, 1);
	dumped_in("links with an attribute of no meaning", 0);
	fixed(RTM_GETLINK, &l, sizeof l);
	nl_put(&q, "abc", 3);
	dumped_in("links with bytes behind", 0);
	fixed(RTM_GETLINK, &l, sizeof l);
	struct rtattr *info = nl_attr(&q, IFLA_LINKINFO, NULL, 0);
	put_name(IFLA_INFO_KIND, "veth");
	nl_end(&q, info);
	dumped_in("links of a kind", 0);

	l.ifi_index = index;
	fixed(RTM_GETLINK, &l, sizeof l);
	asked("one link");
	l.ifi_flags = 1;
	fixed(RTM_GETLINK, &l, sizeof l);
	asked("one link with flags");
	l.ifi_flags = 0;
	fixed(RTM_GETLINK, &l, sizeof l);
	put_u32(IFLA_MTU, 1);
	asked("one link with an mtu");
	fixed(RTM_GETLINK, &l, 8);
	asked("one link with a short header");
	fixed(RTM_GETLINK, &l, sizeof l);
	put_name(IFLA_IFNAME, "nolink");
	asked("one link by index and name");
}

static void addresses(int index)
{
	for (int i = 0; i < 3; i++) {
		int family = (int[]){ AF_INET, AF_INET6, AF_UNSPEC }[i];
		struct ifaddrmsg a = { .ifa_family = family };

		printf("family %d\n", family);
		a.ifa_index = index;
		fixed(RTM_GETADDR, &a, sizeof a);
		dumped_in("addresses of a link", 0);
		a.ifa_index = NOWHERE;
		fixed(RTM_GETADDR, &a, sizeof a);
		dumped_in("addresses of no link", index);
		a = (struct ifaddrmsg){ .ifa_family = family, .ifa_prefixlen = 24 };
		fixed(RTM_GETADDR, &a, sizeof a);
		dumped_in("addresses with a prefix", index);
		a = (struct ifaddrmsg){ .ifa_family = family, .ifa_scope = 1 };
		fixed(RTM_GETADDR, &a, sizeof a);
		dumped_in("addresses with a scope", index);
		a = (struct ifaddrmsg){ .ifa_family = family };
		fixed(RTM_GETADDR, &a, 4);
		dumped_in("addresses with a short header", index);
		fixed(RTM_GETADDR, &a, sizeof a);
		put_ip(IFA_LOCAL, "10.9.0.1");
		dumped_in("addresses with an address", index);
	}
	struct ifaddrmsg a = { .ifa_family = AF_INET6 };
	fixed(RTM_GETADDR, &a, sizeof a);
	put_ip(IFA_ADDRESS, "fd09::1");
	asked("one address");
	a.ifa_prefixlen = 64;
	fixed(RTM_GETADDR, &a, sizeof a);
	put_ip(IFA_ADDRESS, "fd09::1");
	asked("one address with a prefix");
	a.ifa_prefixlen = 0;
	fixed(RTM_GETADDR, &a, sizeof a);
	put_ip(IFA_ADDRESS, "fd09::1");
	put_u32(IFA_FLAGS, 0);
	asked("one address with flags");
	fixed(RTM_GETADDR, &a, sizeof a);
	put_ip(IFA_ADDRESS, "fd09::77");
	asked("no such address");
	fixed(RTM_GETADDR, &a, sizeof a);
	asked("no address at all");
}

static void routes(int index)
{
	for (int i = 0; i < 3; i++) {
		int family = (int[]){ AF_INET, AF_INET6, AF_UNSPEC }[i];
		struct rtmsg r = { .rtm_family = family, .rtm_table = 100 };

		printf("family %d\n", family);
		fixed(RTM_GETROUTE, &r, sizeof r);
		dumped_in("routes of a table", 100);
		r.rtm_table = 101;
		fixed(RTM_GETROUTE, &r, sizeof r);
		dumped_in("routes of an empty table", 100);
		r.rtm_table = 0;
		fixed(RTM_GETROUTE, &r, sizeof r);
		put_u32(RTA_TABLE, 100);
		dumped_in("routes of a table in an attribute", 100);
		r.rtm_protocol = RTPROT_BOOT;
		fixed(RTM_GETROUTE, &r, sizeof r);
		dumped_in("routes of a protocol", RT_TABLE_MAIN);
		r.rtm_protocol = 0;
		r.rtm_type = RTN_BLACKHOLE;
		fixed(RTM_GETROUTE, &r, sizeof r);
		dumped_in("routes of a type", RT_TABLE_MAIN);
		r.rtm_type = 0;
		fixed(RTM_GETROUTE, &r, sizeof r);
		put_u32(RTA_OIF, index);
		dumped_in("routes over a link", RT_TABLE_MAIN);
		fixed(RTM_GETROUTE, &r, sizeof r);
		put_u32(RTA_OIF, NOWHERE);
		dumped_in("routes over no link", 100);
		fixed(RTM_GETROUTE, &r, sizeof r);
		put_u32(RTA_PRIORITY, 1);
		dumped_in("routes of a metric", 100);
		r.rtm_dst_len = 8;
		fixed(RTM_GETROUTE, &r, sizeof r);
		dumped_in("routes with a prefix", 100);
		r.rtm_dst_len = 0;
		r.rtm_scope = 1;
		fixed(RTM_GETROUTE, &r, sizeof r);
		dumped_in("routes with a scope", 100);
		r.rtm_scope = 0;
		r.rtm_flags = RTM_F_NOTIFY;
		fixed(RTM_GETROUTE, &r, sizeof r);
		dumped_in("routes with flags", 100);
		r.rtm_flags = RTM_F_CLONED;
		fixed(RTM_GETROUTE, &r, sizeof r);
		dumped_in("cloned routes", 100);
		r.rtm_flags = 0;
		fixed(RTM_GETROUTE, &r, 4);
		dumped_in("routes with a short header", 100);
	}
	struct rtmsg r = { .rtm_family = AF_INET, .rtm_dst_len = 32 };
	fixed(RTM_GETROUTE, &r, sizeof r);
	put_ip(RTA_DST, "10.9.0.9");
	asked("the way");
	r.rtm_dst_len = 24;
	fixed(RTM_GETROUTE, &r, sizeof r);
	put_ip(RTA_DST, "10.9.0.9");
	asked("the way to a network");
	r.rtm_dst_len = 0;
	fixed(RTM_GETROUTE, &r, sizeof r);
	put_ip(RTA_DST, "10.9.0.9");
	asked("the way without a length");
	r.rtm_dst_len = 32;
	fixed(RTM_GETROUTE, &r, sizeof r);
	put_ip(RTA_DST, "10.9.0.9");
	put_u32(RTA_PRIORITY, 1);
	asked("the way with a metric");
	r.rtm_table = RT_TABLE_MAIN;
	fixed(RTM_GETROUTE, &r, sizeof r);
	put_ip(RTA_DST, "10.9.0.9");
	asked("the way by a table");
	fixed(RTM_GETROUTE, &r, 4);
	asked("the way with a short header");
}

static void others(int index)
{
	struct ndmsg n = { .ndm_family = AF_INET };
	struct fib_rule_hdr f = { .family = AF_INET };

	fixed(RTM_GETNEIGH, &n, sizeof n);
	put_u32(NDA_IFINDEX, index);
	dumped_in("neighbours on a link", 0);
	fixed(RTM_GETNEIGH, &n, sizeof n);
	put_u32(NDA_IFINDEX, index + 1);
	dumped_in("neighbours on another", 0);
	fixed(RTM_GETNEIGH, &n, sizeof n);
	put_u32(NDA_PROBES, 1);
	dumped_in("neighbours with an attribute", 0);
	n.ndm_ifindex = index;
	fixed(RTM_GETNEIGH, &n, sizeof n);
	dumped_in("neighbours with an index", 0);
	n.ndm_ifindex = 0;
	n.ndm_state = NUD_PERMANENT;
	fixed(RTM_GETNEIGH, &n, sizeof n);
	dumped_in("neighbours in a state", 0);
	n.ndm_state = 0;
	fixed(RTM_GETNEIGH, &n, 4);
	dumped_in("neighbours with a short header", 0);
	n.ndm_ifindex = index;
	fixed(RTM_GETNEIGH, &n, sizeof n);
	put_ip(NDA_DST, "10.9.0.9");
	asked("one neighbour");
	fixed(RTM_GETNEIGH, &n, sizeof n);
	put_ip(NDA_DST, "10.9.0.8");
	asked("no neighbour");
	fixed(RTM_GETNEIGH, &n, sizeof n);
	asked("neighbour without an address");
	n.ndm_ifindex = NOWHERE;
	fixed(RTM_GETNEIGH, &n, sizeof n);
	put_ip(NDA_DST, "10.9.0.9");
	asked("neighbour on no link");
	n.ndm_ifindex = 0;
	fixed(RTM_GETNEIGH, &n, sizeof n);
	put_ip(NDA_DST, "10.9.0.9");
	asked("neighbour without a link");

	f.table = RT_TABLE_MAIN;
	fixed(RTM_GETRULE, &f, sizeof f);
	dumped_in("rules with a table", 0);
	f.table = 0;
	fixed(RTM_GETRULE, &f, sizeof f);
	put_u32(FRA_PRIORITY, 0);
	dumped_in("rules with an attribute", 0);
	fixed(RTM_GETRULE, &f, 4);
	dumped_in("rules with a short header", 0);
	f.family = 77;
	fixed(RTM_GETRULE, &f, sizeof f);
	dumped_in("rules of an unknown family", 0);
}

static int device(void)
{
	int index;

	pair_request(MAKE, "one", "two");
	ask("pair");
	for (int i = 0; i < 3; i++) {
		link_request(RTM_NEWLINK, 0, 0, (const char *[]){ "lo", "one", "two" }[i]);
		struct ifinfomsg *l = NLMSG_DATA(&q.h);
		l->ifi_flags = l->ifi_change = IFF_UP;
		ask("up");
	}
	index = if_nametoindex("one");
	for (int i = 0; i < 2; i++) {
		address_request(RTM_NEWADDR, MAKE, index, i ? "fd09::1" : "10.9.0.1", i ? 64 : 24);
		ask("address");
		route_request(RTM_NEWROUTE, MAKE, i ? "fd30::" : "172.30.0.0", i ? 48 : 16, i ? "fd09::9" : "10.9.0.9", 0);
		put_u32(RTA_TABLE, 100);
		ask("route of a table");
		route_request(RTM_NEWROUTE, MAKE, i ? "fd31::" : "172.31.0.0", i ? 48 : 16, i ? "fd09::9" : "10.9.0.9", 0);
		ask("route");
		neighbour_request(RTM_NEWNEIGH, MAKE, index, i ? "fd09::9" : "10.9.0.9", 9);
		ask("neighbour");
	}
	return index;
}

int main(void)
{
	int index;

	MUST(unshare(CLONE_NEWNET));
	quiet();
	MUST(nl = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	index = device();
	for (int on = 0; on < 2; on++) {
		mode = on ? "strict" : "lax";
		MUST(setsockopt(nl, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on));
		links(index);
		addresses(index);
		routes(index);
		others(index);
	}
	return 0;
}
