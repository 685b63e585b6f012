/* IGMPv3 and MLDv2: what routers are told of groups over interfaces, when members come and go and when they ask. */
#include "veth.h"
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <poll.h>

static int capture, query4;
static unsigned near_index, far_index;

enum { IS_ONLY = 1, IS_EXCEPT, TO_ONLY, TO_EXCEPT, ALLOW, BLOCK, OLD };

/* Whether a packet tells of the group 239.1.2.3 or ff15::99 in this way, with so many sources. */
static int tells(const unsigned char *p, ssize_t n, int v4, int kind, int sources)
{
	static const unsigned char four[4] = { 239, 1, 2, 3 };
	static const unsigned char six[16] = { 0xff, 0x15, [15] = 0x99 };
	const unsigned char *group = v4 ? four : six, *end = p + n;
	size_t len = v4 ? 4 : 16;

	if (v4 != (p[0] >> 4 == 4) || n < 32)
		return 0;
	/* No farther than this link, and routers are to look. */
	if (v4 ? p[0] != 0x46 || p[8] != 1 || p[9] != 2 || p[20] != 0x94 : n < 56 || p[6] != 0 || p[7] != 1 || p[40] != 58)
		return 0;
	const unsigned char *m = p + (v4 ? 24 : 48);
	if (kind == OLD)
		return m[0] == (v4 ? 0x16 : 131) && memcmp(m + (v4 ? 4 : 8), group, len) == 0;
	if (m[0] != (v4 ? 0x22 : 143))
		return 0;
	m += 8;
	while (m + 4 + len <= end) {
		int count = m[2] << 8 | m[3];

		if (m[0] == kind && count == sources && memcmp(m + 4, group, len) == 0)
			return 1;
		m += 4 + len + count * len;
	}
	return 0;
}

static void expect(const char *name, int v4, int kind, int sources)
{
	unsigned char packet[2048];
	long until = now_ms() + 1500;
	struct pollfd p = { capture, POLLIN, 0 };
	int found = 0;

	while (!found && now_ms() < until && poll(&p, 1, until - now_ms()) == 1) {
		struct sockaddr_ll from;
		socklen_t len = sizeof from;
		ssize_t n = recvfrom(capture, packet, sizeof packet, 0, (struct sockaddr *)&from, &len);

		found = from.sll_pkttype != PACKET_OUTGOING && tells(packet, n, v4, kind, sources);
	}
	TRUE(name, found);
}

static void flush(void)
{
	char waste[2048];

	while (recv(capture, waste, sizeof waste, MSG_DONTWAIT) > 0)
		;
}

static void ask4(size_t len, int code, const char *group)
{
	unsigned char m[12] = { 0x11, code };
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = inet_addr("224.0.0.1") };
	unsigned sum = 0;

	inet_pton(AF_INET, group, m + 4);
	for (size_t at = 0; at < len; at += 2)
		sum += m[at] << 8 | m[at + 1];
	sum = (sum >> 16) + (sum & 0xffff);
	sum = ~(sum + (sum >> 16));
	m[2] = sum >> 8;
	m[3] = sum;
	flush();
	CHECK("query", sendto(query4, m, len, 0, (struct sockaddr *)&to, sizeof to));
}

/* A query with the option that has routers look at it, without which it is none; all by hand. */
static void ask6(size_t len, int code, const char *group, int alert)
{
	unsigned char p[40 + 8 + 28] = { 0x60, [5] = 8 + len, 0, 1 };
	unsigned char *m = p + 48;
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IPV6), .sll_ifindex = far_index,
				  .sll_halen = 6, .sll_addr = { 0x33, 0x33, 0, 0, 0, 1 } };
	unsigned sum = len + 58;

	inet_pton(AF_INET6, "fe80::2", p + 8);
	inet_pton(AF_INET6, "ff02::1", p + 24);
	memcpy(p + 40, alert ? "\x3a\0\x05\x02\0\0\x01\0" : "\x3a\0\x01\x04\0\0\0\0", 8);
	m[0] = 130;
	m[4] = code >> 8;
	m[5] = code;
	inet_pton(AF_INET6, group, m + 8);
	/*
	 * How often is asked, in seconds. A query as of old has its answers as of old for twice this time and the longest
	 * delay of an answer: were it 0, an answer that is delayed for longest would be a new one again.
	 */
	if (len == 28)
		m[25] = 125;
	for (unsigned char *at = p + 8; at < p + 40; at += 2)
		sum += at[0] << 8 | at[1];
	for (unsigned char *at = m; at < m + len; at += 2)
		sum += at[0] << 8 | at[1];
	sum = (sum >> 16) + (sum & 0xffff);
	sum = ~(sum + (sum >> 16));
	m[2] = sum >> 8;
	m[3] = sum;
	flush();
	TRUE("query", sendto(capture, p, 48 + len, 0, (struct sockaddr *)&to, sizeof to) == (long)(48 + len));
}

static void v4(void)
{
	int s = socket(AF_INET, SOCK_DGRAM, 0), other = socket(AF_INET, SOCK_DGRAM, 0);
	struct ip_mreqn group = { { inet_addr("239.1.2.3") }, { 0 }, near_index };
	struct ip_mreq_source one = { { inet_addr("239.1.2.3") }, { inet_addr("10.9.0.1") }, { inet_addr("10.9.0.9") } };

	MUST(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
	expect("joined", 1, TO_EXCEPT, 0);
	MUST(setsockopt(other, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
	ask4(12, 1, "0.0.0.0");
	expect("answered", 1, IS_EXCEPT, 0);
	ask4(12, 1, "239.1.2.3");
	expect("answered for the group", 1, IS_EXCEPT, 0);
	MUST(setsockopt(s, IPPROTO_IP, IP_BLOCK_SOURCE, &one, sizeof one));
	MUST(setsockopt(other, IPPROTO_IP, IP_BLOCK_SOURCE, &one, sizeof one));
	expect("blocked by all", 1, BLOCK, 1);
	close(other);
	ask4(12, 1, "0.0.0.0");
	expect("answered with the source", 1, IS_EXCEPT, 1);
	MUST(setsockopt(s, IPPROTO_IP, IP_DROP_MEMBERSHIP, &group, sizeof group));
	expect("left", 1, TO_ONLY, 0);
	MUST(setsockopt(s, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &one, sizeof one));
	expect("joined for a source", 1, ALLOW, 1);
	close(s);
	expect("closed", 1, BLOCK, 1);
}

static void v6(void)
{
	int s = socket(AF_INET6, SOCK_DGRAM, 0);
	struct ipv6_mreq group = { .ipv6mr_interface = near_index };

	inet_pton(AF_INET6, "ff15::99", &group.ipv6mr_multiaddr);
	MUST(setsockopt(s, IPPROTO_IPV6, IPV6_JOIN_GROUP, &group, sizeof group));
	expect("joined", 0, TO_EXCEPT, 0);
	ask6(28, 100, "::", 1);
	expect("answered", 0, IS_EXCEPT, 0);
	ask6(28, 100, "ff15::99", 1);
	expect("answered for the group", 0, IS_EXCEPT, 0);
	MUST(setsockopt(s, IPPROTO_IPV6, IPV6_LEAVE_GROUP, &group, sizeof group));
	expect("left", 0, TO_ONLY, 0);
	MUST(setsockopt(s, IPPROTO_IPV6, IPV6_JOIN_GROUP, &group, sizeof group));
	expect("joined", 0, TO_EXCEPT, 0);
	ask6(24, 100, "::", 1);
	expect("answered as of old", 0, OLD, 0);
	close(s);
}

static void old4(void)
{
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	struct ip_mreqn group = { { inet_addr("239.1.2.3") }, { 0 }, near_index };

	MUST(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
	expect("joined", 1, TO_EXCEPT, 0);
	ask4(8, 1, "0.0.0.0");
	expect("answered as of old", 1, OLD, 0);
	close(s);
}

int main(void)
{
	struct sockaddr_ll link = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };

	veth_setup();
	near_index = if_nametoindex("near");
	MUST(setns(veth_far, CLONE_NEWNET));
	MUST(capture = socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_ALL)));
	link.sll_ifindex = far_index = if_nametoindex("far");
	MUST(bind(capture, (struct sockaddr *)&link, sizeof link));
	MUST(query4 = socket(AF_INET, SOCK_RAW, IPPROTO_IGMP));
	MUST(setsockopt(query4, SOL_SOCKET, SO_BINDTODEVICE, "far", 3));
	MUST(setns(veth_near, CLONE_NEWNET));
	v4();
	v6();
	old4();
	return 0;
}
