/*
 * A namespace that passes on packets between its interfaces, and what it says of those that it does not.
 */
#include "hub.h"
#include <linux/errqueue.h>

/* Sends a datagram, and says what is heard of it: from whom, and what. */
static void complaint(const char *what, int here, const char *ip, int hops, size_t len, int discover)
{
	struct any to = at(ip, 7009);
	int v6 = to.sa.sa_family == AF_INET6, on = 1, s;
	char control[512];
	static char data[4096];
	struct iovec part = { data, sizeof data };
	struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };

	enter(here);
	MUST(s = socket(to.sa.sa_family, SOCK_DGRAM, 0));
	MUST(setsockopt(s, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_RECVERR : IP_RECVERR, &on, sizeof on));
	if (hops)
		MUST(setsockopt(s, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_UNICAST_HOPS : IP_TTL, &hops, sizeof hops));
	MUST(setsockopt(s, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER, &discover, sizeof discover));
	errno = 0;
	if (sendto(s, data, len, 0, &to.sa, to.len) == -1)
		printf("%s: send %s\n", what, strerrorname_np(errno));
	poll(&(struct pollfd){ .fd = s }, 1, 300);
	if (recvmsg(s, &m, MSG_ERRQUEUE | MSG_DONTWAIT) == -1) {
		printf("%s: nothing\n", what);
	} else {
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		struct sock_extended_err *e = (void *)CMSG_DATA(c);

		printf("%s: %s type %d code %d info %u from %s\n", what, strerrorname_np(e->ee_errno), e->ee_type, e->ee_code, e->ee_info,
		       text_of(SO_EE_OFFENDER(e)));
	}
	fflush(stdout);
	close(s);
}

static void mtu_of(const char *what, int here, const char *ip)
{
	struct any to = at(ip, 7009);
	int v6 = to.sa.sa_family == AF_INET6, mtu = -1, s;
	socklen_t len = sizeof mtu;

	enter(here);
	MUST(s = socket(to.sa.sa_family, SOCK_DGRAM, 0));
	MUST(connect(s, &to.sa, to.len));
	CHECK(what, getsockopt(s, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_MTU : IP_MTU, &mtu, &len));
	printf("mtu %d\n", mtu);
	close(s);
}

static void refusing(int from, int to, int type)
{
	struct rtmsg r = { .rtm_family = AF_INET, .rtm_dst_len = 24, .rtm_table = RT_TABLE_MAIN, .rtm_type = type,
			   .rtm_protocol = RTPROT_BOOT };
	char ip[32];

	snprintf(ip, sizeof ip, "10.%d.0.0", to);
	nl_begin(&q, RTM_NEWROUTE, MAKE, &r, sizeof r);
	put_ip(RTA_DST, ip);
	quietly();
	r.rtm_family = AF_INET6;
	r.rtm_dst_len = 64;
	snprintf(ip, sizeof ip, "fd%02d::", to);
	nl_begin(&q, RTM_NEWROUTE, MAKE, &r, sizeof r);
	put_ip(RTA_DST, ip);
	quietly();
	(void)from;
}

static void plan(void)
{
	char name[8], ip[32];

	for (int i = 0; i < LEAVES; i++) {
		enter(hub);
		snprintf(name, sizeof name, "p%d", i);
		snprintf(ip, sizeof ip, "10.%d.0.1", i + 1);
		own(name, ip, 24);
		snprintf(ip, sizeof ip, "fd%02d::1", i + 1);
		own(name, ip, 64);
		own(name, "fe80::1", 64);
		enter(leaf[i]);
		snprintf(ip, sizeof ip, "10.%d.0.2", i + 1);
		own("eth0", ip, 24);
		snprintf(ip, sizeof ip, "fd%02d::2", i + 1);
		own("eth0", ip, 64);
		own("eth0", "fe80::2", 64);
		snprintf(ip, sizeof ip, "10.%d.0.1", i + 1);
		way("0.0.0.0", 0, ip);
		snprintf(ip, sizeof ip, "fd%02d::1", i + 1);
		way("::", 0, ip);
	}
}

static void switches(void)
{
	static const char *const paths[] = { "ipv4/ip_forward", "ipv4/conf/all/forwarding", "ipv4/conf/default/forwarding",
					     "ipv4/conf/p0/forwarding", "ipv4/conf/lo/forwarding", "ipv6/conf/all/forwarding",
					     "ipv6/conf/default/forwarding", "ipv6/conf/p0/forwarding" };

	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
		char path[64], text[16] = "";
		int fd;

		snprintf(path, sizeof path, "/proc/sys/net/%s", paths[i]);
		MUST(fd = open(path, O_RDONLY));
		MUST(read(fd, text, sizeof text - 1));
		printf("%s %s", paths[i], text);
		close(fd);
	}
	fflush(stdout);
}

static void forwarding(const char *value)
{
	enter(hub);
	write_to("/proc/sys/net/ipv4/ip_forward", value);
	write_to("/proc/sys/net/ipv6/conf/all/forwarding", value);
	switches();
}

int main(void)
{
	hub_setup();
	plan();
	enter(hub);
	switches();
	forwarding("0");
	udp("no router", leaf[0], leaf[1], "10.2.0.2", 100);
	udp("no router, 6", leaf[0], leaf[1], "fd02::2", 100);
	forwarding("1");
	ping("ping", leaf[0], "10.2.0.2");
	ping("ping, 6", leaf[0], "fd02::2");
	ping("ping the other side of the router", leaf[0], "10.2.0.1");
	udp("UDP", leaf[0], leaf[1], "10.2.0.2", 100);
	udp("UDP, 6", leaf[1], leaf[2], "fd03::2", 100);
	udp("UDP in fragments", leaf[0], leaf[2], "10.3.0.2", 5000);
	udp("UDP in fragments, 6", leaf[0], leaf[2], "fd03::2", 5000);
	tcp("TCP", leaf[0], leaf[1], "10.2.0.2");
	tcp("TCP, 6", leaf[2], leaf[0], "fd01::2");

	complaint("too many hops", leaf[0], "10.2.0.2", 1, 10, IP_PMTUDISC_WANT);
	complaint("too many hops, 6", leaf[0], "fd02::2", 1, 10, IP_PMTUDISC_WANT);
	complaint("hops enough", leaf[0], "10.2.0.2", 2, 10, IP_PMTUDISC_WANT);
	complaint("hops enough, 6", leaf[0], "fd02::2", 2, 10, IP_PMTUDISC_WANT);
	complaint("no way", leaf[0], "10.8.0.2", 0, 10, IP_PMTUDISC_WANT);
	complaint("no way, 6", leaf[0], "fd08::2", 0, 10, IP_PMTUDISC_WANT);
	enter(hub);
	refusing(0, 10, RTN_UNREACHABLE);
	refusing(0, 11, RTN_PROHIBIT);
	refusing(0, 12, RTN_BLACKHOLE);
	complaint("unreachable", leaf[0], "10.10.0.2", 0, 10, IP_PMTUDISC_WANT);
	complaint("unreachable, 6", leaf[0], "fd10::2", 0, 10, IP_PMTUDISC_WANT);
	complaint("prohibited", leaf[1], "10.11.0.2", 0, 10, IP_PMTUDISC_WANT);
	complaint("prohibited, 6", leaf[0], "fd11::2", 0, 10, IP_PMTUDISC_WANT);
	complaint("black hole", leaf[2], "10.12.0.2", 0, 10, IP_PMTUDISC_WANT);
	complaint("black hole, 6", leaf[0], "fd12::2", 0, 10, IP_PMTUDISC_WANT);

	enter(hub);
	link_request(RTM_NEWLINK, 0, 0, "p1");
	put_u32(IFLA_MTU, 1300);
	ask("a link that carries less");
	enter(leaf[1]);
	link_request(RTM_NEWLINK, 0, 0, "eth0");
	put_u32(IFLA_MTU, 1300);
	ask("its other end");
	complaint("too long, and not to be cut", leaf[0], "10.2.0.2", 0, 1400, IP_PMTUDISC_DO);
	complaint("too long, 6", leaf[0], "fd02::2", 0, 1400, IPV6_PMTUDISC_DO);
	mtu_of("what is known of the way", leaf[0], "10.2.0.2");
	mtu_of("what is known of the way, 6", leaf[0], "fd02::2");
	mtu_of("of another way", leaf[0], "10.3.0.2");
	complaint("still too long", leaf[0], "10.2.0.2", 0, 1400, IP_PMTUDISC_DO);
	complaint("still too long, 6", leaf[0], "fd02::2", 0, 1400, IPV6_PMTUDISC_DO);
	complaint("longer than the first link carries", leaf[0], "10.2.0.2", 0, 1600, IP_PMTUDISC_PROBE);
	udp("UDP that was too long once", leaf[0], leaf[1], "10.2.0.2", 1400);
	tcp("TCP over it", leaf[0], leaf[1], "10.2.0.2");
	tcp("TCP over it, 6", leaf[2], leaf[1], "fd02::2");
	forwarding("0");
	udp("no router again", leaf[0], leaf[1], "10.2.0.2", 100);
	return 0;
}
