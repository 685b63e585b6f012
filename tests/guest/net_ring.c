/* Rings of packet sockets: what is asked is checked, and datagrams over lo appear in the memory. */
#define _GNU_SOURCE
#include "common.h"
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>

static int tap(int kind)
{
	int s = socket(AF_PACKET, kind, htons(ETH_P_IP));
	struct sockaddr_ll a = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = if_nametoindex("lo") };
	bind(s, (struct sockaddr *)&a, sizeof a);
	return s;
}

static int asked(int s, unsigned block_size, unsigned blocks, unsigned frame_size, unsigned frames)
{
	struct tpacket_req r = { block_size, blocks, frame_size, frames };
	return setsockopt(s, SOL_PACKET, PACKET_RX_RING, &r, sizeof r);
}

static void checks(void)
{
	int s = tap(SOCK_RAW);
	for (int version = -1; version < 5; version++) {
		int value = version;
		socklen_t len = sizeof value;
		CHECK("header", getsockopt(s, SOL_PACKET, PACKET_HDRLEN, &value, &len));
		printf("version %d: %d\n", version, value);
	}
	int v2 = TPACKET_V2;
	socklen_t len = 2;
	CHECK("short", getsockopt(s, SOL_PACKET, PACKET_HDRLEN, &v2, &len));
	SHOW(setsockopt(s, SOL_PACKET, PACKET_VERSION, &v2, sizeof v2));
	SHOW(asked(s, 4095, 1, 2048, 1));
	SHOW(asked(s, 4096, 1, 48, 85));
	SHOW(asked(s, 4096, 1, 2047, 2));
	SHOW(asked(s, 4096, 1, 8192, 0));
	SHOW(asked(s, 4096, 2, 2048, 3));
	SHOW(asked(s, 0, 0, 0, 1));
	SHOW(asked(s, 0, 0, 0, 0));
	SHOW(asked(s, 0, 1, 2048, 2));
	CHECK("mapped without a ring", mmap(NULL, 4096, PROT_READ, MAP_SHARED, s, 0) == MAP_FAILED ? -1 : 0);
	SHOW(asked(s, 4096, 2, 2048, 4));
	SHOW(asked(s, 4096, 2, 2048, 4));
	SHOW(setsockopt(s, SOL_PACKET, PACKET_VERSION, &v2, sizeof v2));
	SHOW(setsockopt(s, SOL_PACKET, PACKET_RESERVE, &v2, sizeof v2));
	SHOW(asked(s, 0, 0, 0, 0));
	SHOW(setsockopt(s, SOL_PACKET, PACKET_RESERVE, &v2, sizeof v2));
	close(s);
}

static void show(int version, char *slot)
{
	unsigned status, len, snaplen, mac, net;
	char *ll;
	if (version == TPACKET_V1) {
		struct tpacket_hdr *h = (void *)slot;
		status = h->tp_status, len = h->tp_len, snaplen = h->tp_snaplen, mac = h->tp_mac, net = h->tp_net;
		ll = slot + TPACKET_ALIGN(sizeof *h);
		h->tp_status = TP_STATUS_KERNEL;
	} else {
		struct tpacket2_hdr *h = (void *)slot;
		status = h->tp_status, len = h->tp_len, snaplen = h->tp_snaplen, mac = h->tp_mac, net = h->tp_net;
		ll = slot + TPACKET_ALIGN(sizeof *h);
		__sync_synchronize();
		h->tp_status = TP_STATUS_KERNEL;
	}
	struct sockaddr_ll *a = (void *)ll;
	printf("status %u len %u snaplen %u mac %u net %u, family %u protocol %#x type %u halen %u, ip %#x, data %.5s\n",
	       status & (TP_STATUS_USER | TP_STATUS_LOSING), len, snaplen, mac, net, a->sll_family, ntohs(a->sll_protocol),
	       a->sll_pkttype, a->sll_halen, (unsigned char)slot[net], slot + net + 28);
}

static void captured(int version, int kind)
{
	int s = tap(kind), ignore = 1;
	setsockopt(s, SOL_PACKET, 23, &ignore, sizeof ignore);
	setsockopt(s, SOL_PACKET, PACKET_VERSION, &version, sizeof version);
	SHOW(asked(s, 4096, 2, 2048, 4));
	char *ring = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, s, 0);
	CHECK("mapped", ring == MAP_FAILED ? -1 : 0);
	struct pollfd p = { s, POLLIN, 0 };
	printf("nothing yet: %d\n", poll(&p, 1, 0));
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof a;
	int to = socket(AF_INET, SOCK_DGRAM, 0), from = socket(AF_INET, SOCK_DGRAM, 0);
	bind(to, (struct sockaddr *)&a, sizeof a);
	getsockname(to, (struct sockaddr *)&a, &len);
	for (int i = 0; i < 6; i++) {
		char text[3000] = "data?";
		text[4] = '0' + i;
		sendto(from, text, i == 1 ? 3000 : 5, 0, (struct sockaddr *)&a, sizeof a);
	}
	int n = poll(&p, 1, 1000);
	printf("ready: %d %#x\n", n, p.revents);
	for (int i = 0; i < 4; i++)
		show(version, ring + i * 2048);
	printf("read: %d\n", poll(&p, 1, 0));
	struct tpacket_stats stats;
	len = sizeof stats;
	SHOW(getsockopt(s, SOL_PACKET, PACKET_STATISTICS, &stats, &len));
	printf("%u packets, %u lost\n", stats.tp_packets, stats.tp_drops);
	sendto(from, "again", 5, 0, (struct sockaddr *)&a, sizeof a);
	poll(&p, 1, 1000);
	show(version, ring);
	munmap(ring, 8192);
	close(s), close(to), close(from);
}

int main(void)
{
	checks();
	captured(TPACKET_V2, SOCK_RAW);
	captured(TPACKET_V2, SOCK_DGRAM);
	captured(TPACKET_V1, SOCK_RAW);
	return 0;
}
