/* packet(7): rings of blocks (TPACKET_V3): what is asked is checked, blocks come when they are full or have waited. */
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
	int s = socket(AF_PACKET, kind, htons(ETH_P_IP)), version = TPACKET_V3, ignore = 1;
	struct sockaddr_ll a = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = if_nametoindex("lo") };

	MUST(bind(s, (struct sockaddr *)&a, sizeof a));
	MUST(setsockopt(s, SOL_PACKET, 23, &ignore, sizeof ignore));
	MUST(setsockopt(s, SOL_PACKET, PACKET_VERSION, &version, sizeof version));
	return s;
}

static int asked(int s, unsigned block_size, unsigned blocks, unsigned frame_size, unsigned frames, unsigned wait, unsigned private)
{
	struct tpacket_req3 r = { block_size, blocks, frame_size, frames, wait, private, 0 };

	return setsockopt(s, SOL_PACKET, PACKET_RX_RING, &r, sizeof r);
}

static void checks(void)
{
	int s = tap(SOCK_RAW);
	struct tpacket_req r = { 4096, 1, 2048, 2 };

	CHECK("too short", setsockopt(s, SOL_PACKET, PACKET_RX_RING, &r, sizeof r));
	SHOW(asked(s, 4095, 1, 2048, 1, 0, 0));
	SHOW(asked(s, 4096, 1, 64, 64, 0, 0));
	SHOW(asked(s, 4096, 1, 2047, 2, 0, 0));
	SHOW(asked(s, 4096, 1, 2048, 3, 0, 0));
	SHOW(asked(s, 4096, 1, 2048, 2, 0, 4000));
	SHOW(asked(s, 4096, 1, 2048, 2, 0, 0xffffffff));
	SHOW(asked(s, 0, 0, 0, 1, 0, 0));
	SHOW(asked(s, 0, 0, 0, 0, 0, 0));
	SHOW(asked(s, 4096, 1, 80, 51, 0, 0));
	SHOW(asked(s, 4096, 1, 80, 51, 0, 0));
	SHOW(asked(s, 0, 0, 0, 0, 0, 0));
	close(s);
}

static int from, to;
static struct sockaddr_in at;

static void send_one(int n, size_t len)
{
	char text[3000] = "data?";

	text[4] = '0' + n;
	MUST(sendto(from, text, len, 0, (struct sockaddr *)&at, sizeof at));
}

static void show(const char *name, char *block)
{
	struct tpacket_block_desc *d = (void *)block;
	struct tpacket_hdr_v1 *h = &d->hdr.bh1;
	struct tpacket3_hdr *f = (void *)(block + h->offset_to_first_pkt);

	printf("%s: version %u private %u status %#x packets %u first %u length %u number %llu\n", name, d->version,
	       d->offset_to_priv, h->block_status, h->num_pkts, h->offset_to_first_pkt, h->blk_len,
	       (unsigned long long)h->seq_num);
	TRUE("times", h->ts_first_pkt.ts_sec > 0 && h->ts_last_pkt.ts_sec >= h->ts_first_pkt.ts_sec);
	for (unsigned n = 0; n < h->num_pkts; n++) {
		struct sockaddr_ll *a = (void *)((char *)f + TPACKET_ALIGN(sizeof *f));

		printf("next %u snaplen %u len %u status %#x mac %u net %u, family %u protocol %#x type %u, ip %#x data %.5s\n",
		       f->tp_next_offset, f->tp_snaplen, f->tp_len, f->tp_status & ~TP_STATUS_CSUMNOTREADY & ~TP_STATUS_CSUM_VALID & ~TP_STATUS_TS_SOFTWARE,
		       f->tp_mac, f->tp_net, a->sll_family, ntohs(a->sll_protocol), a->sll_pkttype,
		       ((unsigned char *)f)[f->tp_net], (char *)f + f->tp_net + 28);
		f = (void *)((char *)f + f->tp_next_offset);
	}
	fflush(stdout);
}

static void give_back(char *block)
{
	__sync_synchronize();
	((struct tpacket_block_desc *)block)->hdr.bh1.block_status = TP_STATUS_KERNEL;
}

static void statistics(int s)
{
	struct tpacket_stats_v3 stats;
	socklen_t len = sizeof stats;

	SHOW(getsockopt(s, SOL_PACKET, PACKET_STATISTICS, &stats, &len));
	printf("length %d: %u packets, %u lost, %u times frozen\n", len, stats.tp_packets, stats.tp_drops, stats.tp_freeze_q_cnt);
}

static void waits(int kind)
{
	int s = tap(kind);
	struct pollfd p = { s, POLLIN, 0 };

	SHOW(asked(s, 8192, 2, 2048, 8, 60, 5));
	char *ring = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, s, 0);
	CHECK("mapped", ring == MAP_FAILED ? -1 : 0);
	SHOW(poll(&p, 1, 0));
	send_one(1, 5);
	send_one(2, 1000);
	SHOW(poll(&p, 1, 0));
	SHOW(poll(&p, 1, 1000));
	show("it has waited", ring);
	give_back(ring);
	SHOW(poll(&p, 1, 0));
	send_one(3, 7);
	SHOW(poll(&p, 1, 1000));
	show("the next", ring + 8192);
	give_back(ring + 8192);
	statistics(s);
	munmap(ring, 16384);
	close(s);
}

static void fills(void)
{
	int s = tap(SOCK_RAW);
	struct pollfd p = { s, POLLIN, 0 };

	SHOW(asked(s, 4096, 2, 2048, 4, 5000, 0));
	char *ring = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, s, 0);
	for (int n = 1; n <= 2; n++)
		send_one(n, 1500);
	SHOW(poll(&p, 1, 0));
	send_one(3, 1500);
	SHOW(poll(&p, 1, 100));
	show("full", ring);
	send_one(4, 1500);
	send_one(5, 1500);
	send_one(6, 10);
	show("full too", ring + 4096);
	statistics(s);
	give_back(ring);
	send_one(7, 10);
	send_one(8, 2900);
	send_one(9, 2900);
	SHOW(poll(&p, 1, 100));
	show("losing", ring);
	munmap(ring, 8192);
	close(s);
}

int main(void)
{
	socklen_t len = sizeof at;

	at = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	to = socket(AF_INET, SOCK_DGRAM, 0);
	from = socket(AF_INET, SOCK_DGRAM, 0);
	MUST(bind(to, (struct sockaddr *)&at, sizeof at));
	MUST(getsockname(to, (struct sockaddr *)&at, &len));
	checks();
	waits(SOCK_RAW);
	waits(SOCK_DGRAM);
	fills();
	return 0;
}
