/* Hot paths, one line each: "name microseconds" per operation (medians over several batches). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BATCHES 7

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
	double d = *(const double *)a - *(const double *)b;
	return d < 0 ? -1 : d > 0;
}

/* Runs `body` n times per batch and prints the median batch. */
#define ROW(name, n, body) do { \
	double times[BATCHES]; \
	for (int batch_ = 0; batch_ < BATCHES; batch_++) { \
		double start_ = now(); \
		for (int i_ = 0; i_ < (n); i_++) { body; } \
		times[batch_] = (now() - start_) / (n); \
	} \
	qsort(times, BATCHES, sizeof *times, by_value); \
	printf("%s %.4f\n", name, times[BATCHES / 2]); \
	fflush(stdout); \
} while (0)

static char buf[65536];
extern char **environ;

static void create(const char *row)
{
	ROW(row, 1000, close(open("bench.new", O_CREAT | O_RDWR, 0600)); unlink("bench.new"));
}

static void files(void)
{
	struct stat st;
	int zero = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_WRONLY);
	int file = open("bench.tmp", O_RDWR | O_CREAT, 0600);
	write(file, buf, sizeof buf);
	ROW("null call (getppid)", 5000, syscall(SYS_getppid));
	ROW("read 1 B", 5000, read(zero, buf, 1));
	ROW("write 1 B", 5000, write(null, buf, 1));
	ROW("pread 4 KiB of a file", 5000, pread(file, buf, 4096, 0));
	ROW("pwrite 4 KiB of a file", 5000, pwrite(file, buf, 4096, 0));
	ROW("pread 64 KiB of a file", 1000, pread(file, buf, 65536, 0));
	ROW("pwrite 64 KiB of a file", 1000, pwrite(file, buf, 65536, 0));
	ROW("lseek", 5000, lseek(file, 0, SEEK_SET));
	ROW("fstat", 5000, fstat(file, &st));
	ROW("stat", 3000, stat("/usr/bin/env", &st));
	ROW("open+close", 2000, close(open("/usr/bin/env", O_RDONLY)));
	create("create+unlink");
	close(file);
	unlink("bench.tmp");
}

static void memory(void)
{
	ROW("mmap+touch+munmap", 2000,
	    char *p = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	    p[0] = 1; munmap(p, 4096));
	size_t size = 4 << 20;
	char *area = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	madvise(area, size, MADV_NOHUGEPAGE);
	size_t at = 0;
	ROW("page fault", 1000, if (at >= size) { madvise(area, size, MADV_DONTNEED); at = 0; } area[at] = 1; at += 4096);
}

static void *nothing(void *arg)
{
	return arg;
}

static void processes(void)
{
	char *argv[] = {"true", 0};
	pid_t p;
	pthread_t t;
	ROW("fork+wait", 50, p = fork(); if (!p) _exit(0); waitpid(p, 0, 0));
	ROW("posix_spawn+wait", 30, if (posix_spawn(&p, "/bin/true", 0, 0, argv, environ)) exit(1); waitpid(p, 0, 0));
	ROW("fork+exec+wait", 30, p = fork(); if (!p) { execv("/bin/true", argv); _exit(127); } waitpid(p, 0, 0));
	ROW("thread create+join", 50, pthread_create(&t, 0, nothing, 0); pthread_join(t, 0));
}

struct ends { int in, out; };

static void *echo(void *arg)
{
	struct ends *e = arg;
	char c;
	while (read(e->in, &c, 1) == 1)
		write(e->out, &c, 1);
	return 0;
}

static void ping(int in, int out)
{
	char c;
	write(out, "x", 1);
	read(in, &c, 1);
}

static void pipes(void)
{
	int a[2], b[2];
	pthread_t t;
	pipe(a);
	pipe(b);
	struct ends e = {a[0], b[1]};
	pthread_create(&t, 0, echo, &e);
	ROW("pipe round trip, threads", 1000, ping(b[0], a[1]));
	close(a[1]);
	pthread_join(t, 0);
	pipe(a);
	pid_t p = fork();
	if (!p) {
		close(a[1]);
		e = (struct ends){a[0], b[1]};
		echo(&e);
		_exit(0);
	}
	ROW("pipe round trip, processes", 1000, ping(b[0], a[1]));
	close(a[1]);
	waitpid(p, 0, 0);
}

static int turn;

static void futex_to(int mine, int theirs)
{
	while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) != mine)
		syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, theirs, 0, 0, 0);
	__atomic_store_n(&turn, theirs, __ATOMIC_RELEASE);
	syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
}

#define FUTEX_ROUNDS 2000

static void *futex_partner(void *arg)
{
	for (int i = 0; i < FUTEX_ROUNDS * BATCHES; i++)
		futex_to(1, 0);
	return arg;
}

static void futexes(void)
{
	pthread_t t;
	pthread_create(&t, 0, futex_partner, 0);
	ROW("futex round trip", FUTEX_ROUNDS, futex_to(0, 1));
	pthread_join(t, 0);
}

static void *server(void *arg)
{
	int c = accept(*(int *)arg, 0, 0), one = 1;
	setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	struct ends e = {c, c};
	echo(&e);
	close(c);
	return 0;
}

static void *drain(void *arg)
{
	int c = accept(*(int *)arg, 0, 0);
	static char sink[65536];
	while (read(c, sink, sizeof sink) > 0)
		;
	close(c);
	return 0;
}

static void sockets(void)
{
	int pair[2], one = 1;
	pthread_t t;
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	struct ends e = {pair[1], pair[1]};
	pthread_create(&t, 0, echo, &e);
	ROW("unix socket round trip", 1000, ping(pair[0], pair[0]));
	shutdown(pair[0], SHUT_WR);
	pthread_join(t, 0);

	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof addr;
	int l = socket(AF_INET, SOCK_STREAM, 0);
	bind(l, (void *)&addr, sizeof addr);
	listen(l, 8);
	getsockname(l, (void *)&addr, &len);
	pthread_create(&t, 0, server, &l);
	int s = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(s, (void *)&addr, sizeof addr))
		return;
	setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	ROW("TCP on lo round trip", 1000, ping(s, s));
	close(s);
	pthread_join(t, 0);
	pthread_create(&t, 0, drain, &l);
	s = socket(AF_INET, SOCK_STREAM, 0);
	connect(s, (void *)&addr, sizeof addr);
	ROW("TCP on lo, 64 KiB", 1000, write(s, buf, sizeof buf));
	close(s);
	pthread_join(t, 0);
}

static void *accept_all(void *arg)
{
	int c;
	while ((c = accept(*(int *)arg, 0, 0)) >= 0)
		close(c);
	return 0;
}

static void connect_once(struct sockaddr_in *addr)
{
	int s = socket(AF_INET, SOCK_STREAM, 0);
	connect(s, (void *)addr, sizeof *addr);
	close(s);
}

static void *echo_datagrams(void *arg)
{
	int s = *(int *)arg;
	char c = 1;
	while (c) {
		struct sockaddr_in from;
		socklen_t len = sizeof from;
		recvfrom(s, &c, 1, 0, (void *)&from, &len);
		sendto(s, &c, 1, 0, (void *)&from, len);
	}
	return 0;
}

/* Connections one after the other, and datagrams there and back. */
static void datagrams_and_connections(void)
{
	pthread_t t;
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof addr;
	char c = 1;
	int l = socket(AF_INET, SOCK_STREAM, 0);
	bind(l, (void *)&addr, sizeof addr);
	listen(l, 128);
	getsockname(l, (void *)&addr, &len);
	pthread_create(&t, 0, accept_all, &l);
	ROW("TCP connect and close on lo", 500, connect_once(&addr));
	shutdown(l, SHUT_RDWR);
	pthread_join(t, 0);
	close(l);
	int u = socket(AF_INET, SOCK_DGRAM, 0), s = socket(AF_INET, SOCK_DGRAM, 0);
	addr.sin_port = 0;
	bind(u, (void *)&addr, sizeof addr);
	getsockname(u, (void *)&addr, &len);
	connect(s, (void *)&addr, sizeof addr);
	pthread_create(&t, 0, echo_datagrams, &u);
	ROW("UDP on lo round trip", 1000, (send(s, &c, 1, 0), recv(s, &c, 1, 0)));
	c = 0;
	send(s, &c, 1, 0);
	pthread_join(t, 0);
	close(u);
	close(s);
}

#define BLOCKED 1000

static void *block(void *arg)
{
	char c;
	read(*(int *)arg, &c, 1);
	return 0;
}

/* Threads blocked in read must not slow the calls of another. */
static void blocked(void)
{
	static pthread_t threads[BLOCKED];
	int p[2], n = 0;
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 65536);
	pipe(p);
	while (n < BLOCKED && !pthread_create(&threads[n], &attr, block, &p[0]))
		n++;
	usleep(300000);
	if (n == BLOCKED)
		ROW("null call, 1,000 threads blocked", 5000, syscall(SYS_getppid));
	close(p[1]);
	while (n)
		pthread_join(threads[--n], 0);
}

int main(int argc, char **argv)
{
	/* What depends on where files are. */
	if (argc > 1 && !strcmp(argv[1], "host")) {
		create("create+unlink on the host");
		return 0;
	}
	files();
	memory();
	processes();
	pipes();
	futexes();
	sockets();
	datagrams_and_connections();
	blocked();
	return 0;
}
