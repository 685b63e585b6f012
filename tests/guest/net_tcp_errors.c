/* ip(7), ipv6(7): what ICMP errors do to connections over interfaces, with IP_RECVERR and without. */
#include "veth.h"
#include <linux/errqueue.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <netinet/tcp.h>
#include <poll.h>

static int capture, icmp4, icmp6;

static unsigned sum(const unsigned char *at, size_t len, unsigned sum)
{
	for (; len > 1; at += 2, len -= 2)
		sum += at[0] << 8 | at[1];
	return len ? sum + (at[0] << 8) : sum;
}

/* The next packet of TCP that comes to the far end, from its network header on. */
static size_t next_segment(unsigned char *packet, size_t max)
{
	struct pollfd p = { capture, POLLIN, 0 };

	while (poll(&p, 1, 500) == 1) {
		struct sockaddr_ll from;
		socklen_t len = sizeof from;
		ssize_t n = recvfrom(capture, packet, max, 0, (struct sockaddr *)&from, &len);

		if (from.sll_pkttype == PACKET_OUTGOING)
			continue;
		if (n > 40 - 1 && packet[0] >> 4 == 4 && packet[9] == IPPROTO_TCP)
			return n;
		if (n > 60 - 1 && packet[0] >> 4 == 6 && packet[6] == IPPROTO_TCP)
			return n;
	}
	return 0;
}

static void flush(void)
{
	char waste[2048];

	while (recv(capture, waste, sizeof waste, MSG_DONTWAIT) > 0)
		;
}

/* Says from the far end that a packet did not arrive; its number is changed by `shift`. */
static void complain(unsigned char *packet, size_t len, int type, int code, int shift)
{
	unsigned char message[600] = { type, code };
	int v4 = packet[0] >> 4 == 4;
	unsigned char *tcp = message + 8 + (v4 ? 20 : 40);
	uint32_t number;

	memcpy(message + 8, packet, len);
	memcpy(&number, tcp + 4, 4);
	number = htonl(ntohl(number) + shift);
	memcpy(tcp + 4, &number, 4);
	if (v4) {
		struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = inet_addr("10.9.0.1") };
		unsigned s = sum(message, len + 8, 0);

		s = (s >> 16) + (s & 0xffff);
		s = ~(s + (s >> 16));
		message[2] = s >> 8;
		message[3] = s;
		MUST(sendto(icmp4, message, len + 8, 0, (struct sockaddr *)&to, sizeof to));
	} else {
		struct sockaddr_in6 to = { .sin6_family = AF_INET6 };

		inet_pton(AF_INET6, "fd09::1", &to.sin6_addr);
		MUST(sendto(icmp6, message, len + 8, 0, (struct sockaddr *)&to, sizeof to));
	}
	sleep_ms(20);
}

static void show_poll(const char *name, int s)
{
	struct pollfd p = { s, POLLIN | POLLOUT | POLLRDHUP, 0 };

	poll(&p, 1, 0);
	printf("%s: poll %#x\n", name, p.revents);
}

static void show_error(const char *name, int s)
{
	int error = -1;
	socklen_t len = sizeof error;

	getsockopt(s, SOL_SOCKET, SO_ERROR, &error, &len);
	printf("%s: %s\n", name, error ? strerrorname_np(error) : "none");
	fflush(stdout);
}

static void show_address(const char *name, const void *address)
{
	const struct sockaddr *a = address;
	char text[64] = "";

	if (a->sa_family == AF_INET)
		inet_ntop(AF_INET, &((struct sockaddr_in *)a)->sin_addr, text, sizeof text);
	else if (a->sa_family == AF_INET6)
		inet_ntop(AF_INET6, &((struct sockaddr_in6 *)a)->sin6_addr, text, sizeof text);
	printf("%s: family %d '%s' port %d\n", name, a->sa_family, text, ntohs(((struct sockaddr_in *)a)->sin_port));
}

static void show_queue(int s)
{
	struct sockaddr_in6 name = { 0 };
	unsigned char data[256];
	char control[256];
	struct iovec iov = { data, sizeof data };
	struct msghdr msg = {
		.msg_name = &name, .msg_namelen = sizeof name, .msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof control,
	};

	/* How much of the packet comes back depends on its options. */
	if (WORKS("error queue", recvmsg(s, &msg, MSG_ERRQUEUE)) < 0)
		return;
	printf("flags %#x\n", msg.msg_flags);
	show_address("to", &name);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		struct sock_extended_err e;

		memcpy(&e, CMSG_DATA(c), sizeof e);
		printf("level %d type %d: %s origin %d type %d code %d info %u\n", c->cmsg_level, c->cmsg_type,
		       strerrorname_np(e.ee_errno), e.ee_origin, e.ee_type, e.ee_code, e.ee_info);
		show_address("by", CMSG_DATA(c) + sizeof e);
	}
}

static int begin(int family, int recverr, unsigned char *packet, size_t *len)
{
	int s = socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(80), .sin_addr.s_addr = inet_addr("10.8.0.1") };
	struct sockaddr_in6 to6 = { .sin6_family = AF_INET6, .sin6_port = htons(80) };

	inet_pton(AF_INET6, "fd08::1", &to6.sin6_addr);
	if (family == AF_INET)
		MUST(setsockopt(s, IPPROTO_IP, IP_RECVERR, &recverr, sizeof recverr));
	else
		MUST(setsockopt(s, IPPROTO_IPV6, IPV6_RECVERR, &recverr, sizeof recverr));
	flush();
	if (family == AF_INET)
		CHECK("connect", connect(s, (struct sockaddr *)&to, sizeof to));
	else
		CHECK("connect", connect(s, (struct sockaddr *)&to6, sizeof to6));
	*len = next_segment(packet, 256);
	TRUE("it was sent", *len > 0);
	return s;
}

static void opening(int family, int type, int code, int recverr)
{
	unsigned char packet[256];
	size_t len;
	int s = begin(family, recverr, packet, &len);

	printf("family %d type %d code %d, told %d\n", family, type, code, recverr);
	complain(packet, len, type, code, 7);
	show_poll("another number", s);
	complain(packet, len, type, code, 0);
	show_poll("told", s);
	show_queue(s);
	show_poll("read", s);
	show_error("error", s);
	show_queue(s);
	close(s);
}

static void waiting(void)
{
	unsigned char packet[256];
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(80), .sin_addr.s_addr = inet_addr("10.8.0.1") };
	size_t len;
	pid_t pid;

	flush();
	fflush(stdout);
	MUST(pid = fork());
	if (pid == 0) {
		int s = socket(AF_INET, SOCK_STREAM, 0);

		CHECK("waits", connect(s, (struct sockaddr *)&to, sizeof to));
		_exit(0);
	}
	len = next_segment(packet, sizeof packet);
	complain(packet, len, 3, 1, 0);
	MUST(waitpid(pid, NULL, 0));
}

static void going_on(void)
{
	unsigned char packet[256];
	char text[8] = "";
	int a, b, on = 1;
	size_t len;

	veth_connect(&a, &b);
	flush();
	SHOW(send(a, "abc", 3, 0));
	len = next_segment(packet, sizeof packet);
	sleep_ms(20);
	complain(packet, len, 3, 1, 3);
	show_poll("not told", a);
	show_error("not told", a);
	SHOW(setsockopt(a, IPPROTO_IP, IP_RECVERR, &on, sizeof on));
	complain(packet, len, 3, 1, 4);
	show_error("from the future", a);
	complain(packet, len, 3, 1, 3);
	show_poll("told", a);
	show_queue(a);
	SHOW(send(a, "x", 1, MSG_NOSIGNAL));
	SHOW(send(a, "def", 3, 0));
	sleep_ms(20);
	SHOW(recv(b, text, sizeof text, 0));
	close(a);
	close(b);
}

int main(void)
{
	struct sockaddr_ll link = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };

	veth_setup();
	veth_route("10.8.0.0", 24, "10.9.0.2");
	veth_route("fd08::", 64, "fd09::2");
	MUST(setns(veth_far, CLONE_NEWNET));
	/* Or it would say that it knows no way. */
	veth_route("fd08::", 64, "fd09::1");
	MUST(capture = socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_ALL)));
	link.sll_ifindex = if_nametoindex("far");
	MUST(bind(capture, (struct sockaddr *)&link, sizeof link));
	MUST(icmp4 = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
	MUST(icmp6 = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6));
	MUST(setns(veth_near, CLONE_NEWNET));
	for (int recverr = 0; recverr < 2; recverr++) {
		opening(AF_INET, 3, 1, recverr);
		opening(AF_INET, 3, 3, recverr);
		opening(AF_INET6, 1, 4, recverr);
	}
	opening(AF_INET, 3, 0, 1);
	opening(AF_INET, 3, 2, 1);
	opening(AF_INET, 3, 13, 1);
	opening(AF_INET, 11, 0, 1);
	opening(AF_INET, 12, 0, 1);
	opening(AF_INET, 4, 0, 1);
	opening(AF_INET6, 1, 0, 1);
	opening(AF_INET6, 1, 1, 1);
	opening(AF_INET6, 1, 3, 1);
	opening(AF_INET6, 3, 0, 1);
	opening(AF_INET6, 4, 0, 1);
	waiting();
	going_on();
	return 0;
}
