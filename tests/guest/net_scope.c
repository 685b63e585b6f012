/* ipv6(7): scopes of link-local addresses and groups: who must say which interface, and who is told. */
#include "veth.h"
#include <netinet/icmp6.h>
#include <netinet/ip6.h>
#include <poll.h>

static unsigned near_index, far_index;

static struct sockaddr_in6 at(const char *text, int port, unsigned scope)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_scope_id = scope };

	inet_pton(AF_INET6, text, &a.sin6_addr);
	return a;
}

static const char *index_name(unsigned index)
{
	return index == 0 ? "none" : index == 1 ? "lo" : index == near_index ? "near" : index == far_index ? "far" : "other";
}

static void show(const char *name, const struct sockaddr_in6 *a)
{
	char text[64];

	inet_ntop(AF_INET6, &a->sin6_addr, text, sizeof text);
	printf("%s: %s%%%s\n", name, text, index_name(a->sin6_scope_id));
	fflush(stdout);
}

static void names(int s)
{
	struct sockaddr_in6 a;
	socklen_t len = sizeof a;

	if (CHECK("getsockname", getsockname(s, (struct sockaddr *)&a, &len)) == 0)
		show("own", &a);
	len = sizeof a;
	if (CHECK("getpeername", getpeername(s, (struct sockaddr *)&a, &len)) == 0)
		show("peer", &a);
	char device[16] = "";
	len = sizeof device;
	SHOW(getsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, device, &len));
	printf("device '%s'\n", device);
}

static long try_bind(int s, struct sockaddr_in6 a)
{
	return bind(s, (struct sockaddr *)&a, sizeof a);
}

static long try_connect(int s, struct sockaddr_in6 a)
{
	return connect(s, (struct sockaddr *)&a, sizeof a);
}

static long try_send(int s, struct sockaddr_in6 a)
{
	return sendto(s, "x", 1, MSG_DONTWAIT, (struct sockaddr *)&a, sizeof a);
}

/* Where the next datagram came from, and over which interface. */
static void got(const char *name, int s)
{
	struct sockaddr_in6 from = { 0 };
	char data[64], control[256];
	struct iovec iov = { data, sizeof data };
	struct msghdr msg = {
		.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof control,
	};
	struct pollfd p = { s, POLLIN, 0 };

	poll(&p, 1, 300);
	if (CHECK(name, recvmsg(s, &msg, MSG_DONTWAIT)) < 0)
		return;
	show("from", &from);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof info);
			printf("over %s\n", index_name(info.ipi6_ifindex));
		}
}

static void binds(int type)
{
	int s = socket(AF_INET6, type, 0);

	CHECK("no scope", try_bind(s, at("fe80::1", 0, 0)));
	CHECK("no such scope", try_bind(s, at("fe80::1", 0, 9999)));
	CHECK("another's scope", try_bind(s, at("fe80::1", 0, 1)));
	CHECK("another's address", try_bind(s, at("fe80::2", 0, near_index)));
	CHECK("address with a scope", try_bind(s, at("fd09::1", 0, 9999)));
	names(s);
	close(s);
	s = socket(AF_INET6, type, 0);
	CHECK("scope", try_bind(s, at("fe80::1", 0, near_index)));
	names(s);
	close(s);
	s = socket(AF_INET6, type, 0);
	CHECK("group without", try_bind(s, at("ff02::5", 0, 0)));
	CHECK("group with", try_bind(s, at("ff02::5", 0, near_index)));
	close(s);
	s = socket(AF_INET6, type, 0);
	SHOW(setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "near", 4));
	CHECK("scope of the device", try_bind(s, at("fe80::1", 0, 0)));
	names(s);
	close(s);
}

static void streams(void)
{
	int l = far_socket(AF_INET6, SOCK_STREAM, 0), s = socket(AF_INET6, SOCK_STREAM, 0), b;
	struct sockaddr_in6 a;
	socklen_t len = sizeof a;
	char text[8] = "";

	CHECK("bind", try_bind(l, at("fe80::2", 7001, far_index)));
	MUST(listen(l, 5));
	CHECK("connect without", try_connect(s, at("fe80::2", 7001, 0)));
	CHECK("connect with", try_connect(s, at("fe80::2", 7001, near_index)));
	names(s);
	MUST(b = accept(l, (struct sockaddr *)&a, &len));
	show("accepted", &a);
	names(b);
	SHOW(send(s, "hello", 5, 0));
	SHOW(recv(b, text, sizeof text, 0));
	SHOW(send(b, "world", 5, 0));
	SHOW(recv(s, text, sizeof text, 0));
	close(s);
	close(b);
	s = socket(AF_INET6, SOCK_STREAM, 0);
	CHECK("refused", try_connect(s, at("fe80::2", 7009, near_index)));
	CHECK("from another interface", (setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2),
					 try_connect(s, at("fe80::2", 7001, near_index))));
	close(s);
	close(l);
	/* To oneself. */
	l = socket(AF_INET6, SOCK_STREAM, 0);
	s = socket(AF_INET6, SOCK_STREAM, 0);
	MUST(try_bind(l, at("::", 7002, 0)));
	MUST(listen(l, 5));
	CHECK("own without", try_connect(s, at("fe80::1", 7002, 0)));
	CHECK("own", try_connect(s, at("fe80::1", 7002, near_index)));
	names(s);
	len = sizeof a;
	MUST(b = accept(l, (struct sockaddr *)&a, &len));
	show("accepted", &a);
	names(b);
	close(s);
	close(b);
	close(l);
}

static void datagrams(void)
{
	int far = far_socket(AF_INET6, SOCK_DGRAM, 0), s = socket(AF_INET6, SOCK_DGRAM, 0), on = 1;
	struct ipv6_mreq group = { .ipv6mr_interface = far_index };
	struct sockaddr_in6 a;
	socklen_t len = sizeof a;

	MUST(setsockopt(far, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on));
	MUST(setsockopt(s, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on));
	MUST(try_bind(far, at("::", 7003, 0)));
	CHECK("send with", try_send(s, at("fe80::2", 7003, near_index)));
	got("it came", far);
	CHECK("send to a global one", try_send(s, at("fd09::2", 7003, 77)));
	got("it came", far);
	CHECK("connect without", try_connect(s, at("fe80::2", 7003, 0)));
	CHECK("connect with", try_connect(s, at("fe80::2", 7003, near_index)));
	names(s);
	SHOW(send(s, "y", 1, 0));
	len = sizeof a;
	MUST(recvfrom(far, &on, 1, 0, (struct sockaddr *)&a, &len));
	show("from", &a);
	CHECK("answer", sendto(far, "z", 1, 0, (struct sockaddr *)&a, len));
	got("the answer", s);
	a = (struct sockaddr_in6){ .sin6_family = AF_UNSPEC };
	SHOW(connect(s, (struct sockaddr *)&a, sizeof a));
	names(s);
	inet_pton(AF_INET6, "ff02::99", &group.ipv6mr_multiaddr);
	SHOW(setsockopt(far, IPPROTO_IPV6, IPV6_JOIN_GROUP, &group, sizeof group));
	CHECK("to the group", try_send(s, at("ff02::99", 7003, near_index)));
	got("it came", far);
	CHECK("to no such interface", try_send(s, at("ff02::99", 7003, 9999)));
	CHECK("connect to the group without", try_connect(s, at("ff02::99", 7003, 0)));
	CHECK("connect to the group", try_connect(s, at("ff02::99", 7003, near_index)));
	names(s);
	SHOW(send(s, "w", 1, 0));
	got("it came", far);
	close(s);
	/* Interfaces that contradict each other. */
	s = socket(AF_INET6, SOCK_DGRAM, 0);
	struct sockaddr_in6 to = at("fe80::2", 7003, near_index);
	char control[CMSG_SPACE(sizeof(struct in6_pktinfo))] = { 0 };
	struct iovec iov = { "v", 1 };
	struct msghdr msg = {
		.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof control,
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	struct in6_pktinfo info = { .ipi6_ifindex = 1 };

	c->cmsg_level = IPPROTO_IPV6;
	c->cmsg_type = IPV6_PKTINFO;
	c->cmsg_len = CMSG_LEN(sizeof info);
	memcpy(CMSG_DATA(c), &info, sizeof info);
	CHECK("two interfaces", sendmsg(s, &msg, 0));
	info.ipi6_ifindex = near_index;
	memcpy(CMSG_DATA(c), &info, sizeof info);
	CHECK("the same twice", sendmsg(s, &msg, 0));
	got("it came", far);
	to.sin6_scope_id = 0;
	CHECK("by ancillary data", sendmsg(s, &msg, 0));
	got("it came", far);
	/* To oneself. */
	close(far);
	far = socket(AF_INET6, SOCK_DGRAM, 0);
	on = 1;
	MUST(setsockopt(far, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on));
	MUST(try_bind(far, at("::", 7004, 0)));
	CHECK("own", try_send(s, at("fe80::1", 7004, near_index)));
	got("it came", far);
	close(s);
	close(far);
}

static void echoes(void)
{
	int s = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6), on = 1;
	struct icmp6_hdr echo = { .icmp6_type = ICMP6_ECHO_REQUEST, .icmp6_id = 7, .icmp6_seq = 1 };
	struct icmp6_filter only;
	struct sockaddr_in6 to = at("fe80::2", 0, near_index);

	ICMP6_FILTER_SETBLOCKALL(&only);
	ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &only);
	MUST(setsockopt(s, IPPROTO_ICMPV6, ICMP6_FILTER, &only, sizeof only));
	MUST(setsockopt(s, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on));
	CHECK("echo", sendto(s, &echo, sizeof echo, 0, (struct sockaddr *)&to, sizeof to));
	got("answer", s);
	CHECK("connect without", try_connect(s, at("fe80::2", 0, 0)));
	CHECK("bind without", try_bind(s, at("fe80::1", 0, 0)));
	CHECK("bind with", try_bind(s, at("fe80::1", 0, near_index)));
	to.sin6_scope_id = 0;
	CHECK("echo over the own interface", sendto(s, &echo, sizeof echo, 0, (struct sockaddr *)&to, sizeof to));
	got("answer", s);
	names(s);
	close(s);
}

int main(void)
{
	veth_setup();
	near_index = if_nametoindex("near");
	MUST(setns(veth_far, CLONE_NEWNET));
	far_index = if_nametoindex("far");
	MUST(setns(veth_near, CLONE_NEWNET));
	binds(SOCK_STREAM);
	binds(SOCK_DGRAM);
	streams();
	datagrams();
	echoes();
	return 0;
}
