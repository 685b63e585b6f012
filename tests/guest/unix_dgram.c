/* unix(7) datagram sockets and ancillary data. */
#include "common.h"
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

static char buf[1 << 18];

static void show_poll(const char *name, int fd)
{
	struct pollfd p = { fd, POLLIN | POLLOUT | POLLRDHUP, 0 };
	int n = poll(&p, 1, 0);
	printf("%s: %d %#x\n", name, n, p.revents);
}

static socklen_t abstract(struct sockaddr_un *a, const char *name)
{
	memset(a, 0, sizeof *a);
	a->sun_family = AF_UNIX;
	snprintf(a->sun_path + 1, sizeof a->sun_path - 1, "%s-%d", name, getpid());
	return offsetof(struct sockaddr_un, sun_path) + 1 + strlen(a->sun_path + 1);
}

static void datagrams(void)
{
	struct sockaddr_un a, b, from;
	socklen_t alen = abstract(&a, "server"), blen = abstract(&b, "client"), flen;
	int s = socket(AF_UNIX, SOCK_DGRAM, 0), c = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0), n;
	show_poll("fresh", s);
	CHECK("not connected", send(c, "x", 1, 0));
	CHECK("nobody", sendto(c, "x", 1, 0, (struct sockaddr *)&a, alen));
	CHECK("nobody", connect(c, (struct sockaddr *)&a, alen));
	SHOW(listen(s, 1));
	SHOW(accept(s, NULL, NULL));
	SHOW(bind(s, (struct sockaddr *)&a, alen));
	SHOW(bind(c, (struct sockaddr *)&b, blen));
	SHOW(sendto(c, "hello", 5, 0, (struct sockaddr *)&a, alen));
	SHOW(sendto(c, "", 0, 0, (struct sockaddr *)&a, alen));
	SHOW(ioctl(s, FIONREAD, &n));
	printf("FIONREAD %d\n", n);
	flen = sizeof from;
	SHOW(recvfrom(s, buf, 3, MSG_TRUNC, (struct sockaddr *)&from, &flen));
	TRUE("sender", flen == blen && memcmp(&from, &b, blen) == 0);
	SHOW(recv(s, buf, 3, 0));
	SHOW(recv(s, buf, 3, MSG_DONTWAIT));
	SHOW(connect(c, (struct sockaddr *)&a, alen));
	int sent = 0;
	while (send(c, "x", 1, 0) == 1)
		sent++;
	printf("fit into the queue: %d\n", sent);
	show_poll("queue is full", c);
	recv(s, buf, 1, 0);
	show_poll("room again", c);
	SHOW(send(c, buf, sizeof buf, 0));
	int third = socket(AF_UNIX, SOCK_DGRAM, 0);
	SHOW(connect(s, (struct sockaddr *)&b, blen));
	CHECK("connected elsewhere", sendto(third, "x", 1, 0, (struct sockaddr *)&a, alen));
	SHOW(shutdown(c, SHUT_RD));
	CHECK("reader has shut", send(s, "x", 1, 0));
	SHOW(shutdown(c, SHUT_WR));
	CHECK("own shut", send(c, "x", 1, 0));
	close(c);
	SHOW(send(s, "x", 1, 0));
	SHOW(send(s, "x", 1, 0));
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	SHOW(connect(s, &none, sizeof none));
	struct timeval tv = { 0, 20000 };
	int p[2];
	MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, p));
	setsockopt(p[0], SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
	int v = 5000;
	setsockopt(p[0], SOL_SOCKET, SO_SNDBUF, &v, sizeof v);
	while (send(p[0], "x", 1, 0) == 1)
		;
	CHECK("send timed out", -1);
	SHOW(write(p[0], "x", 1));
}

static long send_fds(int s, int *fds, int n, const char *data, int len)
{
	char control[CMSG_SPACE(300 * sizeof(int))] = { 0 };
	struct iovec iov = { (void *)data, len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	return sendmsg(s, &m, 0);
}

static void show_recv(const char *name, int s, int room, int flags, int *out)
{
	char control[512];
	struct iovec iov = { buf, 100 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = room };
	errno = 0;
	long n = recvmsg(s, &m, flags);
	printf("%s: %ld %s flags %#x control %d:", name, n, n < 0 ? strerrorname_np(errno) : "-", n < 0 ? 0 : m.msg_flags,
	       n < 0 ? 0 : (int)m.msg_controllen);
	for (struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		printf(" [%d %d len %d", c->cmsg_level, c->cmsg_type, (int)c->cmsg_len);
		if (c->cmsg_type == SCM_RIGHTS) {
			int fds[64], count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
			memcpy(fds, CMSG_DATA(c), count * sizeof(int));
			for (int i = 0; i < count; i++) {
				printf(" cloexec %d", fcntl(fds[i], F_GETFD));
				if (out)
					out[i] = fds[i];
				else
					close(fds[i]);
			}
		} else if (c->cmsg_type == SCM_CREDENTIALS) {
			struct ucred u;
			memcpy(&u, CMSG_DATA(c), sizeof u);
			printf(" own %d", u.pid == getpid() && u.uid == getuid() && u.gid == getgid());
		}
		printf("]");
	}
	printf("\n");
}

static void rights(int type)
{
	int s[2], p[2], got[64], fds[300];
	printf("-- rights, type %d\n", type);
	MUST(socketpair(AF_UNIX, type, 0, s));
	MUST(pipe(p));
	SHOW(send_fds(s[0], p, 2, "ab", 2));
	show_recv("peek", s[1], 512, MSG_PEEK, NULL);
	show_recv("two", s[1], 512, MSG_CMSG_CLOEXEC, got);
	SHOW(write(got[1], "through", 7));
	SHOW(read(p[0], buf, 10));
	SHOW(send_fds(s[0], p, 2, "cd", 2));
	show_recv("room for one", s[1], CMSG_LEN(sizeof(int)), 0, NULL);
	SHOW(send_fds(s[0], p, 1, "ef", 2));
	show_recv("no room", s[1], 0, 0, NULL);
	SHOW(send_fds(s[0], p, 1, "gh", 2));
	SHOW(read(s[1], buf, 1));
	show_recv("rest", s[1], 512, MSG_DONTWAIT, NULL);
	p[1] = 999;
	SHOW(send_fds(s[0], p, 2, "ij", 2));
	for (int i = 0; i < 300; i++)
		fds[i] = p[0];
	SHOW(send_fds(s[0], fds, 254, "kl", 2));
	SHOW(send(s[0], "one", 3, 0));
	SHOW(send_fds(s[0], fds, 1, "two", 3));
	SHOW(send(s[0], "three", 5, 0));
	show_recv("first", s[1], 512, MSG_DONTWAIT, NULL);
	show_recv("second", s[1], 512, MSG_DONTWAIT, NULL);
	show_recv("third", s[1], 512, MSG_DONTWAIT, NULL);
	int on = 1;
	setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
	SHOW(send(s[0], "cred", 4, 0));
	show_recv("credentials", s[1], 512, 0, NULL);
	SHOW(send_fds(s[0], fds, 1, "both", 4));
	show_recv("both", s[1], 512, 0, NULL);
	SHOW(send(s[0], "cred", 4, 0));
	show_recv("little room", s[1], 20, 0, NULL);
	/* A socket in its own queue must not keep anything alive or crash. */
	SHOW(send_fds(s[0], &s[1], 1, "cycle", 5));
	close(s[0]);
	close(s[1]);
}

int main(void)
{
	signal(SIGPIPE, SIG_DFL);
	datagrams();
	rights(SOCK_STREAM);
	rights(SOCK_DGRAM);
	rights(SOCK_SEQPACKET);
	int s[2];
	MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
	struct mmsghdr m[3] = { 0 };
	struct iovec iov[3] = { { "a", 1 }, { "bb", 2 }, { "ccc", 3 } };
	for (int i = 0; i < 3; i++)
		m[i].msg_hdr = (struct msghdr){ .msg_iov = &iov[i], .msg_iovlen = 1 };
	SHOW(sendmmsg(s[0], m, 3, 0));
	printf("lengths %d %d %d\n", m[0].msg_len, m[1].msg_len, m[2].msg_len);
	char in[3][8];
	for (int i = 0; i < 3; i++)
		iov[i] = (struct iovec){ in[i], 8 };
	SHOW(recvmmsg(s[1], m, 3, MSG_WAITFORONE, NULL));
	printf("lengths %d %d %d\n", m[0].msg_len, m[1].msg_len, m[2].msg_len);
	SHOW(recvmmsg(s[1], m, 3, MSG_DONTWAIT, NULL));
	return 0;
}
