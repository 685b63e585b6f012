/* udp(7) over the loopback interface. */
#include "common.h"
#include <arpa/inet.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static char buf[1 << 17];

static void show_poll(const char *name, int fd)
{
	struct pollfd p = { fd, POLLIN | POLLOUT | POLLRDHUP, 0 };
	int n = poll(&p, 1, 0);
	printf("%s: %d %#x\n", name, n, p.revents);
}

static int bound(struct sockaddr_in *a)
{
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	socklen_t len = sizeof *a;
	*a = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	MUST(bind(s, (struct sockaddr *)a, len));
	MUST(getsockname(s, (struct sockaddr *)a, &len));
	return s;
}

int main(void)
{
	struct sockaddr_in a, b, from;
	socklen_t len;
	int n, s = bound(&a), c = socket(AF_INET, SOCK_DGRAM, 0);
	show_poll("fresh", c);
	CHECK("no address", send(c, "x", 1, 0));
	int e = socket(AF_INET, SOCK_DGRAM, 0);
	SHOW(shutdown(e, SHUT_RDWR));
	show_poll("shut though not connected", e);
	CHECK("shut though not connected", sendto(e, "x", 1, MSG_NOSIGNAL, (struct sockaddr *)&a, sizeof a));
	close(e);
	len = sizeof from;
	SHOW(getpeername(c, (struct sockaddr *)&from, &len));
	SHOW(listen(c, 1));
	SHOW(accept(c, NULL, NULL));
	SHOW(sendto(c, "hello", 5, 0, (struct sockaddr *)&a, sizeof a));
	SHOW(sendto(c, "", 0, 0, (struct sockaddr *)&a, sizeof a));
	SHOW(ioctl(s, FIONREAD, &n));
	printf("FIONREAD %d\n", n);
	show_poll("readable", s);
	len = sizeof from;
	SHOW(recvfrom(s, buf, 3, MSG_TRUNC | MSG_PEEK, (struct sockaddr *)&from, &len));
	printf("from %s len %d\n", inet_ntoa(from.sin_addr), (int)len);
	SHOW(recv(s, buf, 3, 0));
	SHOW(recv(s, buf, 3, 0));
	SHOW(recv(s, buf, 3, MSG_DONTWAIT));
	CHECK("too long", sendto(c, buf, 65508, 0, (struct sockaddr *)&a, sizeof a));
	SHOW(sendto(c, buf, 65507, 0, (struct sockaddr *)&a, sizeof a));
	SHOW(recv(s, buf, sizeof buf, 0));
	CHECK("short address", sendto(c, "x", 1, 0, (struct sockaddr *)&a, 8));
	b = a;
	b.sin_port = 0;
	CHECK("port 0", sendto(c, "x", 1, 0, (struct sockaddr *)&b, sizeof b));
	int d = bound(&b);
	close(d);
	CHECK("nobody hears", sendto(c, "x", 1, 0, (struct sockaddr *)&b, sizeof b));
	CHECK("and nobody tells", sendto(c, "x", 1, 0, (struct sockaddr *)&b, sizeof b));
	SHOW(connect(c, (struct sockaddr *)&b, sizeof b));
	SHOW(send(c, "x", 1, 0));
	show_poll("refused", c);
	SHOW(send(c, "x", 1, 0));
	SHOW(recv(c, buf, 1, MSG_DONTWAIT));
	SHOW(connect(c, (struct sockaddr *)&a, sizeof a));
	SHOW(send(c, "again", 5, 0));
	SHOW(recv(s, buf, 10, 0));
	int other = bound(&b);
	struct sockaddr_in own;
	len = sizeof own;
	getsockname(c, (struct sockaddr *)&own, &len);
	SHOW(sendto(other, "stranger", 8, 0, (struct sockaddr *)&own, sizeof own));
	SHOW(recv(c, buf, 10, MSG_DONTWAIT));
	SHOW(sendto(s, "friend", 6, 0, (struct sockaddr *)&own, sizeof own));
	SHOW(recv(c, buf, 10, MSG_DONTWAIT));
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	SHOW(connect(c, &none, sizeof none));
	CHECK("disconnected", send(c, "x", 1, 0));
	SHOW(connect(c, (struct sockaddr *)&a, sizeof a));
	SHOW(shutdown(c, SHUT_RD));
	show_poll("shut for reading", c);
	SHOW(recv(c, buf, 1, 0));
	int x = socket(AF_INET, SOCK_DGRAM, 0);
	CHECK("in use", bind(x, (struct sockaddr *)&a, sizeof a));
	int on = 1;
	SHOW(setsockopt(s, IPPROTO_IP, IP_PKTINFO, &on, sizeof on));
	SHOW(setsockopt(s, IPPROTO_IP, IP_RECVTTL, &on, sizeof on));
	sendto(other, "info", 4, 0, (struct sockaddr *)&a, sizeof a);
	char control[256];
	struct iovec iov = { buf, 100 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	SHOW(recvmsg(s, &m, 0));
	for (struct cmsghdr *k = CMSG_FIRSTHDR(&m); k; k = CMSG_NXTHDR(&m, k)) {
		printf("control %d %d len %d", k->cmsg_level, k->cmsg_type, (int)k->cmsg_len);
		if (k->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo *info = (void *)CMSG_DATA(k);
			printf(" %d %s", info->ipi_ifindex, inet_ntoa(info->ipi_addr));
			printf(" %s", inet_ntoa(info->ipi_spec_dst));
		} else {
			printf(" %d", *(int *)CMSG_DATA(k));
		}
		printf("\n");
	}
	struct timeval tv = { 0, 30000 };
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	CHECK("timed out", recv(s, buf, 1, 0));
	int six = socket(AF_INET6, SOCK_DGRAM, 0);
	struct sockaddr_in6 sa6 = { .sin6_family = AF_INET6 }, from6;
	SHOW(bind(six, (struct sockaddr *)&sa6, sizeof sa6));
	len = sizeof sa6;
	getsockname(six, (struct sockaddr *)&sa6, &len);
	a.sin_port = sa6.sin6_port;
	SHOW(sendto(other, "mapped", 6, 0, (struct sockaddr *)&a, sizeof a));
	len = sizeof from6;
	char text[64];
	SHOW(recvfrom(six, buf, 100, 0, (struct sockaddr *)&from6, &len));
	printf("%s len %d\n", inet_ntop(AF_INET6, &from6.sin6_addr, text, 64), (int)len);
	return 0;
}
