/* Requests to rtnetlink(7) by name, and their answers in words. */
#ifndef RTNETLINK_H
#define RTNETLINK_H

#include "common.h"
#include "netlink.h"
#include <arpa/inet.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
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

static inline void put_u32(int type, uint32_t value)
{
	nl_attr(&q, type, &value, sizeof value);
}

static inline void put_name(int type, const char *name)
{
	nl_attr(&q, type, name, strlen(name) + 1);
}

static inline void put_ip(int type, const char *text)
{
	char ip[16];
	int v6 = strchr(text, ':') != NULL;

	inet_pton(v6 ? AF_INET6 : AF_INET, text, ip);
	nl_attr(&q, type, ip, v6 ? 16 : 4);
}

static inline int family_of(const char *text)
{
	return strchr(text, ':') ? AF_INET6 : AF_INET;
}

/* Sends the request for an acknowledgement and says what that holds. */
static inline int ask(const char *name)
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

/* The same without a word if all is well. */
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

static inline int ask_in(const char *what, const char *which)
{
	char name[128];

	snprintf(name, sizeof name, "%s, %s", what, which);
	return ask(name);
}

/* Requests. */

static inline void link_request(int type, int flags, int index, const char *name)
{
	struct ifinfomsg link = { .ifi_family = AF_UNSPEC, .ifi_index = index };

	nl_begin(&q, type, flags, &link, sizeof link);
	if (name)
		put_name(IFLA_IFNAME, name);
}

static inline void up_request(const char *name, int up)
{
	struct ifinfomsg *link;

	link_request(RTM_NEWLINK, 0, 0, name);
	link = NLMSG_DATA(&q.h);
	link->ifi_flags = up ? IFF_UP : 0;
	link->ifi_change = IFF_UP;
}

/* A pair of which the other end is in another namespace, if that is not 0. */
static inline void pair_request_into(int namespace, int flags, const char *name, const char *other)
{
	struct ifinfomsg none = { .ifi_family = AF_UNSPEC };
	struct rtattr *info, *data, *peer;

	link_request(RTM_NEWLINK, flags, 0, name);
	info = nl_attr(&q, IFLA_LINKINFO, NULL, 0);
	nl_attr(&q, IFLA_INFO_KIND, "veth", 5);
	data = nl_attr(&q, IFLA_INFO_DATA, NULL, 0);
	peer = nl_attr(&q, VETH_INFO_PEER, &none, sizeof none);
	put_name(IFLA_IFNAME, other);
	if (namespace)
		put_u32(IFLA_NET_NS_FD, namespace);
	nl_end(&q, peer);
	nl_end(&q, data);
	nl_end(&q, info);
}

static inline void pair_request(int flags, const char *name, const char *other)
{
	pair_request_into(0, flags, name, other);
}

static inline void address_request(int type, int flags, int index, const char *ip, int prefix)
{
	struct ifaddrmsg address = { .ifa_family = family_of(ip), .ifa_prefixlen = prefix, .ifa_index = index };

	nl_begin(&q, type, flags, &address, sizeof address);
	put_ip(IFA_LOCAL, ip);
	put_ip(IFA_ADDRESS, ip);
	if (type == RTM_NEWADDR && address.ifa_family == AF_INET6)
		put_u32(IFA_FLAGS, IFA_F_NODAD);
}

static inline void route_request(int type, int flags, const char *to, int prefix, const char *by, int index)
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

static inline void rule_request(int type, int flags, int family, int priority, const char *from, int prefix)
{
	struct fib_rule_hdr rule = { .family = family, .src_len = prefix, .table = RT_TABLE_MAIN, .action = FR_ACT_TO_TBL };

	nl_begin(&q, type, flags, &rule, sizeof rule);
	if (priority)
		put_u32(FRA_PRIORITY, priority);
	if (from)
		put_ip(FRA_SRC, from);
}

static inline void neighbour_request(int type, int flags, int index, const char *ip, int last)
{
	struct ndmsg n = { .ndm_family = family_of(ip), .ndm_ifindex = index, .ndm_state = NUD_PERMANENT };
	unsigned char mac[6] = { 2, 0, 0, 0, 0, last };

	nl_begin(&q, type, flags, &n, sizeof n);
	put_ip(NDA_DST, ip);
	if (last)
		nl_attr(&q, NDA_LLADDR, mac, sizeof mac);
}

/* What messages say. */

static inline const struct rtattr *find(const struct nlmsghdr *h, size_t fixed, int type)
{
	struct rtattr *a = (void *)((char *)NLMSG_DATA(h) + NLMSG_ALIGN(fixed));
	int left = h->nlmsg_len - NLMSG_SPACE(fixed);

	for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == type)
			return a;
	return NULL;
}

static inline const char *ip_of(int family, const struct rtattr *a)
{
	static char text[2][INET6_ADDRSTRLEN];
	static int turn;

	if (!a)
		return "-";
	turn = !turn;
	return inet_ntop(family, RTA_DATA(a), text[turn], sizeof text[0]);
}

static inline uint32_t u32_of(const struct rtattr *a)
{
	return a ? *(uint32_t *)RTA_DATA(a) : 0;
}

static inline void say(const struct nlmsghdr *h)
{
	const char *change = h->nlmsg_type % 4 ? h->nlmsg_type % 4 == 1 ? "gone" : "?" : "new";
	void *d = NLMSG_DATA(h);
	int flags = h->nlmsg_flags & ~NLM_F_MULTI;

	if (h->nlmsg_type <= RTM_DELLINK) {
		struct ifinfomsg *l = d;
		const struct rtattr *name = find(h, sizeof *l, IFLA_IFNAME);

		printf("  %#x %s link %s mtu %u\n", flags, change, name ? (char *)RTA_DATA(name) : "-", u32_of(find(h, sizeof *l, IFLA_MTU)));
	} else if (h->nlmsg_type <= RTM_DELADDR) {
		struct ifaddrmsg *a = d;
		const struct rtattr *label = find(h, sizeof *a, IFA_LABEL);

		printf("  %#x %s address %s local %s /%d scope %d flags %#x label %s\n", flags, change,
		       ip_of(a->ifa_family, find(h, sizeof *a, IFA_ADDRESS)), ip_of(a->ifa_family, find(h, sizeof *a, IFA_LOCAL)),
		       a->ifa_prefixlen, a->ifa_scope, u32_of(find(h, sizeof *a, IFA_FLAGS)), label ? (char *)RTA_DATA(label) : "-");
	} else if (h->nlmsg_type <= RTM_DELROUTE) {
		struct rtmsg *r = d;

		printf("  %#x %s route %s/%d by %s table %u type %d scope %d protocol %d metric %u\n", flags, change,
		       ip_of(r->rtm_family, find(h, sizeof *r, RTA_DST)), r->rtm_dst_len,
		       ip_of(r->rtm_family, find(h, sizeof *r, RTA_GATEWAY)), u32_of(find(h, sizeof *r, RTA_TABLE)), r->rtm_type,
		       r->rtm_scope, r->rtm_protocol, u32_of(find(h, sizeof *r, RTA_PRIORITY)));
	} else if (h->nlmsg_type <= RTM_DELNEIGH) {
		struct ndmsg *n = d;
		const struct rtattr *mac = find(h, sizeof *n, NDA_LLADDR);

		printf("  %#x %s neighbour %s state %#x mac %d\n", flags, change, ip_of(n->ndm_family, find(h, sizeof *n, NDA_DST)), n->ndm_state,
		       mac ? ((unsigned char *)RTA_DATA(mac))[5] : -1);
	} else {
		struct fib_rule_hdr *r = d;

		printf("  %#x %s rule %u from %s/%d table %d action %d\n", flags, change, u32_of(find(h, sizeof *r, FRA_PRIORITY)),
		       ip_of(r->family, find(h, sizeof *r, FRA_SRC)), r->src_len, r->table, r->action);
	}
}

/* A socket that hears of a group: only those with an address do. */
static inline int member(int group)
{
	struct sockaddr_nl any = { .nl_family = AF_NETLINK };
	int s = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_ROUTE);

	MUST(bind(s, (struct sockaddr *)&any, sizeof any));
	MUST(setsockopt(s, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group));
	return s;
}

/* Forgets what was heard. */
static inline void forget(int s)
{
	while (recv(s, answer, sizeof answer, 0) > 0)
		;
}

static inline void heard(const char *name, int s)
{
	ssize_t n;

	printf("%s hear:\n", name);
	while ((n = recv(s, answer, sizeof answer, 0)) > 0)
		for (struct nlmsghdr *h = (void *)answer; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n))
			say(h);
	fflush(stdout);
}

/* Whether a member hears that a link changed: how often is the kernel's affair. */
static inline void heard_link(const char *what, int s, int type, const char *name)
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

/* Asks for a dump as it stands in the request; of routes and addresses those alone that stand in `table` or on
 * `index`, or all. */
static inline void dumped(const char *name, int only)
{
	int done = 0, type = q.h.nlmsg_type;

	q.h.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	MUST(send(nl, &q, q.h.nlmsg_len, 0));
	printf("%s:\n", name);
	while (!done) {
		ssize_t n = recv(nl, answer, sizeof answer, 0);

		MUST(n);
		for (struct nlmsghdr *h = (void *)answer; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
			struct rtmsg *r = NLMSG_DATA(h);

			if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR) {
				int error = *(int *)NLMSG_DATA(h);

				done = 1;
				if (error)
					printf("  %s: %s\n", h->nlmsg_type == NLMSG_DONE ? "done" : "error", strerrorname_np(-error));
			} else if (only && type == RTM_GETROUTE && (int)u32_of(find(h, sizeof *r, RTA_TABLE)) != only)
				continue;
			else if (only && type == RTM_GETADDR && (int)((struct ifaddrmsg *)r)->ifa_index != only)
				continue;
			else
				say(h);
		}
	}
	fflush(stdout);
}

static inline void dump(const char *name, int type, int family, int only)
{
	union {
		struct ifinfomsg link;
		struct ifaddrmsg address;
		struct rtmsg route;
		struct ndmsg neighbour;
		struct fib_rule_hdr rule;
	} f = { .link.ifi_family = family };
	size_t len = type == RTM_GETADDR ? sizeof f.address : type == RTM_GETLINK ? sizeof f.link : sizeof f.route;

	nl_begin(&q, type, 0, &f, len);
	dumped(name, only);
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

/* No addresses of IPv6 but those that the test gives. */
static inline void quiet(void)
{
	write_to("/proc/sys/net/ipv6/conf/default/addr_gen_mode", "1");
}

/* To a network namespace of the test's own. */
static inline void alone(void)
{
	MUST(unshare(CLONE_NEWNET));
	quiet();
	MUST(nl = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
}

/* A pair, "one" and "two", which is up as lo is; the index of the first. */
static inline int device(void)
{
	pair_request(MAKE, "one", "two");
	ask("pair");
	for (int i = 0; i < 3; i++) {
		const char *name = (const char *[]){ "lo", "one", "two" }[i];

		up_request(name, 1);
		ask_in("up", name);
	}
	return if_nametoindex("one");
}

#endif
