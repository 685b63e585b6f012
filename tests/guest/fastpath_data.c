/* Calls made so often that what they read and write may be copied by their own thread: lengths and addresses around
 * every limit, memory that is not there, or goes away, or may not be written; signals in the middle. */
#include "common.h"
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>

enum { PAGE = 4096, OFTEN = 400 };

static int file, null, ends[2];
/* Two pages, the one before them and the one behind them not there. */
static char *pages;

static void check(const char *name, int ok)
{
	printf("%s: %s\n", name, ok ? "ok" : "WRONG");
	fflush(stdout);
}

/* What the file holds at an offset. */
static char right(long at)
{
	return (char)(at * 7 + at / 251);
}

static int reads(char *to, size_t len, long at)
{
	memset(to, 0x55, len);
	if (pread(file, to, len, at) != (ssize_t)len)
		return 0;
	for (size_t i = 0; i < len; i++)
		if (to[i] != right(at + (long)i))
			return 0;
	return 1;
}

static int writes(const char *from, size_t len, long at)
{
	static char back[4 * PAGE];

	return pwrite(file, from, len, at) == (ssize_t)len && pread(file, back, len, at) == (ssize_t)len &&
	       !memcmp(back, from, len);
}

static const size_t lengths[] = { 1, 2, 7, 8, 9, 63, 255, 1016, 1017, 1023, 1024, 1025, 4087, 4088, 4095, 4096, 4097, 5000, 8192 };

static void buffers(void)
{
	int bad = 0;

	for (size_t n = 0; n < sizeof lengths / sizeof *lengths; n++)
		for (int i = 0; i < OFTEN / 4; i++) {
			size_t len = lengths[n];
			/* Up to the last byte that is there, and from the first one on. */
			char *last = pages + 2 * PAGE - len, *first = pages;

			bad += !reads(last, len, i) + !reads(first, len, i + 1);
			for (size_t at = 0; at < len; at++)
				last[at] = right(5 + (long)at);
			bad += !writes(last, len, 5);
		}
	check("buffers up to the end of what is there", bad == 0);
	bad = 0;
	for (int i = 0; i < OFTEN; i++) {
		bad += pread(file, pages + 2 * PAGE - 10, 11, 0) != 10 && errno != EFAULT;
		bad += pread(file, pages + 2 * PAGE, 1, 0) != -1 || errno != EFAULT;
		bad += pread(file, pages - 1, 1, 0) != -1 || errno != EFAULT;
		bad += pread(file, NULL, 1, 0) != -1 || errno != EFAULT;
		bad += pread(file, pages - 1, 0, 0) != 0;
		bad += write(ends[1], pages - 1, 1) != -1 || errno != EFAULT;
		bad += write(ends[1], pages + 2 * PAGE, 5) != -1 || errno != EFAULT;
		bad += write(null, NULL, 0) != 0;
		bad += pread(file, pages, SIZE_MAX / 2 + 1, 0) != -1;
	}
	check("buffers that are not there", bad == 0);
	mprotect(pages, PAGE, PROT_READ);
	bad = 0;
	for (int i = 0; i < OFTEN; i++) {
		bad += pread(file, pages, 10, 0) != -1 || errno != EFAULT;
		bad += fstat(file, (struct stat *)(pages + PAGE - 8)) != -1 || errno != EFAULT;
		bad += write(null, pages, 2 * PAGE) != 2 * PAGE;
	}
	mprotect(pages, PAGE, PROT_READ | PROT_WRITE);
	check("buffers that may not be written", bad == 0);
	bad = 0;
	for (int i = 0; i < OFTEN; i++) {
		/* Nothing is written where there is nothing to read. */
		memset(pages, 0x33, 100);
		bad += pread(file, pages, 100, 1 << 20) != 0 || pages[0] != 0x33 || pages[99] != 0x33;
		bad += pread(file, pages + 1, 98, 4 * PAGE - 10) != 10 || pages[0] != 0x33 || pages[11] != 0x33;
	}
	check("as much as there is", bad == 0);
}

static void paths(void)
{
	static char path[PATH_MAX + 10];
	struct stat st, want;
	int bad = 0;

	for (int len = 950; len < 1100; len++) {
		/* "./././…." leads to here, whatever its length is. */
		for (int at = 0; at < len; at++)
			path[at] = at % 2 && at != len - 1 ? '/' : '.';
		if (len % 2 == 0)
			path[len - 2] = '/';
		path[len] = 0;
		stat(".", &want);
		for (int i = 0; i < 3; i++)
			bad += stat(path, &st) != 0 || st.st_ino != want.st_ino || st.st_mode != want.st_mode;
	}
	check("paths of any length", bad == 0);
	bad = 0;
	memset(path, 'a', sizeof path);
	path[PATH_MAX + 5] = 0;
	for (int i = 0; i < OFTEN; i++) {
		bad += stat(path, &st) != -1 || errno != ENAMETOOLONG;
		bad += stat("", &st) != -1 || errno != ENOENT;
		bad += stat(NULL, &st) != -1 || errno != EFAULT;
		bad += stat("/", NULL) != -1 || errno != EFAULT;
		bad += stat("/", (struct stat *)(pages + 2 * PAGE - 100)) != -1 || errno != EFAULT;
		bad += open("/nowhere/at/all", O_RDONLY) != -1 || errno != ENOENT;
		bad += access(pages + 2 * PAGE, F_OK) != -1 || errno != EFAULT;
	}
	check("paths that are none", bad == 0);
	bad = 0;
	for (int i = 0; i < OFTEN; i++) {
		char *end = pages + 2 * PAGE - 2;
		char link[8];
		struct stat *same = (struct stat *)pages;

		memcpy(end, ".", 2);
		bad += stat(end, &st) != 0 || st.st_ino != want.st_ino;
		end[1] = '.';
		bad += stat(end, &st) != -1 || errno != EFAULT;
		/* Path and result in one place. */
		strcpy(pages, ".");
		bad += stat(pages, same) != 0 || same->st_ino != want.st_ino;
		bad += readlink("/proc/self/exe", link, sizeof link) != 8;
	}
	check("paths at the end of what is there", bad == 0);
}

static void events(void)
{
	int epoll = epoll_create1(0), bad = 0;
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = 42 }, got[600];

	for (int i = 0; i < OFTEN; i++) {
		event.data.u64 = (uint64_t)i << 33 | 7;
		bad += epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event) != 0;
		bad += epoll_wait(epoll, got, 1, 0) != 0;
		bad += send(ends[1], &i, sizeof i, 0) != sizeof i;
		memset(got, 0x11, sizeof got);
		bad += epoll_wait(epoll, got, 600, -1) != 1 || got[0].data.u64 != event.data.u64;
		bad += got[0].events != EPOLLIN || got[1].events != 0x11111111;
		int back = -1;
		bad += recv(ends[0], &back, sizeof back, 0) != sizeof back || back != i;
		bad += epoll_ctl(epoll, EPOLL_CTL_DEL, ends[0], NULL) != 0;
		bad += epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], NULL) != -1 || errno != EFAULT;
		bad += epoll_wait(epoll, got, -1, 0) != -1 || errno != EINVAL;
	}
	close(epoll);
	check("events", bad == 0);
	bad = 0;
	for (int i = 0; i < OFTEN; i++) {
		char a[3] = "ab", b[5] = "cdef", c[8] = "", d[8] = "";
		struct iovec out[2] = { { a, 2 }, { b, 4 } }, in[2] = { { c, 3 }, { d, 8 } };

		bad += writev(ends[1], out, 2) != 6;
		bad += readv(ends[0], in, 2) != 6 || memcmp(c, "abc", 3) || memcmp(d, "def", 4);
		bad += writev(ends[1], NULL, 1) != -1 || errno != EFAULT;
		bad += writev(ends[1], out, 5000) != -1 || errno != EINVAL;
	}
	check("vectors", bad == 0);
}

static atomic_int alarms;

static void on_alarm(int signo)
{
	(void)signo;
	alarms++;
}

static void signals(void)
{
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	struct itimerval every = { { 0, 300 }, { 0, 300 } }, never = { { 0, 0 }, { 0, 0 } };
	struct stat st;
	int bad = 0;

	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
	for (int i = 0; i < 20 * OFTEN || alarms < 20; i++) {
		bad += !reads(pages + i % 64, i % 2 ? 1000 : 4096, i % 1000);
		bad += fstat(file, &st) != 0 || st.st_size != 4 * PAGE;
		bad += stat("/proc/self/fd/0/../../../..", &st) == 0 && !S_ISDIR(st.st_mode);
	}
	setitimer(ITIMER_REAL, &never, NULL);
	check("signals in the middle", bad == 0 && alarms >= 20);
}

static atomic_int stop;

/* Takes memory away that the other thread reads into. */
static void *taker(void *place)
{
	while (!stop) {
		mmap(place, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		mmap(place, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	}
	return NULL;
}

static void taken(void)
{
	pthread_t thread;
	int bad = 0;

	pthread_create(&thread, NULL, taker, pages + PAGE);
	for (int i = 0; i < 10 * OFTEN; i++) {
		ssize_t got = pread(file, pages + PAGE - 8, 100, 0);

		/* More than 8 if the memory came back in the midst of the copy. */
		bad += (got < 8 || got > 100) && (got != -1 || errno != EFAULT);
		got = write(null, pages + PAGE - 8, 100);
		bad += (got < 8 || got > 100) && (got != -1 || errno != EFAULT);
	}
	stop = 1;
	pthread_join(thread, NULL);
	check("memory that comes and goes", bad == 0);
}

/* As glibc's calls that can be cancelled: arguments are loaded between the number and the call. */
static __attribute__((noinline)) ssize_t late_pread(char *to, size_t len, long at)
{
	register long r10 __asm__("r10") = at;
	long ret;

	__asm__ volatile("lea -160(%%rsp), %%rsp\n\tmov %2, 8(%%rsp)\n\tmov %3, 16(%%rsp)\n\txor %%edx, %%edx\n\t"
			 "mov $17, %%eax\n\tmov 16(%%rsp), %%rsi\n\tmov 8(%%rsp), %%edx\n\tsyscall\n\t"
			 "cmp $-4096, %%rax\n\tlea 160(%%rsp), %%rsp"
			 : "=a"(ret) : "D"((long)file), "r"(len), "r"(to), "r"(r10) : "rdx", "rsi", "rcx", "r11", "memory", "cc");
	return ret;
}

static void late(void)
{
	int bad = 0;

	for (int i = 0; i < OFTEN; i++) {
		memset(pages, 0x55, 20);
		bad += late_pread(pages, 8, i) != 8 || pages[0] != right(i) || pages[7] != right(i + 7) || pages[8] != 0x55;
		bad += late_pread(pages + 2 * PAGE, 8, i) != -EFAULT;
		bad += late_pread(pages, 0, i) != 0;
	}
	check("arguments loaded late", bad == 0);
}

int main(void)
{
	char path[] = "/tmp/fastpath_data.XXXXXX";

	file = mkstemp(path);
	unlink(path);
	for (long at = 0; at < 4 * PAGE; at++) {
		char byte = right(at);

		write(file, &byte, 1);
	}
	null = open("/dev/null", O_WRONLY);
	socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
	pages = mmap(NULL, 4 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pages += PAGE;
	mprotect(pages, 2 * PAGE, PROT_READ | PROT_WRITE);
	buffers();
	paths();
	events();
	signals();
	taken();
	late();
	return 0;
}
