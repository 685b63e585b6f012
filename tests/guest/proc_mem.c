/* /proc/PID/mem: reading and writing memory by its addresses; cachestat. */
#include "common.h"

#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

static char text[] = "something to be read";
static volatile int number = 1;

static ssize_t at(int fd, void *buf, size_t len, const void *addr)
{
	return syscall(SYS_pread64, fd, buf, len, (off_t)(uintptr_t)addr);
}

static void memory(void)
{
	int fd = open("/proc/self/mem", O_RDWR), value = 42;
	char buf[sizeof text], *pages = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct stat st;

	MUST(fd);
	MUST(fstat(fd, &st));
	printf("mode %o size %ld\n", st.st_mode, (long)st.st_size);
	SHOW(at(fd, buf, sizeof buf, text));
	printf("%s\n", buf);
	SHOW(pwrite(fd, &value, sizeof value, (off_t)(uintptr_t)&number));
	printf("number %d\n", number);
	SHOW(at(fd, buf, 0, text));
	SHOW(at(fd, buf, 1, NULL));
	SHOW(pwrite(fd, buf, 1, 8));
	munmap(pages + 4096, 4096);
	pages[4095] = 'x';
	SHOW(at(fd, pages + 8192, 4096, pages + 4000));
	SHOW(at(fd, buf, 4, pages + 4096));
	SHOW(at(fd, (char *)8, 4, text));
	SHOW(lseek(fd, (off_t)(uintptr_t)text, SEEK_SET) == (off_t)(uintptr_t)text);
	SHOW(read(fd, buf, 4));
	SHOW(lseek(fd, 0, SEEK_CUR) - (off_t)(uintptr_t)text);
	SHOW(lseek(fd, 0, SEEK_END));
	close(fd);
}

static void others(void)
{
	char path[64], buf[sizeof text] = "";
	int ready[2];

	MUST(pipe(ready));
	fflush(stdout);
	pid_t pid = fork();
	if (!pid) {
		strcpy(text, "of the child");
		if (write(ready[1], "x", 1) == 1)
			pause();
		_exit(0);
	}
	MUST(read(ready[0], buf, 1));
	snprintf(path, sizeof path, "/proc/%d/mem", pid);
	int fd = open(path, O_RDONLY);
	SHOW(at(fd, buf, sizeof buf, text));
	printf("%s\n", buf);
	SHOW(pwrite(fd, buf, 1, (off_t)(uintptr_t)text));
	fflush(stdout);
	if (geteuid() == 0)
		IN_CHILD("a stranger", {
			MUST(setresuid(1000, 1000, 1000));
			SHOW(open(path, O_RDONLY));
		});
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	SHOW(at(fd, buf, sizeof buf, text));
	SHOW(open(path, O_RDONLY));
	close(fd);
}

struct stats { uint64_t cache, dirty, writeback, evicted, recently; };

static long cachestat_(int fd, uint64_t off, uint64_t len, struct stats *st, unsigned flags)
{
	uint64_t range[2] = { off, len };

	return syscall(SYS_cachestat, fd, range, st, flags);
}

static void cache(void)
{
	int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0644), p[2];
	struct stats st = { 0 };
	static char data[40960];

	MUST(pipe(p));
	MUST(write(fd, data, sizeof data));
	SHOW(cachestat_(fd, 0, 0, &st, 0));
	printf("pages %d\n", (int)(st.cache + st.evicted));
	SHOW(cachestat_(fd, 4096, 8192, &st, 0));
	printf("pages %d\n", (int)(st.cache + st.evicted));
	SHOW(cachestat_(fd, 4095, 2, &st, 0));
	printf("pages %d\n", (int)(st.cache + st.evicted));
	SHOW(cachestat_(fd, 1 << 20, 0, &st, 0));
	printf("pages %d\n", (int)(st.cache + st.evicted));
	SHOW(cachestat_(fd, 0, 0, &st, 1));
	SHOW(cachestat_(-1, 0, 0, &st, 0));
	SHOW(cachestat_(fd, 0, 0, (void *)8, 0));
	SHOW(syscall(SYS_cachestat, fd, 8, &st, 0));
	SHOW(cachestat_(p[0], 0, 0, &st, 0));
	printf("pages of a pipe %d\n", (int)st.cache);
	SHOW(unlink("file"));
}

int main(void)
{
	memory();
	others();
	cache();
	return 0;
}
