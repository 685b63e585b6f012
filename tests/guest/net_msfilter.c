/* ip(7), RFC 3678: whole filters of sources of groups, set, read and obeyed; groups of one interface and not of another. */
#include "veth.h"
#include <poll.h>
#include <stddef.h>

static unsigned near_index;

static void show_short(int s, const char *interface, unsigned room)
{
	unsigned char value[256] = { 0 };
	struct ip_msfilter *f = (struct ip_msfilter *)value;
	socklen_t len = IP_MSFILTER_SIZE(room);

	f->imsf_multiaddr.s_addr = inet_addr("239.1.2.3");
	f->imsf_interface.s_addr = inet_addr(interface);
	f->imsf_numsrc = room;
	if (CHECK("get", getsockopt(s, IPPROTO_IP, IP_MSFILTER, f, &len)) < 0)
		return;
	printf("length %d mode %u sources %u:", len, f->imsf_fmode, f->imsf_numsrc);
	for (unsigned n = 0; n < f->imsf_numsrc && n < room; n++)
		printf(" %s", inet_ntoa(f->imsf_slist[n]));
	puts("");
}

static long set_short(int s, const char *group, const char *interface, unsigned mode, unsigned count, int cut)
{
	unsigned char value[256] = { 0 };
	struct ip_msfilter *f = (struct ip_msfilter *)value;

	f->imsf_multiaddr.s_addr = inet_addr(group);
	f->imsf_interface.s_addr = inet_addr(interface);
	f->imsf_fmode = mode;
	f->imsf_numsrc = count;
	for (unsigned n = 0; n < count; n++)
		f->imsf_slist[n].s_addr = htonl(0x0a090001 + n);
	return setsockopt(s, IPPROTO_IP, IP_MSFILTER, f, IP_MSFILTER_SIZE(count) - cut);
}

static void fill(struct sockaddr_storage *to, int family, const char *text)
{
	memset(to, 0, sizeof *to);
	to->ss_family = family;
	inet_pton(family, text,
		  family == AF_INET ? (void *)&((struct sockaddr_in *)to)->sin_addr : (void *)&((struct sockaddr_in6 *)to)->sin6_addr);
}

static long set_long(int s, int family, unsigned index, unsigned mode, unsigned count, int cut)
{
	static unsigned char value[144 + 70 * 128];
	struct group_filter *f = (struct group_filter *)value;
	char text[32];

	f->gf_interface = index;
	f->gf_fmode = mode;
	f->gf_numsrc = count;
	fill(&f->gf_group, family, family == AF_INET ? "239.1.2.3" : "ff15::99");
	for (unsigned n = 0; n < count; n++) {
		sprintf(text, family == AF_INET ? "10.9.0.%x" : "fd09::%x", n + 1);
		if (family == AF_INET)
			sprintf(text, "10.9.0.%d", n + 1);
		fill(&f->gf_slist[n], family, text);
	}
	return setsockopt(s, family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6, MCAST_MSFILTER, f, GROUP_FILTER_SIZE(count) - cut);
}

static void show_long(int s, int family, unsigned index, unsigned room, int cut)
{
	static unsigned char value[144 + 70 * 128];
	struct group_filter *f = (struct group_filter *)value;
	socklen_t len = GROUP_FILTER_SIZE(room) - cut;

	memset(value, 0, sizeof value);
	f->gf_interface = index;
	f->gf_numsrc = room;
	fill(&f->gf_group, family, family == AF_INET ? "239.1.2.3" : "ff15::99");
	if (CHECK("get", getsockopt(s, family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6, MCAST_MSFILTER, f, &len)) < 0)
		return;
	printf("length %d mode %u sources %u:", len, f->gf_fmode, f->gf_numsrc);
	for (unsigned n = 0; n < f->gf_numsrc && n < room; n++) {
		char text[64];
		void *at = family == AF_INET ? (void *)&((struct sockaddr_in *)&f->gf_slist[n])->sin_addr
					     : (void *)&((struct sockaddr_in6 *)&f->gf_slist[n])->sin6_addr;

		printf(" %d %s", f->gf_slist[n].ss_family, inet_ntop(family, at, text, sizeof text));
	}
	puts("");
}

static void came(const char *name, int s)
{
	struct pollfd p = { s, POLLIN, 0 };
	char c;

	poll(&p, 1, 60);
	CHECK(name, recv(s, &c, 1, MSG_DONTWAIT));
}

static void v4(void)
{
	int s = socket(AF_INET, SOCK_DGRAM, 0), far = far_socket(AF_INET, SOCK_DGRAM, 0), tcp = socket(AF_INET, SOCK_STREAM, 0);
	struct ip_mreqn group = { { inet_addr("239.1.2.3") }, { 0 }, near_index };
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(7005) };
	struct in_addr out = { inet_addr("10.9.0.2") };
	struct ip_mreq_source one = { { inet_addr("239.1.2.3") }, { inet_addr("10.9.0.1") }, { inet_addr("10.9.0.9") } };

	MUST(bind(s, (struct sockaddr *)&to, sizeof to));
	CHECK("not joined", set_short(s, "239.1.2.3", "10.9.0.1", MCAST_EXCLUDE, 0, 0));
	CHECK("not joined, leave", set_short(s, "239.1.2.3", "10.9.0.1", MCAST_INCLUDE, 0, 0));
	show_short(s, "10.9.0.1", 4);
	SHOW(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
	show_short(s, "10.9.0.1", 4);
	show_short(s, "10.9.0.77", 4);
	CHECK("set", set_short(s, "239.1.2.3", "10.9.0.1", MCAST_INCLUDE, 2, 0));
	show_short(s, "10.9.0.1", 4);
	show_short(s, "10.9.0.1", 1);
	show_short(s, "10.9.0.1", 0);
	show_long(s, AF_INET, near_index, 3, 0);
	show_long(s, AF_INET, near_index, 1, 0);
	show_long(s, AF_INET, 0, 1, 0);
	show_long(s, AF_INET, near_index, 0, 1);
	CHECK("too many", set_short(s, "239.1.2.3", "10.9.0.1", MCAST_INCLUDE, 11, 0));
	CHECK("ten", set_short(s, "239.1.2.3", "10.9.0.1", MCAST_INCLUDE, 10, 0));
	CHECK("short", set_short(s, "239.1.2.3", "10.9.0.1", MCAST_INCLUDE, 2, 1));
	CHECK("shorter", set_short(s, "239.1.2.3", "10.9.0.1", MCAST_INCLUDE, 0, 1));
	CHECK("mode", set_short(s, "239.1.2.3", "10.9.0.1", 7, 0, 0));
	CHECK("no group", set_short(s, "10.1.2.3", "10.9.0.1", 0, 0, 0));
	CHECK("no interface", set_short(s, "239.1.2.3", "10.9.0.77", 0, 0, 0));
	CHECK("another interface", set_short(s, "239.1.2.3", "127.0.0.1", 0, 0, 0));
	CHECK("long", set_long(s, AF_INET, near_index, MCAST_EXCLUDE, 3, 0));
	show_short(s, "10.9.0.1", 4);
	CHECK("long, too many", set_long(s, AF_INET, near_index, MCAST_EXCLUDE, 11, 0));
	CHECK("long, short", set_long(s, AF_INET, near_index, MCAST_EXCLUDE, 3, 1));
	CHECK("long, no interface", set_long(s, AF_INET, 9999, MCAST_EXCLUDE, 3, 0));
	CHECK("long, another family", set_long(s, AF_INET6, near_index, MCAST_EXCLUDE, 3, 0));
	SHOW(setsockopt(s, IPPROTO_IP, IP_UNBLOCK_SOURCE, &one, sizeof one));
	SHOW(setsockopt(s, IPPROTO_IP, IP_BLOCK_SOURCE, &one, sizeof one));
	SHOW(setsockopt(s, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &one, sizeof one));
	show_short(s, "10.9.0.1", 4);
	CHECK("tcp", set_short(tcp, "239.1.2.3", "10.9.0.1", MCAST_EXCLUDE, 0, 0));
	CHECK("tcp, long", set_long(tcp, AF_INET, near_index, MCAST_EXCLUDE, 0, 0));
	/* 10.9.0.1 to 10.9.0.3 are left out. */
	to.sin_addr.s_addr = inet_addr("239.1.2.3");
	MUST(setsockopt(far, IPPROTO_IP, IP_MULTICAST_IF, &out, sizeof out));
	SHOW(sendto(far, "a", 1, 0, (struct sockaddr *)&to, sizeof to));
	came("left out", s);
	CHECK("set", set_short(s, "239.1.2.3", "10.9.0.1", MCAST_INCLUDE, 2, 0));
	SHOW(sendto(far, "b", 1, 0, (struct sockaddr *)&to, sizeof to));
	came("wanted", s);
	CHECK("set", set_short(s, "239.1.2.3", "10.9.0.1", MCAST_INCLUDE, 1, 0));
	SHOW(sendto(far, "c", 1, 0, (struct sockaddr *)&to, sizeof to));
	came("not wanted", s);
	CHECK("leave", set_short(s, "239.1.2.3", "10.9.0.1", MCAST_INCLUDE, 0, 0));
	SHOW(sendto(far, "d", 1, 0, (struct sockaddr *)&to, sizeof to));
	came("left", s);
	SHOW(setsockopt(s, IPPROTO_IP, IP_DROP_MEMBERSHIP, &group, sizeof group));
	/* Joined on another interface. */
	group.imr_ifindex = 1;
	SHOW(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
	SHOW(sendto(far, "e", 1, 0, (struct sockaddr *)&to, sizeof to));
	came("over another interface", s);
	close(s);
	close(far);
	close(tcp);
}

static void v6(void)
{
	int s = socket(AF_INET6, SOCK_DGRAM, 0), far = far_socket(AF_INET6, SOCK_DGRAM, 0), tcp = socket(AF_INET6, SOCK_STREAM, 0);
	struct ipv6_mreq group = { .ipv6mr_interface = near_index };
	struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_port = htons(7006) };
	int out;

	MUST(bind(s, (struct sockaddr *)&to, sizeof to));
	inet_pton(AF_INET6, "ff15::99", &group.ipv6mr_multiaddr);
	to.sin6_addr = group.ipv6mr_multiaddr;
	CHECK("not joined", set_long(s, AF_INET6, near_index, MCAST_EXCLUDE, 0, 0));
	show_long(s, AF_INET6, near_index, 3, 0);
	SHOW(setsockopt(s, IPPROTO_IPV6, IPV6_JOIN_GROUP, &group, sizeof group));
	show_long(s, AF_INET6, near_index, 3, 0);
	CHECK("set", set_long(s, AF_INET6, near_index, MCAST_INCLUDE, 2, 0));
	show_long(s, AF_INET6, near_index, 3, 0);
	show_long(s, AF_INET6, near_index, 1, 0);
	show_long(s, AF_INET6, 0, 1, 0);
	show_long(s, AF_INET6, near_index, 0, 1);
	CHECK("many", set_long(s, AF_INET6, near_index, MCAST_EXCLUDE, 64, 0));
	CHECK("too many", set_long(s, AF_INET6, near_index, MCAST_EXCLUDE, 65, 0));
	CHECK("short", set_long(s, AF_INET6, near_index, MCAST_EXCLUDE, 3, 1));
	CHECK("mode", set_long(s, AF_INET6, near_index, 7, 0, 0));
	CHECK("no interface", set_long(s, AF_INET6, 9999, MCAST_EXCLUDE, 0, 0));
	CHECK("tcp", set_long(tcp, AF_INET6, near_index, MCAST_EXCLUDE, 0, 0));
	MUST(setns(veth_far, CLONE_NEWNET));
	out = if_nametoindex("far");
	MUST(setns(veth_near, CLONE_NEWNET));
	MUST(setsockopt(far, IPPROTO_IPV6, IPV6_MULTICAST_IF, &out, sizeof out));
	SHOW(sendto(far, "a", 1, 0, (struct sockaddr *)&to, sizeof to));
	came("left out", s);
	CHECK("set", set_long(s, AF_INET6, near_index, MCAST_INCLUDE, 2, 0));
	SHOW(sendto(far, "b", 1, 0, (struct sockaddr *)&to, sizeof to));
	came("wanted", s);
	CHECK("leave", set_long(s, AF_INET6, near_index, MCAST_INCLUDE, 0, 0));
	SHOW(sendto(far, "c", 1, 0, (struct sockaddr *)&to, sizeof to));
	came("left", s);
	close(s);
	close(far);
	close(tcp);
}

int main(void)
{
	veth_setup();
	near_index = if_nametoindex("near");
	v4();
	v6();
	return 0;
}
