/*
 * Sockets of all kinds with random and hostile options, netlink messages, addresses, ancillary data and ioctls, from
 * several processes. The sandbox may not die of it. FUZZ_SECONDS (default 5) and FUZZ_SEED in the environment; the seed
 * is printed to standard error.
 *
 * expect fuzzed: exit 0
 * expect still alive: 1
 */
#define _GNU_SOURCE
#include "common.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

#define PROCESSES 3
#define SOCKETS 24

static uint64_t state;

static uint64_t next(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static unsigned below(unsigned n)
{
	return next() % n;
}

/* A number as somebody might give it who means no good. */
static uint32_t number(void)
{
	switch (below(6)) {
	case 0: return below(4);
	case 1: return -below(4);
	case 2: return 1u << below(32);
	case 3: return (1u << below(32)) - 1;
	case 4: return below(70000);
	default: return next();
	}
}

static void fill(unsigned char *bytes, unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		bytes[i] = below(3) ? 0 : next();
	for (unsigned i = 0; i + 4 <= len; i += 4)
		if (!below(3)) {
			uint32_t n = number();
			memcpy(bytes + i, &n, 4);
		}
}

static int any_socket(void)
{
	static const int families[] = { AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET };
	static const int protocols[] = { 0, 0, 0, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP, IPPROTO_ICMPV6, NETLINK_SOCK_DIAG, 3, 255 };
	int family = families[below(5)], kind = 1 + below(5);
	return socket(family, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, protocols[below(10)]);
}

static socklen_t address(struct sockaddr_storage *a)
{
	static const int families[] = { AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNSPEC };
	memset(a, 0, sizeof *a);
	if (!below(4)) {
		fill((void *)a, sizeof *a);
		return below(140);
	}
	a->ss_family = families[below(6)];
	struct sockaddr_in *v4 = (void *)a;
	struct sockaddr_in6 *v6 = (void *)a;
	if (a->ss_family == AF_INET) {
		v4->sin_port = htons(7000 + below(8));
		v4->sin_addr.s_addr = htonl(below(3) ? INADDR_LOOPBACK : below(2) ? 0 : 0xe0000001 + below(9));
		return sizeof *v4;
	}
	if (a->ss_family == AF_INET6) {
		v6->sin6_port = htons(7000 + below(8));
		v6->sin6_addr.s6_addr[15] = below(3);
		return sizeof *v6;
	}
	if (a->ss_family == AF_UNIX) {
		((char *)a)[3] = 'a' + below(4);
		return 2 + below(3);
	}
	((uint32_t *)a)[1] = below(3);
	return a->ss_family == AF_PACKET ? 20 : 12;
}

static void option(int s)
{
	static const int levels[] = { SOL_SOCKET, SOL_SOCKET, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, IPPROTO_UDP, SOL_NETLINK, SOL_PACKET, 255, 58 };
	unsigned char value[512];
	int level = below(20) ? levels[below(10)] : (int)number(), name = below(8) ? (int)below(128) : (int)number();
	socklen_t len = below(3) ? (socklen_t[]){ 1, 4, 4, 4, 8, 12, 16, 20, 136, 264 }[below(10)] : below(512);
	fill(value, sizeof value);
	/* A second's rest at each close would leave nothing to do. */
	if (level == SOL_SOCKET && name == SO_LINGER)
		return;
	if (below(2))
		setsockopt(s, level, name, value, below(30) ? len : number());
	else
		getsockopt(s, level, name, value, &len);
}

/* A batch of messages, mostly of a form that is understood. */
static void netlink(int s)
{
	unsigned char bytes[2048];
	unsigned at = 0, count = 1 + below(4);
	fill(bytes, sizeof bytes);
	while (count-- && at + 512 < sizeof bytes) {
		struct nlmsghdr *h = (void *)(bytes + at);
		unsigned fixed = (unsigned[]){ 4, 8, 12, 12, 16, 56, 72 }[below(7)], len = NLMSG_HDRLEN + fixed;
		while (below(4) && len + 64 < 480) {
			struct rtattr *a = (void *)(bytes + at + len);
			a->rta_len = below(10) ? 4 + (unsigned[]){ 0, 1, 4, 6, 8, 16, 20 }[below(7)] : number();
			a->rta_type = below(40) | (below(8) ? 0 : NLA_F_NESTED);
			len += a->rta_len < 64 ? (a->rta_len + 3) & ~3 : 4;
		}
		h->nlmsg_len = below(12) ? len : number();
		h->nlmsg_type = below(8) ? 16 + below(32) : number();
		h->nlmsg_flags = NLM_F_REQUEST | (below(3) ? 0 : NLM_F_DUMP) | (below(2) ? NLM_F_ACK : 0) | (below(3) ? 0 : next() & 0xf00);
		bytes[at + NLMSG_HDRLEN] = (unsigned char[]){ 0, AF_INET, AF_INET6, AF_UNIX, 17 }[below(5)];
		if (below(2))
			((uint32_t *)(bytes + at + NLMSG_HDRLEN))[1] = below(4);
		at += (len + 3) & ~3;
	}
	send(s, bytes, below(10) ? at : below(sizeof bytes), MSG_DONTWAIT);
	for (int i = 0; i < 4; i++)
		recv(s, bytes, sizeof bytes, MSG_DONTWAIT);
}

static void message(int s)
{
	struct sockaddr_storage a;
	unsigned char control[512], data[4096];
	struct iovec iov = { data, below(10) ? below(sizeof data) : number() };
	struct msghdr m = { .msg_name = below(2) ? &a : NULL, .msg_namelen = address(&a), .msg_iov = &iov, .msg_iovlen = below(20) ? 1 : below(3),
			    .msg_control = below(2) ? control : NULL, .msg_controllen = below(sizeof control) };
	fill(control, sizeof control);
	struct cmsghdr *c = (void *)control;
	c->cmsg_len = below(6) ? 16 + (unsigned[]){ 0, 1, 4, 8, 12, 20 }[below(6)] : number();
	c->cmsg_level = (int[]){ SOL_SOCKET, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP }[below(4)];
	c->cmsg_type = below(64);
	int flags = MSG_DONTWAIT | MSG_NOSIGNAL | (below(3) ? 0 : number());
	if (below(2))
		sendmsg(s, &m, flags & ~MSG_FASTOPEN);
	else
		recvmsg(s, &m, flags);
}

static void request(int s)
{
	unsigned char value[64];
	fill(value, sizeof value);
	if (below(2))
		strcpy((char *)value, below(2) ? "lo" : "eth0");
	/* Not those that close or block: only sockets and interfaces. */
	ioctl(s, below(2) ? 0x8900 + below(0xa0) : (unsigned[]){ FIONREAD, TIOCOUTQ, 0x8905, 0x8906 }[below(4)], value);
}

static void once(int *sockets)
{
	struct sockaddr_storage a;
	int *slot = &sockets[below(SOCKETS)], s = *slot;
	socklen_t len;
	switch (below(14)) {
	case 0:
		close(s);
		*slot = any_socket();
		break;
	case 1:
		len = address(&a);
		bind(s, (void *)&a, len);
		break;
	case 2:
		len = address(&a);
		connect(s, (void *)&a, len);
		break;
	case 3: listen(s, below(5)); break;
	case 4: {
		int new = accept4(s, NULL, NULL, SOCK_NONBLOCK);
		if (new >= 0) {
			close(*(slot = &sockets[below(SOCKETS)]));
			*slot = new;
		}
		break;
	}
	case 5: shutdown(s, below(4)); break;
	case 6:
		len = sizeof a;
		below(2) ? getsockname(s, (void *)&a, &len) : getpeername(s, (void *)&a, &len);
		break;
	case 7: netlink(s); break;
	case 8:
	case 9: message(s); break;
	case 10: request(s); break;
	case 11: {
		void *at = mmap(NULL, 4096 * (1 + below(4)), PROT_READ | PROT_WRITE, MAP_SHARED, s, 0);
		if (at != MAP_FAILED) {
			memset(at, next(), 64);
			munmap(at, 4096);
		}
		break;
	}
	case 12: poll(&(struct pollfd){ s, number(), 0 }, 1, 0); break;
	default: option(s);
	}
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void fuzz(void)
{
	int sockets[SOCKETS];
	for (int i = 0; i < SOCKETS; i++)
		sockets[i] = any_socket();
	for (int i = 0; i < 20000; i++)
		once(sockets);
}

int main(void)
{
	const char *seconds = getenv("FUZZ_SECONDS"), *given = getenv("FUZZ_SEED");
	double end = now() + (seconds ? atof(seconds) : 5);
	uint64_t seed = given ? strtoull(given, 0, 0) : (uint64_t)time(0) * 1000 + getpid();
	fprintf(stderr, "FUZZ_SEED=%llu\n", (unsigned long long)seed);
	while (now() < end) {
		pid_t all[PROCESSES];
		for (int i = 0; i < PROCESSES; i++) {
			state = ++seed * 0x9e3779b97f4a7c15ull | 1;
			if (!(all[i] = fork())) {
				alarm(20);
				signal(SIGPIPE, SIG_IGN);
				signal(SIGURG, SIG_IGN);
				signal(SIGIO, SIG_IGN);
				fuzz();
				_exit(0);
			}
		}
		int status;
		for (int i = 0; i < PROCESSES; i++) {
			waitpid(all[i], &status, 0);
			if (status)
				printf("seed %llu: status %#x\n", (unsigned long long)seed, status);
		}
	}
	printf("fuzzed: exit 0\n");
	int s[2];
	char byte = 0;
	socketpair(AF_UNIX, SOCK_STREAM, 0, s);
	printf("still alive: %zd\n", write(s[0], "x", 1) == 1 ? read(s[1], &byte, 1) : 0);
	return 0;
}
