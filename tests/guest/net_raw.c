// Raw and packet sockets on lo, and filters of sockets.
#include "common.h"
#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/un.h>

static struct sockaddr_in at(int port) {
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return a;
}

static int ready(int fd) {
	struct pollfd p = {fd, POLLIN, 0};
	return poll(&p, 1, 200);
}

// Passes over what others have on lo: waits for a packet with this text at its end.
static ssize_t wanted(int fd, char *buf, size_t size, const char *text, struct sockaddr *from, socklen_t *len) {
	for (int i = 0; i < 1000 && ready(fd) == 1; i++) {
		ssize_t n = recvfrom(fd, buf, size, 0, from, len);
		if (n >= (ssize_t)strlen(text) && !memcmp(buf + n - strlen(text), text, strlen(text)))
			return n;
	}
	return -1;
}

static void creation(void) {
	CHECK("raw, no protocol", socket(AF_INET, SOCK_RAW, 0));
	CHECK("raw, too high", socket(AF_INET, SOCK_RAW, 300));
	CHECK("dgram, wrong protocol", socket(AF_INET, SOCK_DGRAM, IPPROTO_TCP));
	CHECK("packet, stream", socket(AF_PACKET, SOCK_STREAM, 0));
	int fd = socket(AF_INET, SOCK_RAW, IPPROTO_UDP), on = -1;
	socklen_t len = sizeof on;
	CHECK("hdrincl", getsockopt(fd, IPPROTO_IP, IP_HDRINCL, &on, &len));
	printf("hdrincl is %d\n", on);
	CHECK("listen", listen(fd, 1));
	CHECK("shutdown", shutdown(fd, SHUT_RD));
	struct sockaddr_in a;
	len = sizeof a;
	CHECK("name", getsockname(fd, (void *)&a, &len));
	printf("port %d\n", ntohs(a.sin_port));
	CHECK("no destination", send(fd, "x", 1, 0));
	close(fd);
	fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
	len = sizeof on;
	getsockopt(fd, IPPROTO_IP, IP_HDRINCL, &on, &len);
	printf("hdrincl of IPPROTO_RAW is %d\n", on);
	close(fd);
	fd = socket(AF_INET6, SOCK_RAW, IPPROTO_UDP);
	len = sizeof on;
	CHECK("checksum", getsockopt(fd, IPPROTO_IPV6, IPV6_CHECKSUM, &on, &len));
	printf("checksum at %d\n", on);
	on = 3;
	CHECK("odd checksum", setsockopt(fd, IPPROTO_IPV6, IPV6_CHECKSUM, &on, sizeof on));
	on = 6;
	CHECK("even checksum", setsockopt(fd, IPPROTO_IPV6, IPV6_CHECKSUM, &on, sizeof on));
	close(fd);
}

// A datagram that is seen by a raw socket, and one that a raw socket made.
static void datagrams(void) {
	char buf[256];
	int raw = socket(AF_INET, SOCK_RAW, IPPROTO_UDP), udp = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in to = at(34567), from;
	CHECK("bind", bind(udp, (void *)&to, sizeof to));
	CHECK("send", sendto(udp, "to myself", 9, 0, (void *)&to, sizeof to));
	socklen_t len = sizeof from;
	ssize_t n = wanted(raw, buf, sizeof buf, "to myself", (void *)&from, &len);
	struct iphdr *ip = (void *)buf;
	struct udphdr *header = (void *)(buf + 20);
	printf("seen %zd: version %d ihl %d protocol %d length %d ports %d %d from port %d\n", n, ip->version, ip->ihl,
	       ip->protocol, ntohs(header->len), ntohs(header->source), ntohs(header->dest), ntohs(from.sin_port));
	CHECK("its own", recv(udp, buf, sizeof buf, 0));
	struct { struct udphdr head; char data[5]; } made = {{{{0}}}, "made!"};
	made.head.source = htons(1234);
	made.head.dest = htons(34567);
	made.head.len = htons(13);
	to.sin_port = 0;
	CHECK("send made", sendto(raw, &made, 13, 0, (void *)&to, sizeof to));
	len = sizeof from;
	CHECK("received", ready(udp) == 1 ? recvfrom(udp, buf, sizeof buf, 0, (void *)&from, &len) : -1);
	printf("%.5s from %d\n", buf, ntohs(from.sin_port));
	CHECK("seen too", wanted(raw, buf, sizeof buf, "made!", NULL, NULL));
	int on = 1;
	CHECK("set hdrincl", setsockopt(raw, IPPROTO_IP, IP_HDRINCL, &on, sizeof on));
	CHECK("too short", sendto(raw, &made, 13, 0, (void *)&to, sizeof to));
	struct { struct iphdr ip; struct udphdr head; char data[5]; } whole = {.ip = {.version = 4, .ihl = 5, .ttl = 9, .protocol = IPPROTO_UDP}};
	whole.ip.daddr = to.sin_addr.s_addr;
	whole.head = made.head;
	memcpy(whole.data, "whole", 5);
	CHECK("send whole", sendto(raw, &whole, 33, 0, (void *)&to, sizeof to));
	CHECK("received", ready(udp) == 1 ? recv(udp, buf, sizeof buf, 0) : -1);
	n = wanted(raw, buf, sizeof buf, "whole", NULL, NULL);
	printf("seen %zd: ttl %d total %d source %s\n", n, ip->ttl, ntohs(ip->tot_len), inet_ntoa(*(struct in_addr *)&ip->saddr));
	CHECK("connect", connect(raw, (void *)&to, sizeof to));
	close(raw);
	close(udp);
	int mine = socket(AF_INET, SOCK_RAW, 253), other = socket(AF_INET, SOCK_RAW, 252);
	CHECK("send 253", sendto(mine, "protocol", 8, 0, (void *)&to, sizeof to));
	CHECK("comes back", wanted(mine, buf, sizeof buf, "protocol", NULL, NULL));
	CHECK("not to others", recv(other, buf, sizeof buf, MSG_DONTWAIT));
	close(mine);
	close(other);
}

static struct sock_filter short_ones[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0), BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 11, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, 0), BPF_STMT(BPF_RET | BPF_K, 0xffff)};
static struct sock_filter cut[] = {BPF_STMT(BPF_RET | BPF_K, 10)};
static struct sock_filter none[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
static struct sock_filter bad[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0)};
#define PROGRAM(code) &(struct sock_fprog){sizeof code / sizeof *code, code}, sizeof(struct sock_fprog)

static void filters(void) {
	char buf[64];
	int fd = socket(AF_INET, SOCK_DGRAM, 0), zero = 0, one = 1;
	struct sockaddr_in to = at(34568);
	bind(fd, (void *)&to, sizeof to);
	connect(fd, (void *)&to, sizeof to);
	CHECK("detach none", setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &zero, 4));
	CHECK("bad", setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, PROGRAM(bad)));
	CHECK("short", setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &zero, 4));
	CHECK("empty", setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &(struct sock_fprog){0, cut}, sizeof(struct sock_fprog)));
	CHECK("nowhere", setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &(struct sock_fprog){1, (void *)8}, sizeof(struct sock_fprog)));
	CHECK("attach", setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, PROGRAM(short_ones)));
	CHECK("long", send(fd, "four", 4, 0));
	CHECK("filtered", recv(fd, buf, sizeof buf, MSG_DONTWAIT));
	CHECK("short", send(fd, "abc", 3, 0));
	CHECK("passes", recv(fd, buf, sizeof buf, MSG_DONTWAIT));
	CHECK("replace", setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, PROGRAM(cut)));
	CHECK("long", send(fd, "abcdef", 6, 0));
	CHECK("is cut", recv(fd, buf, sizeof buf, MSG_DONTWAIT | MSG_TRUNC));
	CHECK("lock", setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &one, 4));
	CHECK("unlock", setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &zero, 4));
	CHECK("attach locked", setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, PROGRAM(none)));
	CHECK("detach locked", setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &zero, 4));
	close(fd);
	int pair[2];
	socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
	CHECK("attach", setsockopt(pair[1], SOL_SOCKET, SO_ATTACH_FILTER, PROGRAM(none)));
	CHECK("send", send(pair[0], "x", 1, 0));
	CHECK("filtered", recv(pair[1], buf, sizeof buf, MSG_DONTWAIT));
	CHECK("detach", setsockopt(pair[1], SOL_SOCKET, SO_DETACH_FILTER, &zero, 4));
	CHECK("send", send(pair[0], "x", 1, 0));
	CHECK("passes", recv(pair[1], buf, sizeof buf, MSG_DONTWAIT));
}

static void packets(int kind, const char *name) {
	char buf[512];
	printf("%s\n", name);
	int fd = socket(AF_PACKET, kind, htons(ETH_P_ALL));
	struct sockaddr_ll place = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = 9999};
	CHECK("no such interface", bind(fd, (void *)&place, sizeof place));
	CHECK("short address", bind(fd, (void *)&place, 12));
	place.sll_ifindex = if_nametoindex("lo");
	CHECK("bind", bind(fd, (void *)&place, sizeof place));
	socklen_t len = sizeof place;
	CHECK("name", getsockname(fd, (void *)&place, &len));
	printf("length %d protocol %#x hatype %d halen %d\n", (int)len, ntohs(place.sll_protocol), place.sll_hatype, place.sll_halen);
	len = sizeof place;
	CHECK("peer", getpeername(fd, (void *)&place, &len));
	CHECK("connect", connect(fd, (void *)&place, sizeof place));
	int udp = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in to = at(34569);
	bind(udp, (void *)&to, sizeof to);
	sendto(udp, "watched", 7, 0, (void *)&to, sizeof to);
	len = sizeof place;
	ssize_t n = wanted(fd, buf, sizeof buf, "watched", (void *)&place, &len);
	printf("%zd bytes, protocol %#x, lo %d, type %d, hatype %d, halen %d, length %d\n", n, ntohs(place.sll_protocol),
	       place.sll_ifindex == (int)if_nametoindex("lo"), place.sll_pkttype, place.sll_hatype, place.sll_halen, (int)len);
	recv(udp, buf + 256, 64, 0);
	// The same frame once more, by hand.
	place.sll_halen = 6;
	CHECK("send", sendto(fd, buf, n, 0, (void *)&place, sizeof place));
	CHECK("arrives", ready(udp) == 1 ? recv(udp, buf, sizeof buf, 0) : -1);
	place.sll_ifindex = 9999;
	CHECK("send nowhere", sendto(fd, buf, 64, 0, (void *)&place, sizeof place));
	CHECK("short address", sendto(fd, buf, 64, 0, (void *)&place, 10));
	struct packet_mreq mreq = {.mr_ifindex = 9999, .mr_type = PACKET_MR_PROMISC};
	CHECK("member of nothing", setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &mreq, sizeof mreq));
	mreq.mr_ifindex = if_nametoindex("lo");
	CHECK("promiscuous", setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &mreq, sizeof mreq));
	CHECK("no more", setsockopt(fd, SOL_PACKET, PACKET_DROP_MEMBERSHIP, &mreq, sizeof mreq));
	struct tpacket_stats stats;
	len = sizeof stats;
	CHECK("statistics", getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len));
	printf("some %d\n", stats.tp_packets > 0);
	int on = 1;
	CHECK("auxdata", setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &on, sizeof on));
	CHECK("unknown", setsockopt(fd, SOL_PACKET, 99, &on, sizeof on));
	CHECK("other level", setsockopt(fd, IPPROTO_TCP, 1, &on, sizeof on));
	close(fd);
	close(udp);
}

int main(void) {
	creation();
	datagrams();
	filters();
	packets(SOCK_RAW, "raw");
	packets(SOCK_DGRAM, "dgram");
	return 0;
}
