/*
 * Two network namespaces of the test's own with a pair of interfaces between them. The process is in the first, at
 * 10.9.0.1, fd09::1 and fe80::1, all over "near"; the other end is 10.9.0.2, fd09::2 and fe80::2, over "far".
 */
#ifndef VETH_H
#define VETH_H

#include "common.h"
#include "netlink.h"
#include <arpa/inet.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/veth.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static int veth_near, veth_far;

static inline void veth_ask(struct nl_request *r, int type, int flags)
{
	int s = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	struct { struct nlmsghdr head; struct nlmsgerr error; char rest[1024]; } answer;

	r->h.nlmsg_type = type;
	r->h.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	MUST(send(s, r, r->h.nlmsg_len, 0));
	MUST(recv(s, &answer, sizeof answer, 0));
	if (answer.error.error) {
		printf("request %d: %s\n", type, strerror(-answer.error.error));
		exit(1);
	}
	close(s);
}

static inline void veth_pair(void)
{
	struct nl_request r = { .h.nlmsg_len = NLMSG_HDRLEN };
	struct ifinfomsg none = { .ifi_family = AF_UNSPEC };
	struct rtattr *info, *data, *peer;

	nl_put(&r, &none, sizeof none);
	nl_attr(&r, IFLA_IFNAME, "near", 5);
	info = nl_attr(&r, IFLA_LINKINFO, NULL, 0);
	nl_attr(&r, IFLA_INFO_KIND, "veth", 5);
	data = nl_attr(&r, IFLA_INFO_DATA, NULL, 0);
	peer = nl_attr(&r, VETH_INFO_PEER, NULL, 0);
	nl_put(&r, &none, sizeof none);
	nl_attr(&r, IFLA_IFNAME, "far", 4);
	nl_attr(&r, IFLA_NET_NS_FD, &veth_far, sizeof veth_far);
	nl_end(&r, peer);
	nl_end(&r, data);
	nl_end(&r, info);
	veth_ask(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
}

static inline void veth_up(const char *name)
{
	struct ifreq r = { 0 };
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	strcpy(r.ifr_name, name);
	MUST(ioctl(s, SIOCGIFFLAGS, &r));
	r.ifr_flags |= IFF_UP;
	MUST(ioctl(s, SIOCSIFFLAGS, &r));
	close(s);
}

static inline void veth_address(const char *name, const char *text)
{
	int v6 = strchr(text, ':') != NULL;
	char ip[16];
	size_t len = v6 ? 16 : 4;
	uint32_t flags = v6 ? IFA_F_NODAD : 0;
	struct ifaddrmsg own = { v6 ? AF_INET6 : AF_INET, v6 ? 64 : 24, 0, 0, if_nametoindex(name) };
	struct nl_request r = { .h.nlmsg_len = NLMSG_HDRLEN };

	inet_pton(own.ifa_family, text, ip);
	nl_put(&r, &own, sizeof own);
	nl_attr(&r, IFA_LOCAL, ip, len);
	nl_attr(&r, IFA_ADDRESS, ip, len);
	nl_attr(&r, IFA_FLAGS, &flags, sizeof flags);
	veth_ask(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
}

/* A route of the namespace that the process is in. */
static inline void veth_route(const char *network, int prefix, const char *gateway)
{
	int v6 = strchr(network, ':') != NULL;
	char ip[16];
	size_t len = v6 ? 16 : 4;
	struct rtmsg route = { .rtm_family = v6 ? AF_INET6 : AF_INET, .rtm_dst_len = prefix, .rtm_table = RT_TABLE_MAIN,
			       .rtm_protocol = RTPROT_BOOT, .rtm_scope = RT_SCOPE_UNIVERSE, .rtm_type = RTN_UNICAST };
	struct nl_request r = { .h.nlmsg_len = NLMSG_HDRLEN };

	nl_put(&r, &route, sizeof route);
	inet_pton(route.rtm_family, network, ip);
	nl_attr(&r, RTA_DST, ip, len);
	inet_pton(route.rtm_family, gateway, ip);
	nl_attr(&r, RTA_GATEWAY, ip, len);
	veth_ask(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
}

/* No addresses but those that the test gives. */
static inline void veth_quiet(void)
{
	int fd = open("/proc/sys/net/ipv6/conf/default/addr_gen_mode", O_WRONLY);

	if (fd >= 0 && write(fd, "1", 1) != 1)
		perror("addr_gen_mode");
	close(fd);
}

static inline void veth_setup(void)
{
	MUST(unshare(CLONE_NEWNET));
	MUST(veth_far = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
	veth_quiet();
	veth_up("lo");
	MUST(unshare(CLONE_NEWNET));
	MUST(veth_near = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
	veth_quiet();
	veth_up("lo");
	veth_pair();
	veth_up("near");
	veth_address("near", "10.9.0.1");
	veth_address("near", "fd09::1");
	veth_address("near", "fe80::1");
	MUST(setns(veth_far, CLONE_NEWNET));
	veth_up("far");
	veth_address("far", "10.9.0.2");
	veth_address("far", "fd09::2");
	veth_address("far", "fe80::2");
	MUST(setns(veth_near, CLONE_NEWNET));
}

/* A socket at the other end. */
static inline int far_socket(int family, int type, int protocol)
{
	int s;

	MUST(setns(veth_far, CLONE_NEWNET));
	s = socket(family, type, protocol);
	MUST(setns(veth_near, CLONE_NEWNET));
	MUST(s);
	return s;
}

/* A connection to a listener at an address that is not bound yet: a its client, b its server. */
static inline void stream_pair(int l, const char *ip, int *a, int *b)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = inet_addr(ip) };
	socklen_t len = sizeof at;

	MUST(bind(l, (struct sockaddr *)&at, sizeof at));
	MUST(listen(l, 1));
	MUST(getsockname(l, (struct sockaddr *)&at, &len));
	MUST(*a = socket(AF_INET, SOCK_STREAM, 0));
	MUST(connect(*a, (struct sockaddr *)&at, sizeof at));
	MUST(*b = accept(l, NULL, NULL));
	close(l);
}

/* Between both ends: a near, b far. */
static inline void veth_connect(int *a, int *b)
{
	stream_pair(far_socket(AF_INET, SOCK_STREAM, 0), "10.9.0.2", a, b);
}

/* The same over lo. */
static inline void lo_connect(int *a, int *b)
{
	stream_pair(socket(AF_INET, SOCK_STREAM, 0), "127.0.0.1", a, b);
}

#endif
