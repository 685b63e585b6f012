/* unix(7) stream and seqpacket sockets. */
#include "common.h"
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

static char buf[1 << 20];

static void show_poll(const char *name, int fd)
{
	struct pollfd p = { fd, POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM | POLLWRBAND | POLLRDHUP | POLLPRI, 0 };
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

static void pair(int type)
{
	int s[2], n = 0;
	printf("-- type %d\n", type);
	MUST(socketpair(AF_UNIX, type, 0, s));
	show_poll("fresh", s[0]);
	SHOW(send(s[0], "hello", 5, 0));
	SHOW(send(s[0], "world", 5, 0));
	SHOW(ioctl(s[1], FIONREAD, &n));
	printf("FIONREAD %d\n", n);
	SHOW(recv(s[1], buf, 3, MSG_PEEK));
	SHOW(recv(s[1], buf, 3, 0));
	SHOW(recv(s[1], buf, 100, 0));
	SHOW(recv(s[1], buf, 100, MSG_DONTWAIT));
	SHOW(shutdown(s[0], 9));
	SHOW(shutdown(s[0], SHUT_WR));
	show_poll("shut for writing", s[0]);
	show_poll("its peer", s[1]);
	SHOW(recv(s[1], buf, 10, 0));
	SHOW(send(s[0], "x", 1, MSG_NOSIGNAL));
	SHOW(send(s[1], "back", 4, 0));
	SHOW(read(s[0], buf, 10));
	SHOW(send(s[1], "unread", 6, 0));
	close(s[0]);
	show_poll("peer closed", s[1]);
	SHOW(send(s[1], "x", 1, MSG_NOSIGNAL));
	SHOW(recv(s[1], buf, 10, 0));
	SHOW(recv(s[1], buf, 10, 0));
	show_poll("after the reset", s[1]);
	close(s[1]);
	MUST(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, s));
	memset(buf, 'a', sizeof buf);
	SHOW(recv(s[0], buf, 1, 0));
	IN_CHILD("write to a closed peer", close(s[1]); write(s[0], "x", 1));
	close(s[0]);
	close(s[1]);
}

static void server(int type)
{
	struct sockaddr_un a, b;
	socklen_t len = abstract(&a, "stream"), blen;
	int l = socket(AF_UNIX, type, 0);
	printf("-- server of type %d\n", type);
	show_poll("unconnected", l);
	SHOW(listen(l, 1));
	SHOW(accept(l, NULL, NULL));
	SHOW(recv(l, buf, 1, MSG_DONTWAIT));
	SHOW(send(l, "x", 1, MSG_NOSIGNAL));
	SHOW(connect(l, (struct sockaddr *)&a, len));
	SHOW(bind(l, (struct sockaddr *)&a, len));
	SHOW(bind(l, (struct sockaddr *)&a, len));
	int other = socket(AF_UNIX, type, 0);
	CHECK("name is taken", bind(other, (struct sockaddr *)&a, len));
	CHECK("not listening", connect(other, (struct sockaddr *)&a, len));
	SHOW(listen(l, 0));
	show_poll("listening", l);
	int c = socket(AF_UNIX, type | SOCK_NONBLOCK, 0), d = socket(AF_UNIX, type | SOCK_NONBLOCK, 0);
	SHOW(connect(c, (struct sockaddr *)&a, len));
	SHOW(connect(c, (struct sockaddr *)&a, len));
	SHOW(connect(d, (struct sockaddr *)&a, len));
	show_poll("connection waits", l);
	SHOW(send(c, "early", 5, 0));
	blen = sizeof b;
	int s = accept(l, (struct sockaddr *)&b, &blen);
	TRUE("accepted", s >= 0);
	printf("peer name %d\n", (int)blen);
	SHOW(connect(d, (struct sockaddr *)&a, len));
	SHOW(recv(s, buf, 10, 0));
	blen = sizeof b;
	SHOW(getsockname(s, (struct sockaddr *)&b, &blen));
	TRUE("own name is the listener's", blen == len && memcmp(&a, &b, len) == 0);
	blen = 1;
	SHOW(getpeername(c, (struct sockaddr *)&b, &blen));
	TRUE("whole length is told", blen == len);
	struct ucred cred;
	blen = sizeof cred;
	SHOW(getsockopt(c, SOL_SOCKET, SO_PEERCRED, &cred, &blen));
	TRUE("peer is this process", cred.pid == getpid() && cred.uid == getuid() && cred.gid == getgid());
	close(l);
	show_poll("never accepted", d);
	SHOW(recv(d, buf, 1, 0));
	SHOW(recv(d, buf, 1, 0));
	close(s);
	SHOW(recv(c, buf, 1, 0));
	int e = socket(AF_UNIX, type, 0);
	CHECK("listener is gone", connect(e, (struct sockaddr *)&a, len));
	a.sun_family = AF_INET;
	CHECK("wrong family", connect(e, (struct sockaddr *)&a, len));
	close(c); close(d); close(e); close(other);
}

static void paths(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX }, b;
	socklen_t len = sizeof a, blen = sizeof b;
	snprintf(a.sun_path, sizeof a.sun_path, "/tmp/sock-%d", getpid());
	int l = socket(AF_UNIX, SOCK_STREAM, 0), c = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK("no such path", connect(c, (struct sockaddr *)&a, len));
	SHOW(bind(l, (struct sockaddr *)&a, len));
	struct stat st;
	SHOW(stat(a.sun_path, &st));
	TRUE("is a socket", S_ISSOCK(st.st_mode));
	WORKS("open", open(a.sun_path, O_RDWR));
	int x = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK("path exists", bind(x, (struct sockaddr *)&a, len));
	SHOW(listen(l, 5));
	SHOW(connect(c, (struct sockaddr *)&a, len));
	SHOW(getsockname(l, (struct sockaddr *)&b, &blen));
	printf("length %d\n", (int)blen - (int)strlen(a.sun_path));
	int d = socket(AF_UNIX, SOCK_DGRAM, 0);
	CHECK("wrong type", connect(d, (struct sockaddr *)&a, len));
	close(l);
	CHECK("nobody behind the path", connect(x, (struct sockaddr *)&a, len));
	SHOW(unlink(a.sun_path));
	strcpy(a.sun_path, "/etc/passwd");
	CHECK("not a socket", connect(x, (struct sockaddr *)&a, len));
	a.sun_path[0] = 0;
	CHECK("autobind", bind(x, (struct sockaddr *)&a, sizeof(sa_family_t)));
	blen = sizeof b;
	getsockname(x, (struct sockaddr *)&b, &blen);
	printf("autobound length %d first %d\n", (int)blen, b.sun_path[0]);
}

static void large(void)
{
	int s[2], status;
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	pid_t pid = fork();
	if (pid == 0) {
		close(s[0]);
		long total = 0, n;
		while ((n = recv(s[1], buf, 70000, MSG_WAITALL)) > 0) {
			total += n;
			if (n < 70000 && total < 1 << 20)
				_exit(2);
		}
		_exit(total == 1 << 20 ? 7 : 1);
	}
	close(s[1]);
	SHOW(send(s[0], buf, 1 << 20, 0));
	close(s[0]);
	waitpid(pid, &status, 0);
	report_status("reader of a large send", status);
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	struct timeval tv = { 0, 30000 };
	SHOW(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	SHOW(recv(s[0], buf, 1, 0));
	SHOW(read(s[0], buf, 1));
	int v;
	socklen_t l = sizeof v;
	SHOW(getsockopt(s[0], SOL_SOCKET, SO_TYPE, &v, &l));
	printf("type %d len %d\n", v, (int)l);
	getsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &v, &l);
	printf("sndbuf %d\n", v);
	v = 1000;
	SHOW(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &v, sizeof v));
	getsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &v, &l);
	printf("sndbuf %d\n", v);
	getsockopt(s[0], SOL_SOCKET, SO_DOMAIN, &v, &l);
	printf("domain %d\n", v);
	SHOW(getsockopt(s[0], SOL_SOCKET, 9999, &v, &l));
	SHOW(setsockopt(s[0], SOL_SOCKET, SO_TYPE, &v, sizeof v));
	SHOW(setsockopt(s[0], SOL_SOCKET, SO_REUSEADDR, &v, 2));
	SHOW(getsockopt(s[0], 77, 1, &v, &l));
}

int main(void)
{
	int s[2];
	signal(SIGPIPE, SIG_DFL);
	WORKS("bad type", socket(AF_UNIX, 9, 0));
	WORKS("bad protocol", socket(AF_UNIX, SOCK_STREAM, 5));
	WORKS("bad family", socket(99, SOCK_STREAM, 0));
	WORKS("bad flags", socket(AF_UNIX, SOCK_STREAM | 0x10, 0));
	SHOW(socketpair(AF_INET, SOCK_STREAM, 0, s));
	SHOW(getsockname(0x7000, NULL, NULL));
	int p[2];
	MUST(pipe(p));
	CHECK("not a socket", listen(p[0], 1));
	pair(SOCK_STREAM);
	pair(SOCK_SEQPACKET);
	server(SOCK_STREAM);
	server(SOCK_SEQPACKET);
	paths();
	large();
	return 0;
}
