/* Large transfers of regular files, again and again at the same place: faults midway, ends, holes, limits, seals,
 * mappings, and files that change meanwhile. */
#include "common.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/uio.h>

#define PIECE 65536
#define SMALL PIECE
#define LARGE (1 << 20)
/* More often than it takes for anything to be remembered. */
#define TURNS 8

static char buf[LARGE], seen[LARGE];
/* Readable pages, then none. */
#define READABLE 24576
static char *area;

static void fill(char *at, size_t len, int seed)
{
	for (size_t i = 0; i < len; i++)
		at[i] = (char)(seed + i * 7 + i / 4096);
}

static int sum(const char *at, size_t len)
{
	unsigned s = 0;

	for (size_t i = 0; i < len; i++)
		s = s * 31 + (unsigned char)at[i];
	return s & 0x7fffffff;
}

static int content(int fd)
{
	ssize_t len = pread(fd, seen, sizeof seen, 0);

	return sum(seen, len < 0 ? 0 : len);
}

/* A file that was gone through often enough. */
static int used_file(const char *name, size_t size)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);

	MUST(fd);
	fill(buf, size, 1);
	MUST(write(fd, buf, size));
	for (int i = 0; i < TURNS; i++) {
		MUST(pwrite(fd, buf, PIECE, 0));
		MUST(pread(fd, seen, PIECE, 0));
	}
	return fd;
}

static void faults(const char *name, size_t size)
{
	int fd = used_file(name, size);
	struct iovec v[] = {{buf, 20000}, {area + READABLE - 20000, 40000}, {buf + 20000, 20000}};

	printf("%s\n", name);
	CHECK("read into a hole", pread(fd, area, PIECE, 0));
	TRUE("what was read", !memcmp(area, buf, READABLE));
	CHECK("read to nowhere", pread(fd, area + READABLE, PIECE, 0));
	MUST(lseek(fd, 0, SEEK_SET));
	CHECK("read at the position", read(fd, area, PIECE));
	CHECK("position", lseek(fd, 0, SEEK_CUR));
	CHECK("nothing at the position", read(fd, area + READABLE, 20000));
	CHECK("position", lseek(fd, 0, SEEK_CUR));
	fill(area, READABLE, 99);
	CHECK("write from before a hole", pwrite(fd, area, PIECE, 0));
	CHECK("content", content(fd));
	CHECK("write from nowhere", pwrite(fd, area + READABLE, 20000, 0));
	MUST(lseek(fd, 8192, SEEK_SET));
	CHECK("write at the position", write(fd, area, 40000));
	CHECK("position", lseek(fd, 0, SEEK_CUR));
	CHECK("readv", preadv(fd, v, 3, 0));
	CHECK("writev", pwritev(fd, v, 3, 100));
	CHECK("content", content(fd));
	v[1].iov_len = 20000;
	CHECK("readv", preadv(fd, v, 3, 4000));
	CHECK("writev", pwritev(fd, v, 3, 0));
	CHECK("content", content(fd));
	close(fd);
}

static void ends(const char *name, size_t size)
{
	int fd = used_file(name, size);

	printf("%s\n", name);
	CHECK("read over the end", pread(fd, seen, PIECE, size - 20000));
	CHECK("read at the end", pread(fd, seen, PIECE, size));
	CHECK("read behind the end", pread(fd, seen, PIECE, size + 5000000));
	CHECK("write over the end", pwrite(fd, buf, PIECE, size - 20000));
	CHECK("length", lseek(fd, 0, SEEK_END));
	CHECK("truncate", ftruncate(fd, 30000));
	CHECK("read what is left", pread(fd, seen, PIECE, 0));
	CHECK("content", content(fd));
	CHECK("extend", ftruncate(fd, PIECE));
	CHECK("read", pread(fd, seen, PIECE, 0));
	CHECK("content", content(fd));
	CHECK("write", pwrite(fd, buf, PIECE, 0));
	MUST(fcntl(fd, F_SETFL, O_APPEND));
	CHECK("append", pwrite(fd, buf, PIECE, 0));
	CHECK("length", lseek(fd, 0, SEEK_END));
	MUST(lseek(fd, 0, SEEK_SET));
	CHECK("append", write(fd, buf, 20000));
	CHECK("position", lseek(fd, 0, SEEK_CUR));
	CHECK("content", content(fd));
	close(fd);
}

static void holes(void)
{
	struct stat st;
	int fd = open("holes", O_RDWR | O_CREAT | O_TRUNC, 0600);

	MUST(fd);
	MUST(ftruncate(fd, LARGE));
	for (int i = 0; i < TURNS; i++)
		pread(fd, seen, PIECE, 0);
	CHECK("a hole is empty", content(fd));
	fill(buf, PIECE, 5);
	for (int i = 0; i < TURNS; i++)
		pwrite(fd, buf, PIECE, 262144);
	CHECK("content", content(fd));
	MUST(fstat(fd, &st));
	TRUE("room is taken", st.st_blocks >= PIECE / 512 && st.st_blocks < LARGE / 512);
	CHECK("data", lseek(fd, 0, SEEK_DATA));
	CHECK("hole", lseek(fd, 262144, SEEK_HOLE));
	CHECK("punch", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 262144, 32768));
	CHECK("data", lseek(fd, 0, SEEK_DATA));
	CHECK("content", content(fd));
	for (int i = 0; i < TURNS; i++)
		pwrite(fd, buf, PIECE, 262144);
	CHECK("data", lseek(fd, 0, SEEK_DATA));
	CHECK("content", content(fd));
	close(fd);
}

static void on_xfsz(int signo)
{
	printf("signal %d\n", signo == SIGXFSZ);
}

static void limit(void)
{
	int fd = used_file("limit", LARGE);
	struct rlimit old, rl;

	signal(SIGXFSZ, on_xfsz);
	MUST(getrlimit(RLIMIT_FSIZE, &old));
	rl = old;
	rl.rlim_cur = 32768;
	MUST(setrlimit(RLIMIT_FSIZE, &rl));
	CHECK("write over the limit", pwrite(fd, buf, PIECE, 0));
	CHECK("write at the limit", pwrite(fd, buf, PIECE, 32768));
	CHECK("read is not limited", pread(fd, seen, PIECE, 32768));
	MUST(setrlimit(RLIMIT_FSIZE, &old));
	close(fd);
}

static void seals(void)
{
	int fd = memfd_create("sealed", MFD_ALLOW_SEALING), plain = memfd_create("plain", 0);

	MUST(fd);
	MUST(plain);
	for (int i = 0; i < TURNS; i++) {
		MUST(pwrite(fd, buf, LARGE, 0));
		MUST(pread(fd, seen, PIECE, 0));
		MUST(pwrite(plain, buf, LARGE, 0));
		MUST(pread(plain, seen, PIECE, 0));
	}
	CHECK("seal", fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	CHECK("write", pwrite(fd, buf, PIECE, 0));
	CHECK("read", pread(fd, seen, PIECE, 0));
	CHECK("seal a plain one", fcntl(plain, F_ADD_SEALS, F_SEAL_WRITE));
	CHECK("write", pwrite(plain, buf, PIECE, 0));
	close(fd);
	close(plain);
}

static void mapped(const char *name, size_t size)
{
	int fd = used_file(name, size);
	char *map = mmap(0, PIECE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	struct timespec tick = {0, 20000000};
	struct stat before, after;

	printf("%s\n", name);
	TRUE("mapped", map != MAP_FAILED);
	fill(buf, PIECE, 77);
	CHECK("write", pwrite(fd, buf, PIECE, 0));
	TRUE("the mapping shows it", !memcmp(map, buf, PIECE));
	memset(map + 1000, 3, 30000);
	CHECK("read", pread(fd, seen, PIECE, 0));
	TRUE("a read shows what was stored", !memcmp(map, seen, PIECE));
	CHECK("read into itself", pread(fd, map, PIECE, 0));
	CHECK("write from itself", pwrite(fd, map, PIECE, 0));
	TRUE("nothing has changed", !memcmp(map, seen, PIECE));
	munmap(map, PIECE);
	MUST(fstat(fd, &before));
	nanosleep(&tick, 0);
	CHECK("write", pwrite(fd, buf, PIECE, 0));
	MUST(fstat(fd, &after));
	TRUE("a write is noted", after.st_mtim.tv_sec > before.st_mtim.tv_sec || after.st_mtim.tv_nsec != before.st_mtim.tv_nsec);
	MUST(unlink(name));
	CHECK("write without a name", pwrite(fd, buf, PIECE, 0));
	CHECK("read without a name", pread(fd, seen, PIECE, 0));
	CHECK("content", content(fd));
	close(fd);
}

static int shared;
static int stop;

static void *resize(void *arg)
{
	for (int i = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); i++)
		ftruncate(shared, i % 2 ? LARGE : 100000);
	return arg;
}

static void *punch(void *arg)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		fallocate(shared, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, LARGE);
	return arg;
}

/* Whatever another thread does to the file, a transfer gives a count, and bytes that were there. */
static void meanwhile(const char *what, void *(*other)(void *))
{
	static char mine[PIECE];
	int good = 1;
	pthread_t t;

	shared = used_file("shared", LARGE);
	stop = 0;
	memset(mine, 9, sizeof mine);
	pthread_create(&t, 0, other, 0);
	for (int i = 0; i < 600; i++) {
		ssize_t wrote = pwrite(shared, mine, PIECE, 65536), got = pread(shared, seen, PIECE, 65536);

		good &= wrote == PIECE && got >= 0 && got <= PIECE;
		for (ssize_t j = 0; j < got; j++)
			good &= seen[j] == 9 || seen[j] == 0;
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	pthread_join(t, 0);
	TRUE(what, good);
	close(shared);
}

static pthread_barrier_t barrier;
#define ROUNDS 200

static void *overwrite(void *arg)
{
	static char others[PIECE];

	memset(others, 'b', sizeof others);
	for (int i = 0; i < ROUNDS; i++) {
		pthread_barrier_wait(&barrier);
		pwrite(shared, others, PIECE, 65536);
		pthread_barrier_wait(&barrier);
	}
	return arg;
}

/* Of two writes at once one is the last. */
static void at_once(void)
{
	static char mine[PIECE];
	int good = 1;
	pthread_t t;

	shared = used_file("shared", LARGE);
	memset(mine, 'a', sizeof mine);
	pthread_barrier_init(&barrier, 0, 2);
	pthread_create(&t, 0, overwrite, 0);
	for (int i = 0; i < ROUNDS; i++) {
		pthread_barrier_wait(&barrier);
		pwrite(shared, mine, PIECE, 65536);
		pthread_barrier_wait(&barrier);
		pread(shared, seen, PIECE, 65536);
		for (int j = 1; j < PIECE; j++)
			good &= seen[j] == seen[0];
	}
	pthread_join(t, 0);
	TRUE("writes at once do not mix", good);
	close(shared);
}

int main(void)
{
	area = mmap(0, READABLE + PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(area + READABLE, PIECE);
	faults("small, faults", SMALL);
	faults("large, faults", LARGE);
	ends("small, ends", SMALL);
	ends("large, ends", LARGE);
	holes();
	limit();
	seals();
	mapped("small, mapped", SMALL);
	mapped("large, mapped", LARGE);
	meanwhile("it is made shorter meanwhile", resize);
	meanwhile("holes are punched meanwhile", punch);
	at_once();
	return 0;
}
