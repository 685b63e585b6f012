/*
 * rtnetlink(7): attributes that are shorter or longer than they are meant to be, labels that are too long, and the
 * indices that interfaces get.
 */
#include "rtnetlink.h"

#define LONGEST 20

static const char *const families[] = { "IPv4", "IPv6" };

/* The request with an attribute of each length. */
static void each_length(const char *what, void (*request)(int v6, int len), int v6)
{
	char name[128];

	for (int len = 0; len <= LONGEST; len++) {
		snprintf(name, sizeof name, "%s, %s, %d bytes", what, families[v6], len);
		request(v6, len);
		ask(name);
		/* The answer to who asks for something comes before it. */
		recv(nl, answer, sizeof answer, MSG_DONTWAIT);
	}
}

static void put_cut(int type, const char *ip, int len)
{
	char bytes[LONGEST] = "";

	inet_pton(family_of(ip), ip, bytes);
	nl_attr(&q, type, bytes, len);
}

static void by_gateway(int v6, int len)
{
	route_request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, v6 ? "fd30::" : "172.30.0.0", v6 ? 48 : 16, NULL, 0);
	((struct rtmsg *)NLMSG_DATA(&q.h))->rtm_scope = RT_SCOPE_UNIVERSE;
	put_cut(RTA_GATEWAY, v6 ? "fd09::9" : "10.9.0.9", len);
}

static void by_source(int v6, int len)
{
	route_request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, v6 ? "fd31::" : "172.31.0.0", v6 ? 48 : 16, NULL, if_nametoindex("one"));
	put_cut(RTA_PREFSRC, v6 ? "fd09::1" : "10.9.0.1", len);
}

static void by_destination(int v6, int len)
{
	struct rtmsg route = { .rtm_family = v6 ? AF_INET6 : AF_INET, .rtm_dst_len = v6 ? 48 : 24, .rtm_table = RT_TABLE_MAIN,
			       .rtm_protocol = RTPROT_BOOT, .rtm_type = RTN_UNICAST, .rtm_scope = v6 ? 0 : RT_SCOPE_LINK };

	nl_begin(&q, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &route, sizeof route);
	put_cut(RTA_DST, v6 ? "fd32::" : "172.32.0.0", len);
	put_u32(RTA_OIF, if_nametoindex("one"));
}

static void way(int v6, int len)
{
	struct rtmsg route = { .rtm_family = v6 ? AF_INET6 : AF_INET };

	nl_begin(&q, RTM_GETROUTE, 0, &route, sizeof route);
	put_cut(RTA_DST, v6 ? "fd09::9" : "10.9.0.9", len);
}

static void way_from(int v6, int len)
{
	struct rtmsg route = { .rtm_family = v6 ? AF_INET6 : AF_INET };

	nl_begin(&q, RTM_GETROUTE, 0, &route, sizeof route);
	put_ip(RTA_DST, v6 ? "fd09::9" : "10.9.0.9");
	put_cut(RTA_SRC, v6 ? "fd09::1" : "10.9.0.1", len);
}

static void way_from_others(int v6, int len)
{
	way_from(v6, 0);
	q.h.nlmsg_len -= RTA_SPACE(0);
	put_cut(RTA_SRC, v6 ? "fd09::8" : "10.9.0.8", len);
}

static void neighbour(int v6, int len)
{
	struct ndmsg n = { .ndm_family = v6 ? AF_INET6 : AF_INET, .ndm_ifindex = if_nametoindex("one"), .ndm_state = NUD_PERMANENT };

	nl_begin(&q, RTM_NEWNEIGH, NLM_F_CREATE, &n, sizeof n);
	put_cut(NDA_DST, v6 ? "fd09::7" : "10.9.0.7", len);
	nl_attr(&q, NDA_LLADDR, "\2\0\0\0\0\1", 6);
}

static void hardware(int v6, int len)
{
	char mac[LONGEST] = { 2, 0, 0, 0, 0, 1 };

	neighbour_request(RTM_NEWNEIGH, NLM_F_CREATE, if_nametoindex("one"), v6 ? "fd09::6" : "10.9.0.6", 0);
	nl_attr(&q, NDA_LLADDR, mac, len);
}

static void labelled(int v6, int len)
{
	char label[LONGEST + 1] = "one:fourteen letters";

	address_request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, if_nametoindex("one"), v6 ? "fd09::50" : "10.9.0.50", v6 ? 64 : 24);
	nl_attr(&q, IFA_LABEL, label, len);
}

static void pair(const char *name, const char *other)
{
	pair_request(MAKE, name, other);
	ask_in("pair", name);
	printf("indices %d %d\n", if_nametoindex(name), if_nametoindex(other));
}

static void removed(const char *name)
{
	link_request(RTM_DELLINK, 0, 0, name);
	ask_in("remove", name);
}

/* Indices are not given again, but those that are asked for are if nobody has them. */
static void indices(void)
{
	pair("three", "four");
	removed("three");
	pair("five", "six");
	removed("six");
	pair_request(MAKE, "seven", "eight");
	((struct ifinfomsg *)NLMSG_DATA(&q.h))->ifi_index = 77;
	ask("pair of which one has an index");
	printf("indices %d %d\n", if_nametoindex("seven"), if_nametoindex("eight"));
	pair("nine", "ten");
	pair_request(MAKE, "eleven", "twelve");
	((struct ifinfomsg *)NLMSG_DATA(&q.h))->ifi_index = 77;
	ask("with an index that another has");
}

int main(void)
{
	int index;

	alone();
	index = device();
	for (int v6 = 0; v6 < 2; v6++) {
		address_request(RTM_NEWADDR, MAKE, index, v6 ? "fd09::1" : "10.9.0.1", v6 ? 64 : 24);
		ask_in("address", families[v6]);
		each_length("route over a router", by_gateway, v6);
		each_length("route from an address", by_source, v6);
		each_length("route to a network", by_destination, v6);
		dump("main table", RTM_GETROUTE, v6 ? AF_INET6 : AF_INET, RT_TABLE_MAIN);
		each_length("the way", way, v6);
		each_length("the way from an own address", way_from, v6);
		each_length("the way from an address of another", way_from_others, v6);
		each_length("neighbour", neighbour, v6);
		each_length("hardware address", hardware, v6);
		each_length("label", labelled, v6);
		dump("addresses", RTM_GETADDR, v6 ? AF_INET6 : AF_INET, index);
	}
	indices();
	return 0;
}
