/* What few programs ask of sockets: who the peer is, when sent data is free, connections with data only, the way of a datagram. */
#define _GNU_SOURCE
#include "common.h"
#include <grp.h>
#include <linux/errqueue.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#define PASSPIDFD 76
#define PEERPIDFD 77
#define PEERGROUPS 59
#define SCM_PIDFD_ 4

static int is_pidfd_of(int fd, pid_t pid)
{
	char path[64], line[128];
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	FILE *f = fopen(path, "r");
	int found = -1;
	while (f && fgets(line, sizeof line, f))
		sscanf(line, "Pid: %d", &found);
	if (f)
		fclose(f);
	return found == pid;
}

static void peers(void)
{
	gid_t groups[3] = { 5, 1000, 7 };
	setgroups(3, groups);
	int s[2];
	socketpair(AF_UNIX, SOCK_STREAM, 0, s);
	gid_t got[8] = { 0 };
	socklen_t len = sizeof got;
	CHECK("groups", getsockopt(s[0], SOL_SOCKET, PEERGROUPS, got, &len));
	printf("%u bytes: %u %u %u\n", len, got[0], got[1], got[2]);
	len = 4;
	CHECK("too little room", getsockopt(s[0], SOL_SOCKET, PEERGROUPS, got, &len));
	printf("%u bytes\n", len);
	CHECK("set groups", setsockopt(s[0], SOL_SOCKET, PEERGROUPS, got, 4));
	int lone = socket(AF_UNIX, SOCK_STREAM, 0);
	len = sizeof got;
	CHECK("groups of nobody", getsockopt(lone, SOL_SOCKET, PEERGROUPS, got, &len));
	int fd = -1;
	len = sizeof fd;
	CHECK("process", getsockopt(s[0], SOL_SOCKET, PEERPIDFD, &fd, &len));
	printf("%u bytes, ours %d, cloexec %d\n", len, is_pidfd_of(fd, getpid()), fcntl(fd, F_GETFD));
	len = sizeof fd;
	CHECK("process of nobody", getsockopt(lone, SOL_SOCKET, PEERPIDFD, &fd, &len));
	int tcp = socket(AF_INET, SOCK_STREAM, 0), on = 1;
	CHECK("on a stream of the internet", setsockopt(tcp, SOL_SOCKET, PASSPIDFD, &on, sizeof on));
	close(tcp);
	close(lone);
}

static void passing(int kind)
{
	int s[2], on = 1, value = -1;
	socketpair(AF_UNIX, kind, 0, s);
	socklen_t len = sizeof value;
	SHOW(getsockopt(s[0], SOL_SOCKET, PASSPIDFD, &value, &len));
	printf("off: %d\n", value);
	SHOW(setsockopt(s[0], SOL_SOCKET, PASSPIDFD, &on, sizeof on));
	getsockopt(s[0], SOL_SOCKET, PASSPIDFD, &value, &len);
	printf("on: %d\n", value);
	pid_t child = fork();
	if (!child) {
		write(s[1], "x", 1);
		pause();
	}
	for (int room = 0; room < 2; room++) {
		char byte, control[CMSG_SPACE(4)];
		struct iovec iov = { &byte, 1 };
		struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = room ? sizeof control : 17 };
		if (room == 0)
			poll(&(struct pollfd){ s[0], POLLIN, 0 }, 1, 2000);
		CHECK("received", recvmsg(s[0], &m, room ? 0 : MSG_PEEK));
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		printf("flags %#x, control %zu\n", m.msg_flags, (size_t)m.msg_controllen);
		if (c && m.msg_controllen >= CMSG_LEN(4)) {
			int fd;
			memcpy(&fd, CMSG_DATA(c), sizeof fd);
			printf("level %d type %d, the child's: %d\n", c->cmsg_level, c->cmsg_type, is_pidfd_of(fd, child));
			close(fd);
		}
	}
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	close(s[0]);
	close(s[1]);
}

static int listener(struct sockaddr_in *a)
{
	int l = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof *a;
	*a = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	bind(l, (struct sockaddr *)a, sizeof *a);
	listen(l, 5);
	getsockname(l, (struct sockaddr *)a, &len);
	return l;
}

/* The error queue's next message about data that is free. */
static void completion(const char *name, int fd, int wait)
{
	struct pollfd p = { fd, 0, 0 };
	int n = poll(&p, 1, wait);
	printf("%s: poll %d %#x\n", name, n, p.revents);
	char control[128], data[8];
	struct sockaddr_in6 from;
	struct iovec iov = { data, sizeof data };
	struct msghdr m = { .msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &iov, .msg_iovlen = 1,
			    .msg_control = control, .msg_controllen = sizeof control };
	CHECK("queue", recvmsg(fd, &m, MSG_ERRQUEUE));
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	if (p.revents && c) {
		struct sock_extended_err e;
		memcpy(&e, CMSG_DATA(c), sizeof e);
		printf("level %d type %d len %zu: errno %u origin %u type %u code %u from %u to %u, flags %#x, name %u\n",
		       c->cmsg_level, c->cmsg_type, (size_t)c->cmsg_len, e.ee_errno, e.ee_origin, e.ee_type, e.ee_code, e.ee_info,
		       e.ee_data, m.msg_flags, m.msg_namelen);
	}
}

static void zerocopy(void)
{
	struct sockaddr_in a;
	int l = listener(&a), c = socket(AF_INET, SOCK_STREAM, 0), on = 1;
	connect(c, (struct sockaddr *)&a, sizeof a);
	int s = accept(l, NULL, NULL);
	static char data[30000], back[30000];
	CHECK("not asked for", send(c, data, sizeof data, MSG_ZEROCOPY));
	CHECK("read", recv(s, back, sizeof back, MSG_WAITALL));
	completion("none", c, 50);
	SHOW(setsockopt(c, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on));
	for (int i = 0; i < 2; i++) {
		CHECK("sent", send(c, data, sizeof data, MSG_ZEROCOPY));
		CHECK("read", recv(s, back, sizeof back, MSG_WAITALL));
		completion("free", c, 2000);
	}
	CHECK("plain", send(c, data, 10, 0));
	completion("none", c, 50);
	int u = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK("of AF_UNIX", setsockopt(u, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on));
	close(l), close(c), close(s), close(u);
}

static void deferred(void)
{
	struct sockaddr_in a;
	int l = listener(&a), seconds = 5;
	SHOW(setsockopt(l, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof seconds));
	int c = socket(AF_INET, SOCK_STREAM, 0);
	SHOW(connect(c, (struct sockaddr *)&a, sizeof a));
	struct pollfd p = { l, POLLIN, 0 };
	printf("without data: %d\n", poll(&p, 1, 100));
	fcntl(l, F_SETFL, O_NONBLOCK);
	CHECK("accept", accept(l, NULL, NULL));
	SHOW(send(c, "hello", 5, 0));
	printf("with data: %d\n", poll(&p, 1, 2000));
	int s = accept(l, NULL, NULL);
	char buf[10];
	CHECK("received", recv(s, buf, sizeof buf, 0));
	int quick = socket(AF_INET, SOCK_STREAM, 0);
	connect(quick, (struct sockaddr *)&a, sizeof a);
	send(quick, "now", 3, 0);
	printf("at once: %d\n", poll(&p, 1, 2000));
	close(accept(l, NULL, NULL));
	close(l), close(c), close(s), close(quick);
}

static int bound(struct sockaddr_in *a, uint32_t ip)
{
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	socklen_t len = sizeof *a;
	*a = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(ip) };
	bind(s, (struct sockaddr *)a, sizeof *a);
	getsockname(s, (struct sockaddr *)a, &len);
	return s;
}

static void from_address(const char *name, int s, struct sockaddr_in *to, int interface, uint32_t source, size_t len, int r)
{
	struct in_pktinfo info = { interface, { htonl(source) }, { 0 } };
	char control[CMSG_SPACE(sizeof info)] = { 0 };
	struct iovec iov = { "data", 4 };
	struct msghdr m = { .msg_name = to, .msg_namelen = sizeof *to, .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = sizeof control };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	*c = (struct cmsghdr){ CMSG_LEN(len), IPPROTO_IP, IP_PKTINFO };
	memcpy(CMSG_DATA(c), &info, sizeof info);
	CHECK(name, sendmsg(s, &m, 0));
	struct sockaddr_in from = { 0 };
	socklen_t flen = sizeof from;
	char buf[10];
	if (recvfrom(r, buf, sizeof buf, MSG_DONTWAIT, (struct sockaddr *)&from, &flen) > 0)
		printf("from %#x\n", ntohl(from.sin_addr.s_addr));
}

static void ways(void)
{
	struct sockaddr_in a, b;
	int r = bound(&a, INADDR_LOOPBACK), s = bound(&b, INADDR_ANY);
	from_address("as it is", s, &a, 0, 0, sizeof(struct in_pktinfo), r);
	from_address("another address", s, &a, 0, 0x7f000005, sizeof(struct in_pktinfo), r);
	from_address("over lo", s, &a, 1, 0x7f000006, sizeof(struct in_pktinfo), r);
	from_address("over nothing", s, &a, 999, 0, sizeof(struct in_pktinfo), r);
	from_address("somebody else's", s, &a, 0, 0x08080808, sizeof(struct in_pktinfo), r);
	from_address("short", s, &a, 0, 0, sizeof(struct in_pktinfo) - 1, r);
	close(r), close(s);
}

static void stamping(void)
{
	struct sockaddr_in a;
	int r = bound(&a, INADDR_LOOPBACK), flags = 0x18, invalid = 1 << 30;
	socklen_t len = 64;
	char value[64];
	SHOW(setsockopt(r, SOL_SOCKET, SO_TIMESTAMPING, &invalid, sizeof invalid));
	SHOW(setsockopt(r, SOL_SOCKET, SO_TIMESTAMPING, &flags, 3));
	SHOW(setsockopt(r, SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof flags));
	SHOW(getsockopt(r, SOL_SOCKET, SO_TIMESTAMPING, value, &len));
	memcpy(&flags, value, sizeof flags);
	printf("%u bytes: %#x\n", len, flags);
	/* Linux begins to stamp a little later. */
	usleep(200000);
	for (int i = 0; i < 2; i++) {
		char control[256], byte;
		struct iovec iov = { &byte, 1 };
		struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
		sendto(r, "x", 1, 0, (struct sockaddr *)&a, sizeof a);
		SHOW(recvmsg(r, &m, 0));
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
			struct timespec t[3] = { 0 }, now;
			memcpy(t, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0) < sizeof t ? c->cmsg_len - CMSG_LEN(0) : sizeof t);
			clock_gettime(CLOCK_REALTIME, &now);
			printf("level %d type %d len %zu, now %d, others %ld %ld\n", c->cmsg_level, c->cmsg_type, (size_t)c->cmsg_len,
			       now.tv_sec - t[0].tv_sec < 10, (long)t[1].tv_sec, (long)t[2].tv_sec);
		}
		int on = 1;
		setsockopt(r, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
	}
	close(r);
}

static void hardware(void)
{
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	struct ifreq r = { 0 };
	struct { uint32_t cmd, data[16]; } e = { 0x0a, { 0 } };
	strcpy(r.ifr_name, "lo");
	r.ifr_data = (void *)&e;
	CHECK("link", ioctl(s, SIOCETHTOOL, &r));
	printf("connected %u\n", e.data[0]);
	e.cmd = 0x41;
	CHECK("stamps", ioctl(s, SIOCETHTOOL, &r));
	printf("software %d, clock %d\n", (e.data[0] & 0x18) == 0x18, (int)e.data[1]);
	e.cmd = 0x7777;
	CHECK("unknown", ioctl(s, SIOCETHTOOL, &r));
	r.ifr_data = (void *)8;
	CHECK("nowhere", ioctl(s, SIOCETHTOOL, &r));
	strcpy(r.ifr_name, "nosuch");
	CHECK("no interface", ioctl(s, SIOCETHTOOL, &r));
	close(s);
}

static void levels(void)
{
	static const int families[] = { AF_INET, AF_INET6, AF_UNIX }, kinds[] = { SOCK_STREAM, SOCK_DGRAM };
	static const int all[] = { 2, 9999, -1, SOL_UDP, SOL_TCP, SOL_RAW, SOL_PACKET };
	for (int f = 0; f < 3; f++)
		for (int k = 0; k < 2; k++)
			for (unsigned l = 0; l < sizeof all / sizeof *all; l++) {
				int s = socket(families[f], kinds[k], 0), value = 0;
				socklen_t len = sizeof value;
				printf("%d %d level %d: get %s", f, k, all[l],
				       getsockopt(s, all[l], 999, &value, &len) ? strerrorname_np(errno) : "0");
				printf(" set %s\n", setsockopt(s, all[l], 999, &value, sizeof value) ? strerrorname_np(errno) : "0");
				close(s);
			}
}

int main(void)
{
	peers();
	passing(SOCK_STREAM);
	passing(SOCK_DGRAM);
	zerocopy();
	deferred();
	ways();
	stamping();
	hardware();
	levels();
	return 0;
}
