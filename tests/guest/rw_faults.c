/* Buffers that fault midway: a file and a pipe give and take what they can, streams and messages all or nothing. */
#include "common.h"

#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define READABLE 8192

/* Two pages, then nothing. */
static char *area;

static void drain(const char *name, int fd)
{
	char buf[70000];

	printf("%s, left: %zd\n", name, read(fd, buf, sizeof buf));
}

/* From how many bytes before the hole, and how much. */
static const struct { long have, len; } cases[] = {{4106, 8192}, {10, 100}, {4096, 8192}, {8192, 16384}, {5000, 5001}, {0, 10}};

#define CASES (sizeof cases / sizeof *cases)

static void writes(const char *kind, int to, int from)
{
	struct iovec small[] = {{area, 100}, {area + READABLE - 50, 100}, {area, 100}};
	struct iovec large[] = {{area, 5000}, {area + READABLE - 50, 100}, {area, 100}};
	struct iovec hole[] = {{area, 100}, {area + READABLE, 100}, {area, 100}};
	char name[80];

	for (size_t i = 0; i < CASES; i++) {
		snprintf(name, sizeof name, "%s: write %ld of %ld", kind, cases[i].have, cases[i].len);
		CHECK(name, write(to, area + READABLE - cases[i].have, cases[i].len));
		drain(name, from);
	}
	CHECK(kind, writev(to, small, 3));
	drain(kind, from);
	CHECK(kind, writev(to, large, 3));
	drain(kind, from);
	CHECK(kind, writev(to, hole, 3));
	drain(kind, from);
}

static void reads(const char *kind, int to, int from)
{
	struct iovec small[] = {{area, 100}, {area + READABLE - 50, 100}, {area, 100}};
	static char data[10000];
	char name[80];

	for (size_t i = 0; i < CASES; i++) {
		MUST(write(to, data, sizeof data));
		snprintf(name, sizeof name, "%s: read into %ld of %ld", kind, cases[i].have, cases[i].len);
		CHECK(name, read(from, area + READABLE - cases[i].have, cases[i].len));
		drain(name, from);
	}
	MUST(write(to, data, sizeof data));
	CHECK(kind, readv(from, small, 3));
	drain(kind, from);
}

static void files(const char *kind, int fd)
{
	struct iovec small[] = {{area, 100}, {area + READABLE - 50, 100}, {area, 100}};
	char name[80];

	MUST(fd);
	for (size_t i = 0; i < CASES; i++) {
		snprintf(name, sizeof name, "%s: %ld of %ld", kind, cases[i].have, cases[i].len);
		MUST(lseek(fd, 4090, SEEK_SET));
		CHECK(name, write(fd, area + READABLE - cases[i].have, cases[i].len));
		CHECK(name, lseek(fd, 0, SEEK_CUR));
	}
	CHECK(kind, pwritev(fd, small, 3, 0));
	MUST(ftruncate(fd, 20000));
	for (size_t i = 0; i < CASES; i++) {
		snprintf(name, sizeof name, "%s: %ld of %ld", kind, cases[i].have, cases[i].len);
		CHECK(name, pread(fd, area + READABLE - cases[i].have, cases[i].len, 0));
	}
	CHECK(kind, preadv(fd, small, 3, 0));
	close(fd);
}

static void pair(const char *kind, int to, int from)
{
	MUST(fcntl(from, F_SETFL, O_NONBLOCK));
	writes(kind, to, from);
	reads(kind, to, from);
}

/* What is no buffer is all there or not at all: structures and strings that begin before the hole. */
static void structures(void)
{
	char *hole = area + READABLE;
	struct timespec *time = (void *)(hole - 8);
	long *fds = (void *)(hole - 4);

	memset(hole - 64, 0, 64);
	CHECK("half a time", syscall(SYS_nanosleep, time, NULL));
	CHECK("half a set of signals", syscall(SYS_rt_sigprocmask, SIG_BLOCK, hole - 4, NULL, 8));
	CHECK("half an action", syscall(SYS_rt_sigaction, SIGUSR1, hole - 8, NULL, 8));
	CHECK("half a limit", syscall(SYS_setrlimit, RLIMIT_NOFILE, hole - 8));
	CHECK("half an array", poll((struct pollfd *)(hole - 12), 2, 0));
	memset(hole - 8, 'x', 8);
	CHECK("half a path", access(hole - 8, F_OK));
	CHECK("half a name", memfd_create(hole - 8, 0));
	CHECK("half a status to write", syscall(SYS_fstat, 1, hole - 16));
	CHECK("half a time to write", syscall(SYS_clock_getres, CLOCK_PROCESS_CPUTIME_ID, time));
	CHECK("half a pair to write", pipe((int *)fds));
	CHECK("half a directory to write", syscall(SYS_getcwd, hole - 1, 100));
}

int main(void)
{
	int fds[2];

	area = mmap(0, READABLE + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(area);
	MUST(munmap(area + READABLE, 4096));
	memset(area, 'a', READABLE);
	MUST(pipe(fds));
	pair("pipe", fds[1], fds[0]);
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	pair("stream", fds[1], fds[0]);
	MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds));
	pair("datagram", fds[1], fds[0]);
	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds));
	pair("seqpacket", fds[1], fds[0]);
	files("file", open("file", O_RDWR | O_CREAT, 0600));
	files("memory", memfd_create("memory", 0));
	structures();
	return 0;
}
