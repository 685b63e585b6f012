/*
 * rtnetlink(7) with NETLINK_GET_STRICT_CHK and without: what headers and attributes requests may have that look at
 * something, and what filters dumps honour.
 */
#include "rtnetlink.h"

static const char *mode;

/* A request with a header of so many bytes, and an attribute of a number if that is not 0. */
static void request(int type, const void *header, size_t len, int attribute, uint32_t value)
{
	nl_begin(&q, type, 0, header, len);
	if (attribute)
		put_u32(attribute, value);
}

/* The dump that is requested, with `only` as for dumped(). */
static void all(const char *what, int only)
{
	char name[128];

	snprintf(name, sizeof name, "%s, %s", mode, what);
	dumped(name, only);
}

/* The one thing that is requested. */
static void one(const char *what)
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

#define WHOLE(header) &(header), sizeof(header)

static void links_as(const char *what, struct ifinfomsg l, int attribute, uint32_t value)
{
	request(RTM_GETLINK, WHOLE(l), attribute, value);
	all(what, 0);
}

static void link_as(const char *what, struct ifinfomsg l, int attribute, uint32_t value)
{
	request(RTM_GETLINK, WHOLE(l), attribute, value);
	one(what);
}

static void links(int index)
{
	struct ifinfomsg l = { 0 }, this = { .ifi_index = index };

	links_as("links with an index", this, 0, 0);
	links_as("links with flags", (struct ifinfomsg){ .ifi_flags = IFF_UP }, 0, 0);
	links_as("links with a change", (struct ifinfomsg){ .ifi_change = 1 }, 0, 0);
	request(RTM_GETLINK, &l, 8, 0, 0);
	all("links with a short header", 0);
	links_as("links with an extension", l, IFLA_EXT_MASK, 1);
	links_as("links with an mtu", l, IFLA_MTU, 1);
	links_as("links of a master", l, IFLA_MASTER, NOWHERE);
	links_as("links with an attribute of no meaning", l, 1000, 1);
	request(RTM_GETLINK, WHOLE(l), 0, 0);
	nl_put(&q, "abc", 3);
	all("links with bytes behind", 0);
	request(RTM_GETLINK, WHOLE(l), 0, 0);
	struct rtattr *info = nl_attr(&q, IFLA_LINKINFO, NULL, 0);
	put_name(IFLA_INFO_KIND, "veth");
	nl_end(&q, info);
	all("links of a kind", 0);

	link_as("one link", this, 0, 0);
	link_as("one link with flags", (struct ifinfomsg){ .ifi_index = index, .ifi_flags = 1 }, 0, 0);
	link_as("one link with an mtu", this, IFLA_MTU, 1);
	request(RTM_GETLINK, &this, 8, 0, 0);
	one("one link with a short header");
	request(RTM_GETLINK, WHOLE(this), 0, 0);
	put_name(IFLA_IFNAME, "nolink");
	one("one link by index and name");
}

static void addresses_as(const char *what, struct ifaddrmsg a, int only)
{
	request(RTM_GETADDR, WHOLE(a), 0, 0);
	all(what, only);
}

static void address_as(const char *what, int prefix, const char *ip)
{
	struct ifaddrmsg a = { .ifa_family = AF_INET6, .ifa_prefixlen = prefix };

	request(RTM_GETADDR, WHOLE(a), 0, 0);
	put_ip(IFA_ADDRESS, ip);
	one(what);
}

static void addresses(int index)
{
	for (int i = 0; i < 3; i++) {
		int family = (int[]){ AF_INET, AF_INET6, AF_UNSPEC }[i];
		struct ifaddrmsg a = { .ifa_family = family };

		printf("family %d\n", family);
		addresses_as("addresses of a link", (struct ifaddrmsg){ .ifa_family = family, .ifa_index = index }, 0);
		addresses_as("addresses of no link", (struct ifaddrmsg){ .ifa_family = family, .ifa_index = NOWHERE }, index);
		addresses_as("addresses with a prefix", (struct ifaddrmsg){ .ifa_family = family, .ifa_prefixlen = 24 }, index);
		addresses_as("addresses with a scope", (struct ifaddrmsg){ .ifa_family = family, .ifa_scope = 1 }, index);
		request(RTM_GETADDR, &a, 4, 0, 0);
		all("addresses with a short header", index);
		request(RTM_GETADDR, WHOLE(a), 0, 0);
		put_ip(IFA_LOCAL, "10.9.0.1");
		all("addresses with an address", index);
	}
	address_as("one address", 0, "fd09::1");
	address_as("one address with a prefix", 64, "fd09::1");
	struct ifaddrmsg a = { .ifa_family = AF_INET6 };
	request(RTM_GETADDR, WHOLE(a), 0, 0);
	put_ip(IFA_ADDRESS, "fd09::1");
	put_u32(IFA_FLAGS, 0);
	one("one address with flags");
	address_as("no such address", 0, "fd09::77");
	request(RTM_GETADDR, WHOLE(a), 0, 0);
	one("no address at all");
}

static void routes_as(const char *what, struct rtmsg r, int attribute, uint32_t value, int only)
{
	request(RTM_GETROUTE, WHOLE(r), attribute, value);
	all(what, only);
}

static void way_as(const char *what, int prefix, int table, int metric)
{
	struct rtmsg r = { .rtm_family = AF_INET, .rtm_dst_len = prefix, .rtm_table = table };

	request(RTM_GETROUTE, WHOLE(r), metric ? RTA_PRIORITY : 0, metric);
	put_ip(RTA_DST, "10.9.0.9");
	one(what);
}

#define ROUTE(...) (struct rtmsg){ .rtm_family = family, __VA_ARGS__ }

static void routes(int index)
{
	for (int i = 0; i < 3; i++) {
		int family = (int[]){ AF_INET, AF_INET6, AF_UNSPEC }[i];

		printf("family %d\n", family);
		routes_as("routes of a table", ROUTE(.rtm_table = 100), 0, 0, 100);
		routes_as("routes of an empty table", ROUTE(.rtm_table = 101), 0, 0, 100);
		routes_as("routes of a table in an attribute", ROUTE(), RTA_TABLE, 100, 100);
		routes_as("routes of a protocol", ROUTE(.rtm_protocol = RTPROT_BOOT), 0, 0, RT_TABLE_MAIN);
		routes_as("routes of a type", ROUTE(.rtm_type = RTN_BLACKHOLE), 0, 0, RT_TABLE_MAIN);
		routes_as("routes over a link", ROUTE(), RTA_OIF, index, RT_TABLE_MAIN);
		routes_as("routes over no link", ROUTE(), RTA_OIF, NOWHERE, 100);
		routes_as("routes of a metric", ROUTE(), RTA_PRIORITY, 1, 100);
		routes_as("routes with a prefix", ROUTE(.rtm_dst_len = 8), 0, 0, 100);
		routes_as("routes with a scope", ROUTE(.rtm_scope = 1), 0, 0, 100);
		routes_as("routes with flags", ROUTE(.rtm_flags = RTM_F_NOTIFY), 0, 0, 100);
		routes_as("cloned routes", ROUTE(.rtm_flags = RTM_F_CLONED), 0, 0, 100);
		request(RTM_GETROUTE, &ROUTE(), 4, 0, 0);
		all("routes with a short header", 100);
	}
	way_as("the way", 32, 0, 0);
	way_as("the way to a network", 24, 0, 0);
	way_as("the way without a length", 0, 0, 0);
	way_as("the way with a metric", 32, 0, 1);
	way_as("the way by a table", 32, RT_TABLE_MAIN, 0);
	request(RTM_GETROUTE, &(struct rtmsg){ .rtm_family = AF_INET }, 4, 0, 0);
	one("the way with a short header");
}

static void neighbours_as(const char *what, struct ndmsg n, int attribute, uint32_t value)
{
	n.ndm_family = AF_INET;
	request(RTM_GETNEIGH, WHOLE(n), attribute, value);
	all(what, 0);
}

static void neighbour_as(const char *what, int index, const char *ip)
{
	struct ndmsg n = { .ndm_family = AF_INET, .ndm_ifindex = index };

	request(RTM_GETNEIGH, WHOLE(n), 0, 0);
	if (ip)
		put_ip(NDA_DST, ip);
	one(what);
}

static void neighbours(int index)
{
	struct ndmsg n = { .ndm_family = AF_INET };

	neighbours_as("neighbours on a link", n, NDA_IFINDEX, index);
	neighbours_as("neighbours on another", n, NDA_IFINDEX, index + 1);
	neighbours_as("neighbours with an attribute", n, NDA_PROBES, 1);
	neighbours_as("neighbours with an index", (struct ndmsg){ .ndm_ifindex = index }, 0, 0);
	neighbours_as("neighbours in a state", (struct ndmsg){ .ndm_state = NUD_PERMANENT }, 0, 0);
	request(RTM_GETNEIGH, &n, 4, 0, 0);
	all("neighbours with a short header", 0);
	neighbour_as("one neighbour", index, "10.9.0.9");
	neighbour_as("no neighbour", index, "10.9.0.8");
	neighbour_as("neighbour without an address", index, NULL);
	neighbour_as("neighbour on no link", NOWHERE, "10.9.0.9");
	neighbour_as("neighbour without a link", 0, "10.9.0.9");
}

static void rules_as(const char *what, int family, int table, int attribute)
{
	struct fib_rule_hdr f = { .family = family, .table = table };

	request(RTM_GETRULE, WHOLE(f), attribute, 0);
	all(what, 0);
}

static void rules(void)
{
	rules_as("rules with a table", AF_INET, RT_TABLE_MAIN, 0);
	rules_as("rules with an attribute", AF_INET, 0, FRA_PRIORITY);
	request(RTM_GETRULE, &(struct fib_rule_hdr){ .family = AF_INET }, 4, 0, 0);
	all("rules with a short header", 0);
	rules_as("rules of an unknown family", 77, 0, 0);
}

/* Something of all that dumps show. */
static void populate(int index)
{
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
}

int main(void)
{
	int index;

	alone();
	index = device();
	populate(index);
	for (int on = 0; on < 2; on++) {
		mode = on ? "strict" : "lax";
		MUST(setsockopt(nl, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on));
		links(index);
		addresses(index);
		routes(index);
		neighbours(index);
		rules();
	}
	return 0;
}
