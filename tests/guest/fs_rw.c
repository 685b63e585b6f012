/* read, write and their kin on regular files: positions, holes, faults, limits. */
#include "common.h"
#include <sys/resource.h>
#include <sys/uio.h>

/* Values that the compiler does not see. */
static char *volatile nowhere = (char *)8;
static volatile int minus_one = -1, too_many = 1025;

static char *two_pages(void)
{
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memset(page, 'p', 8192);
	munmap(page + 4096, 4096);
	return page;
}

static long sum(int fd)
{
	static char buf[1 << 16];
	long total = 0, n;
	off_t at = 0;

	while ((n = pread(fd, buf, sizeof(buf), at)) > 0) {
		for (long i = 0; i < n; i++)
			total = total * 31 + (unsigned char)buf[i];
		at += n;
	}
	return total & 0xffffff;
}

static void positions(int fd)
{
	char buf[100] = "";

	CHECK("write", write(fd, "0123456789", 10));
	CHECK("seek", lseek(fd, 3, SEEK_SET));
	CHECK("read", read(fd, buf, 4));
	printf("%s\n", buf);
	CHECK("cur", lseek(fd, 0, SEEK_CUR));
	CHECK("end", lseek(fd, -1, SEEK_END));
	CHECK("before start", lseek(fd, -100, SEEK_CUR));
	CHECK("bad whence", lseek(fd, 0, 99));
	CHECK("pread", pread(fd, buf, 100, 8));
	CHECK("pread negative", pread(fd, buf, 1, -1));
	CHECK("pwrite", pwrite(fd, "XY", 2, 20));
	CHECK("unmoved", lseek(fd, 0, SEEK_CUR));
	CHECK("hole reads zero", (pread(fd, buf, 22, 0), buf[15] == 0 && buf[20] == 'X'));
	CHECK("seek data", lseek(fd, 0, SEEK_DATA));
	CHECK("seek hole", lseek(fd, 0, SEEK_HOLE));
	CHECK("seek data behind", lseek(fd, 22, SEEK_DATA));
	CHECK("zero bytes", write(fd, NULL, 0));
}

static void vectors(int fd)
{
	char a[3] = "abc", b[4] = "defg", c[10];
	struct iovec out[3] = { { a, 3 }, { NULL, 0 }, { b, 4 } };
	struct iovec in[2] = { { c, 2 }, { a, 3 } };
	struct iovec wrong[1] = { { a, -1 } };

	CHECK("seek", lseek(fd, 0, SEEK_SET));
	CHECK("writev", writev(fd, out, 3));
	CHECK("preadv", preadv(fd, in, 2, 1));
	printf("%.2s %.3s\n", c, a);
	CHECK("negative count", readv(fd, in, minus_one));
	CHECK("many", readv(fd, in, too_many));
	CHECK("none", readv(fd, in, 0));
	CHECK("wrong length", readv(fd, wrong, 1));
	CHECK("preadv2 current", preadv2(fd, in, 2, -1, 0));
	CHECK("preadv2 flags", preadv2(fd, in, 2, 0, 0x4000));
	CHECK("append", pwritev2(fd, out, 3, 0, RWF_APPEND));
	CHECK("size", lseek(fd, 0, SEEK_END));
}

static void faults(int fd)
{
	char *page = two_pages();

	CHECK("write fault", write(fd, nowhere, 10));
	CHECK("read fault", pread(fd, nowhere, 10, 0));
	CHECK("partial write", pwrite(fd, page + 4000, 500, 0));
	CHECK("seek", lseek(fd, 0, SEEK_SET));
	CHECK("partial read", read(fd, page + 4090, 20) > 0);
	CHECK("huge", pread(fd, page, 0x7fffffffffffffff, 0));
	CHECK("bad fd", read(-1, page, 1));
	CHECK("read only", write(open("file", O_RDONLY), page, 1));
	CHECK("write only", read(open("file", O_WRONLY), page, 1));
	CHECK("directory", read(open(".", O_RDONLY), page, 1));
}

static void append(void)
{
	int a = open("log", O_CREAT | O_WRONLY | O_APPEND, 0644), b = open("log", O_WRONLY | O_APPEND);

	CHECK("a", write(a, "aaa", 3));
	CHECK("b", write(b, "bbb", 3));
	CHECK("pwrite appends", pwrite(a, "ccc", 3, 0));
	CHECK("a at", lseek(a, 0, SEEK_CUR));
	CHECK("b at", lseek(b, 0, SEEK_CUR));
	CHECK("not appending", fcntl(b, F_SETFL, 0));
	CHECK("overwrite", pwrite(b, "x", 1, 0));
	CHECK("sum", sum(open("log", O_RDONLY)));
}

static void large(void)
{
	static char buf[300000];
	int fd = open("large", O_CREAT | O_RDWR | O_TRUNC, 0644);

	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = i * 7;
	CHECK("write", write(fd, buf, sizeof(buf)));
	CHECK("again", pwrite(fd, buf, sizeof(buf), 1 << 20));
	CHECK("sum", sum(fd));
	CHECK("shrink", ftruncate(fd, 70000));
	CHECK("grow", ftruncate(fd, 200000));
	CHECK("sum", sum(fd));
	CHECK("truncate path", truncate("large", 5));
	CHECK("sum", sum(fd));
	CHECK("truncate negative", truncate("large", -1));
	CHECK("truncate dir", truncate(".", 1));
	CHECK("truncate none", truncate("none", 1));
	CHECK("ftruncate ro", ftruncate(open("large", O_RDONLY), 1));
	CHECK("fallocate", fallocate(fd, 0, 0, 100000));
	CHECK("size", lseek(fd, 0, SEEK_END));
	CHECK("punch", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
	CHECK("keep", fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 200000));
	CHECK("size", lseek(fd, 0, SEEK_END));
	CHECK("fallocate zero", fallocate(fd, 0, 0, 0));
	CHECK("fallocate negative", fallocate(fd, 0, -1, 1));
	CHECK("sparse", pwrite(fd, "x", 1, 1ll << 34));
	CHECK("far", pread(fd, buf, 1, 1ll << 34));
}

static int got_xfsz;

static void on_xfsz(int signo)
{
	got_xfsz = signo;
}

static void limits(void)
{
	struct rlimit limit = { 1000, 1000 };
	char buf[600] = "";
	int fd = open("limited", O_CREAT | O_RDWR, 0644);

	signal(SIGXFSZ, on_xfsz);
	setrlimit(RLIMIT_FSIZE, &limit);
	CHECK("first", write(fd, buf, 600));
	CHECK("second", write(fd, buf, 600));
	CHECK("third", write(fd, buf, 600));
	TRUE("signal", got_xfsz == SIGXFSZ);
	CHECK("truncate", ftruncate(fd, 1001));
	CHECK("truncate to limit", ftruncate(fd, 1000));
}

static void copying(void)
{
	int from = open("file", O_RDONLY), to = open("copy", O_CREAT | O_RDWR, 0644);
	off_t at = 2;

	CHECK("copy", copy_file_range(from, &at, to, NULL, 5, 0));
	CHECK("offset", at);
	CHECK("position", lseek(to, 0, SEEK_CUR));
	CHECK("flags", copy_file_range(from, NULL, to, NULL, 5, 1));
	CHECK("wrong way", copy_file_range(to, NULL, from, NULL, 5, 0));
	CHECK("sum", sum(to));
}

int main(void)
{
	char dir[] = "fs_rw.XXXXXX";
	int fd;

	umask(022);
	MUST(mkdtemp(dir) ? 0 : -1);
	MUST(chdir(dir));
	fd = open("file", O_CREAT | O_RDWR, 0644);
	MUST(fd);
	positions(fd);
	vectors(fd);
	faults(fd);
	append();
	large();
	copying();
	limits();
	return 0;
}
