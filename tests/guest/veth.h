/*
 * Two network namespaces of the test's own with a pair of interfaces between them. The process is in the first, at
 * 10.9.0.1, fd09::1 and fe80::1, all over "near"; the other end is 10.9.0.2, fd09::2 and fe80::2, over "far".
 */
#ifndef VETH_H
#define VETH_H

#include "common.h"
#include <arpa/inet.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static int veth_near, veth_far;

struct veth_request {
	struct nlmsghdr head;
	char body[512];
};

static inline void *veth_put(struct veth_request *r, const void *data, size_t len)
{
	void *at = (char *)r + NLMSG_ALIGN(r->head.nlmsg_len);

	if (len)
		memcpy(at, data, len);
	r->head.nlmsg_len = NLMSG_ALIGN(r->head.nlmsg_len) + len;
	return at;
}

static inline struct rtattr *veth_attr(struct veth_request *r, int type, const void *data, size_t len)
{
	struct rtattr attr = { .rta_type = type, .rta_len = RTA_LENGTH(len) };
	struct rtattr *at = veth_put(r, &attr, sizeof attr);

	if (len)
		veth_put(r, data, len);
	return at;
}

static inline void veth_end(struct veth_request *r, struct rtattr *nest)
{
	nest->rta_len = (char *)r + r->head.nlmsg_len - (char *)nest;
}

static inline void veth_ask(struct veth_request *r, int type, int flags)
{
	int s = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	struct { struct nlmsghdr head; struct nlmsgerr error; char rest[1024]; } answer;

	r->head.nlmsg_type = type;
	r->head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	MUST(send(s, r, r->head.nlmsg_len, 0));
	MUST(recv(s, &answer, sizeof answer, 0));
	if (answer.error.error) {
		printf("request %d: %s\n", type, strerror(-answer.error.error));
		exit(1);
	}
	close(s);
}

static inline void veth_pair(void)
{
	struct veth_request r = { .head.nlmsg_len = NLMSG_HDRLEN };
	struct ifinfomsg none = { .ifi_family = AF_UNSPEC };
	struct rtattr *info, *data, *peer;

	veth_put(&r, &none, sizeof none);
	veth_attr(&r, IFLA_IFNAME, "near", 5);
	info = veth_attr(&r, IFLA_LINKINFO, NULL, 0);
	veth_attr(&r, IFLA_INFO_KIND, "veth", 5);
	data = veth_attr(&r, IFLA_INFO_DATA, NULL, 0);
	peer = veth_attr(&r, VETH_INFO_PEER, NULL, 0);
	veth_put(&r, &none, sizeof none);
	veth_attr(&r, IFLA_IFNAME, "far", 4);
	veth_attr(&r, IFLA_NET_NS_FD, &veth_far, sizeof veth_far);
	veth_end(&r, peer);
	veth_end(&r, data);
	veth_end(&r, info);
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
	struct veth_request r = { .head.nlmsg_len = NLMSG_HDRLEN };

	inet_pton(own.ifa_family, text, ip);
	veth_put(&r, &own, sizeof own);
	veth_attr(&r, IFA_LOCAL, ip, len);
	veth_attr(&r, IFA_ADDRESS, ip, len);
	veth_attr(&r, IFA_FLAGS, &flags, sizeof flags);
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
	struct veth_request r = { .head.nlmsg_len = NLMSG_HDRLEN };

	veth_put(&r, &route, sizeof route);
	inet_pton(route.rtm_family, network, ip);
	veth_attr(&r, RTA_DST, ip, len);
	inet_pton(route.rtm_family, gateway, ip);
	veth_attr(&r, RTA_GATEWAY, ip, len);
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

/* A connection between both ends: a near, b far. */
static inline void veth_connect(int *a, int *b)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = inet_addr("10.9.0.2") };
	socklen_t len = sizeof at;
	int l = far_socket(AF_INET, SOCK_STREAM, 0);

	MUST(bind(l, (struct sockaddr *)&at, sizeof at));
	MUST(listen(l, 1));
	MUST(getsockname(l, (struct sockaddr *)&at, &len));
	MUST(*a = socket(AF_INET, SOCK_STREAM, 0));
	MUST(connect(*a, (struct sockaddr *)&at, sizeof at));
	MUST(*b = accept(l, NULL, NULL));
	close(l);
}

/* The same over lo. */
static inline void lo_connect(int *a, int *b)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof at;
	int l = socket(AF_INET, SOCK_STREAM, 0);

	MUST(bind(l, (struct sockaddr *)&at, sizeof at));
	MUST(listen(l, 1));
	MUST(getsockname(l, (struct sockaddr *)&at, &len));
	MUST(*a = socket(AF_INET, SOCK_STREAM, 0));
	MUST(connect(*a, (struct sockaddr *)&at, sizeof at));
	MUST(*b = accept(l, NULL, NULL));
	close(l);
}

#endif
