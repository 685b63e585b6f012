/* network_namespaces(7): unshare, clone and setns; what each namespace has of its own. */
#include "common.h"
#include <arpa/inet.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif
#ifndef SIOCGSKNS
#define SIOCGSKNS 0x894C
#endif

static ino_t number(const char *path)
{
	struct stat st;

	return stat(path, &st) ? 0 : st.st_ino;
}

static uint64_t cookie(int s)
{
	uint64_t value = 0;
	socklen_t len = sizeof value;

	SHOW(getsockopt(s, SOL_SOCKET, SO_NETNS_COOKIE, &value, &len));
	return value;
}

static void bound(const char *what, int s, unsigned ip, int port)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(ip) };

	CHECK(what, bind(s, (struct sockaddr *)&in, sizeof in));
}

static int abstract(const char *what, int connects)
{
	struct sockaddr_un un = { AF_UNIX, "\0netns-test" };
	socklen_t len = offsetof(struct sockaddr_un, sun_path) + 11;
	int s = socket(AF_UNIX, SOCK_STREAM, 0);

	if (connects)
		CHECK(what, connect(s, (struct sockaddr *)&un, len));
	else
		CHECK(what, bind(s, (struct sockaddr *)&un, len) || listen(s, 1));
	return s;
}

static void flags(const char *what, int s, const char *name)
{
	struct ifreq r = { 0 };

	strcpy(r.ifr_name, name);
	errno = 0;
	int got = ioctl(s, SIOCGIFFLAGS, &r);
	printf("%s: %d %s %#x\n", what, got, got ? strerrorname_np(errno) : "-", r.ifr_flags & 0xffff);
	fflush(stdout);
}

static void up(int s, const char *name, int on)
{
	struct ifreq r = { 0 };

	strcpy(r.ifr_name, name);
	MUST(ioctl(s, SIOCGIFFLAGS, &r));
	r.ifr_flags = on ? r.ifr_flags | IFF_UP : r.ifr_flags & ~IFF_UP;
	CHECK(on ? "up" : "down", ioctl(s, SIOCSIFFLAGS, &r));
}

static void lines(const char *path)
{
	char text[4096];
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, text, sizeof text), count = 0;

	for (ssize_t at = 0; at < n; at++)
		count += text[at] == '\n';
	printf("%s: %zd lines\n", path, count);
	fflush(stdout);
	close(fd);
}

static int in_clone(void *arg)
{
	(void)arg;
	return number("/proc/self/ns/net") == number("/proc/1/ns/net");
}

/* What a fresh namespace is like. */
static void fresh(void)
{
	int s = socket(AF_INET, SOCK_DGRAM, 0), six = socket(AF_INET6, SOCK_DGRAM, 0);
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	flags("lo at first", s, "lo");
	bound("loopback while off", s, INADDR_LOOPBACK, 0);
	CHECK("loopback of IPv6 while off", bind(six, (struct sockaddr *)&in6, sizeof in6));
	CHECK("connect while off", connect(s, (struct sockaddr *)&in, sizeof in));
	CHECK("send while off", sendto(s, "x", 1, 0, (struct sockaddr *)&in, sizeof in));
	struct ifreq r = { .ifr_name = "lo" };
	CHECK("no address", ioctl(s, SIOCGIFADDR, &r));
	lines("/proc/net/if_inet6");
	lines("/proc/net/tcp");
	lines("/proc/net/dev");
	up(s, "lo", 1);
	flags("lo", s, "lo");
	lines("/proc/net/if_inet6");
	CHECK("address", ioctl(s, SIOCGIFADDR, &r));
	CHECK("send", sendto(s, "x", 1, 0, (struct sockaddr *)&in, sizeof in));
	CHECK("loopback of IPv6", bind(six, (struct sockaddr *)&in6, sizeof in6));
	up(s, "lo", 0);
	lines("/proc/net/if_inet6");
	close(s);
	s = socket(AF_INET, SOCK_DGRAM, 0);
	bound("loopback off again", s, INADDR_LOOPBACK, 0);
	up(s, "lo", 1);
	close(s);
	close(six);
}

/* Ports, names, parameters and sockets belong to one namespace. */
static void apart(int outer, int listener)
{
	int s = socket(AF_INET, SOCK_STREAM, 0);
	char text[64] = "";
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(7001), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	bound("port of the other one", s, INADDR_LOOPBACK, 7001);
	CHECK("nobody listens", connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&in, sizeof in));
	close(abstract("nobody has the name", 1));
	int own = abstract("same name", 0);
	close(abstract("own name", 1));
	TRUE("cookies differ", cookie(outer) != cookie(s));
	int fd = open("/proc/sys/net/ipv4/ip_default_ttl", O_RDWR);
	CHECK("set ttl", write(fd, "77\n", 3));
	close(fd);
	socklen_t len = sizeof(int);
	int ttl = 0, before = 0;
	getsockopt(socket(AF_INET, SOCK_DGRAM, 0), IPPROTO_IP, IP_TTL, &ttl, &len);
	getsockopt(outer, IPPROTO_IP, IP_TTL, &before, &len);
	printf("ttl: %d, of the other one %d\n", ttl, before);
	fflush(stdout);
	/* A socket stays where it was made. */
	fd = ioctl(outer, SIOCGSKNS);
	WORKS("SIOCGSKNS", fd);
	struct stat st;
	fstat(fd, &st);
	TRUE("of the other one", st.st_ino != number("/proc/self/ns/net"));
	printf("type %#x\n", ioctl(fd, NS_GET_NSTYPE));
	int server = accept(listener, NULL, NULL);
	TRUE("nothing to accept", server == -1 && errno == EAGAIN);
	/* An old socket connects to the old listener from here. */
	int client = socket(AF_INET, SOCK_STREAM, 0);
	CHECK("from here", connect(client, (struct sockaddr *)&in, sizeof in));
	MUST(setns(fd, CLONE_NEWNET));
	client = socket(AF_INET, SOCK_STREAM, 0);
	CHECK("from there", connect(client, (struct sockaddr *)&in, sizeof in));
	server = accept(listener, NULL, NULL);
	WORKS("accepted", server);
	TRUE("accepted in the listener's", cookie(server) == cookie(outer));
	CHECK("write", write(client, "hello", 5));
	CHECK("read", read(server, text, sizeof text));
	close(own);
}

static void enter(void)
{
	int self = open("/proc/self/ns/net", O_RDONLY), uts = open("/proc/self/ns/uts", O_RDONLY);
	ino_t old = number("/proc/self/ns/net");

	SHOW(setns(self, CLONE_NEWUTS));
	SHOW(setns(uts, CLONE_NEWNET));
	SHOW(setns(0, CLONE_NEWNET));
	SHOW(setns(-1, CLONE_NEWNET));
	SHOW(setns(self, 0));
	SHOW(unshare(CLONE_NEWNET));
	TRUE("another", number("/proc/self/ns/net") != old);
	SHOW(setns(self, CLONE_NEWNET));
	TRUE("back", number("/proc/self/ns/net") == old);
	/* By the descriptor of a process. */
	int tube[2], done[2];
	MUST(pipe(tube));
	MUST(pipe(done));
	pid_t child = fork();
	if (child == 0) {
		char c;
		MUST(unshare(CLONE_NEWNET));
		MUST(write(tube[1], "x", 1));
		close(done[1]);
		_exit(read(done[0], &c, 1) != 0);
	}
	char c, path[64];
	MUST(read(tube[0], &c, 1));
	int pidfd = syscall(SYS_pidfd_open, child, 0);
	SHOW(setns(pidfd, CLONE_NEWNET));
	snprintf(path, sizeof path, "/proc/%d/ns/net", child);
	TRUE("the child's", number("/proc/self/ns/net") == number(path) && number(path) != old);
	SHOW(setns(self, CLONE_NEWNET));
	SHOW(close(done[1]));
	MUST(waitpid(child, NULL, 0));
	SHOW(setns(pidfd, CLONE_NEWNET));
	/* Without the capability. */
	IN_CHILD("unprivileged", {
		MUST(setresuid(1000, 1000, 1000));
		SHOW(unshare(CLONE_NEWNET));
		SHOW(setns(self, CLONE_NEWNET));
		char *stack = malloc(65536);
		CHECK("clone", clone(in_clone, stack + 65536, CLONE_NEWNET | SIGCHLD, NULL));
	});
	static char stack[65536];
	pid_t other = clone(in_clone, stack + sizeof stack, CLONE_NEWNET | SIGCHLD, NULL);
	int status;
	MUST(waitpid(other, &status, 0));
	report_status("clone", status);
}

/* A mounted namespace lives on without processes, and is entered by its path. */
static void mounted(void)
{
	ino_t made = 0;
	int tube[2];

	MUST(unshare(CLONE_NEWNS));
	MUST(mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL));
	MUST(mount("none", "/mnt", "tmpfs", 0, NULL));
	close(open("/mnt/ns", O_CREAT | O_RDONLY, 0600));
	MUST(pipe(tube));
	pid_t child = fork();
	if (child == 0) {
		char c;
		MUST(unshare(CLONE_NEWNET));
		made = number("/proc/self/ns/net");
		MUST(write(tube[1], &made, sizeof made));
		close(tube[1]);
		CHECK("mount", mount("/proc/self/ns/net", "/mnt/ns", NULL, MS_BIND, NULL));
		int s = socket(AF_INET, SOCK_DGRAM, 0);
		up(s, "lo", 1);
		(void)c;
		_exit(0);
	}
	MUST(read(tube[0], &made, sizeof made));
	MUST(waitpid(child, NULL, 0));
	TRUE("number", number("/mnt/ns") == made);
	int fd = open("/mnt/ns", O_RDONLY);
	IN_CHILD("entered", {
		SHOW(setns(fd, 0));
		TRUE("same", number("/proc/self/ns/net") == made);
		flags("lo is still on", socket(AF_INET, SOCK_DGRAM, 0), "lo");
	});
	SHOW(umount("/mnt/ns"));
	SHOW(setns(fd, CLONE_NEWNET));
	close(fd);
}

int main(void)
{
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	bound("port", listener, INADDR_LOOPBACK, 7001);
	SHOW(listen(listener, 4));
	int named = abstract("name", 0);
	enter();
	int self = open("/proc/self/ns/net", O_RDONLY);
	MUST(unshare(CLONE_NEWNET));
	fresh();
	apart(listener, listener);
	MUST(setns(self, CLONE_NEWNET));
	close(abstract("name is there again", 1));
	close(named);
	mounted();
	return 0;
}
