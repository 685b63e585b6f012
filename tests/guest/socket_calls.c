/* Sockets: errors of each call, by descriptors that are none, by bad pointers, flags and states. */
#include "common.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

static void creation(void)
{
	int s[2];

	SHOW(socket(0, SOCK_STREAM, 0));
	SHOW(socket(99, SOCK_STREAM, 0));
	SHOW(socket(-1, SOCK_STREAM, 0));
	SHOW(socket(AF_UNIX, 99, 0));
	SHOW(socket(AF_UNIX, SOCK_STREAM, 9));
	SHOW(socket(AF_UNIX, SOCK_STREAM | 0x100, 0));
	SHOW(socket(AF_UNIX, SOCK_RDM, 0));
	SHOW(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
	SHOW(socket(AF_INET, SOCK_DGRAM, IPPROTO_TCP));
	SHOW(socket(AF_INET, SOCK_STREAM, 300));
	SHOW(socket(AF_INET, SOCK_STREAM, -1));
	SHOW(socket(AF_INET, 0, 0));
	SHOW(socket(AF_INET, 11, 0));
	SHOW(socket(AF_INET, SOCK_SEQPACKET, 0));
	SHOW(socketpair(AF_INET, SOCK_STREAM, 0, s));
	SHOW(socketpair(AF_UNIX, 99, 0, s));
	SHOW(socketpair(AF_UNIX, SOCK_STREAM, 5, s));
	SHOW(socketpair(AF_UNIX, SOCK_STREAM | 0x100, 0, s));
	SHOW(socketpair(99, SOCK_STREAM, 0, s));
	SHOW(socketpair(AF_UNIX, SOCK_STREAM, 0, (void *)8));
	SHOW(open("x", O_RDONLY));
}

static void unconnected(const char *name, int s, int is_inet)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_storage ss;
	socklen_t len = sizeof ss;
	char c = 'x';
	int n;

	printf("-- %s\n", name);
	SHOW(send(s, &c, 1, MSG_NOSIGNAL));
	SHOW(sendto(s, &c, 1, MSG_NOSIGNAL, (void *)&a, 3));
	SHOW(sendto(s, &c, 1, MSG_NOSIGNAL, (void *)8, sizeof a));
	SHOW(sendto(s, &c, 1, MSG_NOSIGNAL, (void *)&a, 1000));
	SHOW(recv(s, &c, 1, MSG_DONTWAIT));
	if (is_inet)
		SHOW(recv(s, &c, 1, MSG_DONTWAIT | MSG_OOB));
	SHOW(getpeername(s, (void *)&ss, &len));
	SHOW(getpeername(s, (void *)8, &len));
	len = -1;
	SHOW(getsockname(s, (void *)&ss, &len));
	len = sizeof ss;
	SHOW(getsockname(s, (void *)8, &len));
	SHOW(getsockname(s, (void *)&ss, (void *)8));
	SHOW(accept4(s, NULL, NULL, SOCK_NONBLOCK | 0x100));
	SHOW(shutdown(s, 3));
	SHOW(shutdown(s, -1));
	SHOW(shutdown(s, SHUT_WR));
	SHOW(getsockopt(s, SOL_SOCKET, SO_TYPE, &n, (void *)8));
	len = sizeof n;
	SHOW(getsockopt(s, SOL_SOCKET, SO_TYPE, (void *)8, &len));
	len = -1;
	SHOW(getsockopt(s, SOL_SOCKET, SO_TYPE, &n, &len));
	len = sizeof n;
	SHOW(getsockopt(s, SOL_SOCKET, 9999, &n, &len));
	SHOW(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &n, 2));
	SHOW(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, (void *)8, 4));
	SHOW(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, NULL, 4));
	SHOW(setsockopt(s, SOL_SOCKET, 9999, &n, 4));
	SHOW(setsockopt(s, SOL_SOCKET, SO_TYPE, &n, 4));
	SHOW(setsockopt(s, SOL_SOCKET, SO_ERROR, &n, 4));
	SHOW(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &n, 4));
	struct timeval bad = { 0, 1000000 };
	SHOW(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &bad, sizeof bad));
	struct linger linger = { 1, 5 };
	SHOW(setsockopt(s, SOL_SOCKET, SO_LINGER, &linger, 4));
	SHOW(setsockopt(s, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
	SHOW(setsockopt(s, 9999, 1, &n, 4));
	SHOW(bind(s, (void *)8, 16));
	SHOW(bind(s, (void *)&ss, -1));
	SHOW(bind(s, (void *)&ss, 1000));
	SHOW(connect(s, (void *)8, 16));
	SHOW(connect(s, (void *)&ss, 1000));
	struct msghdr m = { 0 };
	struct iovec v = { &c, 1 };
	SHOW(recvmsg(s, (void *)8, MSG_DONTWAIT));
	SHOW(sendmsg(s, (void *)8, MSG_NOSIGNAL));
	m.msg_iov = (void *)8;
	m.msg_iovlen = 1;
	SHOW(recvmsg(s, &m, MSG_DONTWAIT));
	m.msg_iov = &v;
	m.msg_iovlen = 5000;
	SHOW(recvmsg(s, &m, MSG_DONTWAIT));
	SHOW(sendmsg(s, &m, MSG_NOSIGNAL));
	m.msg_iovlen = 1;
	m.msg_control = &c;
	m.msg_controllen = -1;
	SHOW(sendmsg(s, &m, MSG_NOSIGNAL));
	v.iov_len = -1;
	m.msg_controllen = 0;
	SHOW(sendmsg(s, &m, MSG_NOSIGNAL));
	SHOW(lseek(s, 0, SEEK_SET));
	SHOW(pread(s, &c, 1, 0));
	SHOW(ftruncate(s, 0));
	SHOW(fsync(s));
	close(s);
}

static void descriptors(const char *name, int fd)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	struct msghdr m = { 0 };
	socklen_t len = sizeof a;
	char c;
	int n = 0;

	printf("-- %s\n", name);
	SHOW(bind(fd, (void *)&a, sizeof a));
	SHOW(listen(fd, 1));
	SHOW(accept(fd, NULL, NULL));
	SHOW(accept4(fd, NULL, NULL, 0x100));
	SHOW(connect(fd, (void *)&a, sizeof a));
	SHOW(getsockname(fd, (void *)&a, &len));
	SHOW(getpeername(fd, (void *)&a, &len));
	SHOW(send(fd, &c, 1, 0));
	SHOW(recv(fd, &c, 1, 0));
	SHOW(sendmsg(fd, &m, 0));
	SHOW(recvmsg(fd, &m, 0));
	SHOW(shutdown(fd, 0));
	SHOW(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &n, 4));
	SHOW(getsockopt(fd, SOL_SOCKET, SO_TYPE, &n, &len));
	SHOW(sendmmsg(fd, (void *)8, 1, 0));
	SHOW(recvmmsg(fd, (void *)8, 1, 0, NULL));
}

static void tcp(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) }, b = a;
	socklen_t len = sizeof a;
	int l = socket(AF_INET, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM, 0), s, n;
	char x;

	puts("-- tcp");
	SHOW(accept(l, NULL, NULL));
	SHOW(bind(l, (void *)&a, 8));
	b.sin_family = AF_INET6;
	SHOW(bind(l, (void *)&b, sizeof b));
	b.sin_family = 99;
	SHOW(bind(l, (void *)&b, sizeof b));
	SHOW(connect(c, (void *)&b, sizeof b));
	SHOW(connect(c, (void *)&b, 8));
	b = a;
	b.sin_addr.s_addr = htonl(0x08080808);
	SHOW(bind(l, (void *)&b, sizeof b));
	SHOW(bind(l, (void *)&a, sizeof a));
	SHOW(bind(l, (void *)&a, sizeof a));
	MUST(getsockname(l, (void *)&a, &len));
	SHOW(connect(c, (void *)&a, sizeof a));
	close(c);
	SHOW(listen(l, 5));
	SHOW(listen(l, 7));
	c = socket(AF_INET, SOCK_STREAM, 0);
	SHOW(bind(c, (void *)&a, sizeof a));
	SHOW(connect(l, (void *)&a, sizeof a));
	SHOW(connect(c, (void *)&a, sizeof a));
	SHOW(connect(c, (void *)&a, sizeof a));
	SHOW(listen(c, 1));
	WORKS("accept to a bad place", accept(l, (void *)8, &len));
	close(c);
	c = socket(AF_INET, SOCK_STREAM, 0);
	MUST(connect(c, (void *)&a, sizeof a));
	len = -1;
	SHOW(accept(l, (void *)&b, &len));
	close(c);
	c = socket(AF_INET, SOCK_STREAM, 0);
	MUST(connect(c, (void *)&a, sizeof a));
	len = 3;
	s = accept(l, (void *)&b, &len);
	printf("length %d\n", len);
	SHOW(bind(c, (void *)&a, sizeof a));
	SHOW(sendto(c, "x", 1, 0, (void *)&a, sizeof a));
	SHOW(recv(s, &x, 1, 0));
	SHOW(recv(s, &x, 1, MSG_OOB));
	SHOW(send(c, (void *)8, 1, MSG_NOSIGNAL));
	SHOW(recv(s, (void *)8, 1, MSG_DONTWAIT));
	MUST(send(c, "y", 1, 0));
	sleep_ms(20);
	SHOW(recv(s, (void *)8, 1, 0));
	SHOW(recv(s, &x, 1, MSG_PEEK));
	SHOW(recv(s, &x, 1, MSG_TRUNC));
	n = 9999;
	SHOW(setsockopt(c, IPPROTO_TCP, TCP_MAXSEG, &n, sizeof n) == -1);
	SHOW(setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &n, 1));
	SHOW(setsockopt(c, IPPROTO_TCP, 9999, &n, sizeof n));
	SHOW(setsockopt(c, IPPROTO_TCP, TCP_KEEPIDLE, &n, sizeof n));
	n = 0;
	SHOW(setsockopt(c, IPPROTO_TCP, TCP_KEEPIDLE, &n, sizeof n));
	SHOW(setsockopt(c, IPPROTO_TCP, TCP_KEEPINTVL, &n, sizeof n));
	SHOW(setsockopt(c, IPPROTO_TCP, TCP_KEEPCNT, &n, sizeof n));
	n = -2;
	SHOW(setsockopt(c, IPPROTO_IP, IP_TTL, &n, sizeof n));
	n = 256;
	SHOW(setsockopt(c, IPPROTO_IP, IP_TTL, &n, sizeof n));
	SHOW(setsockopt(c, IPPROTO_IP, 9999, &n, sizeof n));
	SHOW(shutdown(c, SHUT_WR));
	SHOW(send(c, "z", 1, MSG_NOSIGNAL));
	SHOW(shutdown(c, SHUT_WR));
	SHOW(recv(s, &x, 1, 0));
	close(s);
	close(c);
	close(l);
}

int main(void)
{
	int p[2], file = open("f", O_RDWR | O_CREAT, 0600), path = open("f", O_PATH);

	MUST(pipe(p));
	creation();
	unconnected("unix stream", socket(AF_UNIX, SOCK_STREAM, 0), 0);
	unconnected("unix datagram", socket(AF_UNIX, SOCK_DGRAM, 0), 0);
	unconnected("unix seqpacket", socket(AF_UNIX, SOCK_SEQPACKET, 0), 0);
	unconnected("tcp", socket(AF_INET, SOCK_STREAM, 0), 1);
	unconnected("udp", socket(AF_INET, SOCK_DGRAM, 0), 1);
	unconnected("tcp 6", socket(AF_INET6, SOCK_STREAM, 0), 1);
	unconnected("udp 6", socket(AF_INET6, SOCK_DGRAM, 0), 1);
	descriptors("none", -1);
	descriptors("file", file);
	descriptors("path", path);
	descriptors("pipe", p[0]);
	tcp();
	return 0;
}
