/* Memory: errors and edges of mmap, munmap, mprotect, mremap, madvise, msync, mincore, mlock, brk. */
#include "common.h"
#include <sys/resource.h>

#define P 4096ul
static char *area(size_t pages)
{
	return mmap(NULL, pages * P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
#define MAP(...) WORKS("mmap(" #__VA_ARGS__ ")", syscall(SYS_mmap, __VA_ARGS__))

static void maps(void)
{
	int rd = open("f", O_RDONLY), wr = open("f", O_WRONLY), rw = open("f", O_RDWR), dir = open(".", O_RDONLY), p[2],
	    path = open("f", O_PATH);
	char *a = area(4);

	MUST(pipe(p));
	MAP(0, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MAP(0, P, PROT_READ, MAP_ANONYMOUS, -1, 0);
	MAP(0, P, PROT_READ, MAP_PRIVATE | MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	MAP(0, P, PROT_READ, MAP_PRIVATE, -1, 0);
	MAP(0, P, PROT_READ, MAP_PRIVATE, 999, 0);
	MAP(0, P, PROT_READ, MAP_PRIVATE, path, 0);
	MAP(0, P, PROT_READ, MAP_PRIVATE, dir, 0);
	MAP(0, P, PROT_READ, MAP_PRIVATE, p[0], 0);
	MAP(0, P, PROT_READ, MAP_PRIVATE, wr, 0);
	MAP(0, P, PROT_READ, MAP_SHARED, wr, 0);
	MAP(0, P, PROT_WRITE, MAP_SHARED, wr, 0);
	MAP(0, P, PROT_READ | PROT_WRITE, MAP_SHARED, rd, 0);
	MAP(0, P, PROT_READ | PROT_WRITE, MAP_PRIVATE, rd, 0);
	MAP(0, P, PROT_READ | PROT_WRITE, MAP_SHARED, rw, 0);
	MAP(0, P, PROT_READ, MAP_PRIVATE, rd, 1);
	MAP(0, P, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 1);
	MAP(0, P, PROT_READ, MAP_PRIVATE, rd, P * 100);
	MAP(0, P, PROT_READ, MAP_PRIVATE, rd, ~(P - 1));
	MAP(0, 2 * P, PROT_READ, MAP_PRIVATE, rd, ~(P - 1));
	MAP(0, ~0ul, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MAP(0, 1ul << 47, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MAP(a + 1, P, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	MAP(a + 1, P, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MAP(a, P, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	MAP(a, P, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	MAP(1ul << 47, P, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	MAP(~0ul << 12, P, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	MAP(0, P, 0x100, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MAP(0, P, PROT_READ, MAP_SHARED_VALIDATE | 0x800000, rd, 0);
	MAP(0, P, PROT_READ, MAP_SHARED_VALIDATE, rd, 0);
	MAP(0, P, PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC, rd, 0);
	MAP(0, P, PROT_READ, MAP_SHARED_VALIDATE | MAP_ANONYMOUS, -1, 0);
	MAP(0, P, PROT_READ, 7 | MAP_ANONYMOUS, -1, 0);
	SHOW(munmap(a + 1, P));
	SHOW(munmap(a, 0));
	SHOW(munmap((void *)(~0ul << 12), P));
	SHOW(munmap(a, ~0ul));
	SHOW(munmap(a, 4 * P));
	SHOW(munmap(a, 4 * P));
	close(rd), close(wr), close(rw), close(dir), close(path), close(p[0]), close(p[1]);
}

static void protects(void)
{
	char *a = area(4), *ro;
	int rd = open("f", O_RDONLY);

	ro = mmap(NULL, P, PROT_READ, MAP_SHARED, rd, 0);
	SHOW(mprotect(a + 1, P, PROT_READ));
	SHOW(mprotect(a, 0, PROT_READ));
	SHOW(mprotect(a, P, 0x80));
	SHOW(mprotect(a, ~0ul - P, PROT_READ));
	SHOW(mprotect(ro, P, PROT_WRITE));
	SHOW(mprotect(a, P, PROT_READ | PROT_GROWSDOWN));
	SHOW(mprotect(a, P, PROT_READ | PROT_GROWSDOWN | PROT_GROWSUP));
	munmap(a + 2 * P, P);
	SHOW(mprotect(a, 4 * P, PROT_READ));
	SHOW(mprotect((void *)P, P, PROT_READ));
	SHOW(msync(a, P, MS_SYNC | MS_ASYNC));
	SHOW(msync(a, P, 64));
	SHOW(msync(a + 1, P, MS_SYNC));
	SHOW(msync(a, 4 * P, MS_SYNC));
	SHOW(msync(a, 4 * P, MS_ASYNC));
	SHOW(msync(a, 0, MS_SYNC));
	SHOW(msync(ro, P, MS_SYNC | MS_INVALIDATE));
	SHOW(msync(ro, ~0ul - P, MS_SYNC));
	munmap(a, 4 * P);
	close(rd);
}

static void remaps(void)
{
	char *a = area(8), *b;

	a[0] = 'a';
	SHOW(mremap(a + 1, P, P, 0) == MAP_FAILED ? -1 : 0);
	SHOW(mremap(a, P, 0, 0) == MAP_FAILED ? -1 : 0);
	SHOW(mremap(a, P, P, 99) == MAP_FAILED ? -1 : 0);
	SHOW(mremap(a, P, P, MREMAP_FIXED, a) == MAP_FAILED ? -1 : 0);
	SHOW(mremap(a, P, P, MREMAP_MAYMOVE | MREMAP_FIXED, a) == MAP_FAILED ? -1 : 0);
	SHOW(mremap(a, P, P, MREMAP_MAYMOVE | MREMAP_FIXED, a + 1) == MAP_FAILED ? -1 : 0);
	SHOW(mremap(a, P, 4 * P, 0) == MAP_FAILED ? -1 : 0);
	SHOW(mremap(a, 0, P, MREMAP_MAYMOVE) == MAP_FAILED ? -1 : 0);
	SHOW(mremap((void *)P, P, P, 0) == MAP_FAILED ? -1 : 0);
	SHOW(mremap(a, P, 1ul << 47, MREMAP_MAYMOVE) == MAP_FAILED ? -1 : 0);
	SHOW(mremap(a, 2 * P, P, 0) == a ? 0 : -1);
	b = mremap(a, P, 16 * P, MREMAP_MAYMOVE);
	printf("moved %d kept %c\n", b != a, b[0]);
	SHOW(mremap(b, 16 * P, 16 * P, MREMAP_MAYMOVE | MREMAP_DONTUNMAP) == MAP_FAILED ? -1 : 0);
	SHOW(mremap(b, 8 * P, 16 * P, MREMAP_MAYMOVE | MREMAP_DONTUNMAP) == MAP_FAILED ? -1 : 0);
}

static void advises(void)
{
	char *a = area(4);
	unsigned char vec[4];

	int advices[] = { 0, 1, 2, 3, 4, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 99, -1 };
	for (size_t i = 0; i < sizeof advices / sizeof *advices; i++) {
		char name[32];
		if (advices[i] == 12 || advices[i] == 13)
			continue;
		snprintf(name, sizeof name, "madvise %d", advices[i]);
		CHECK(name, madvise(a, P, advices[i]));
	}
	SHOW(madvise(a + 1, P, MADV_NORMAL));
	SHOW(madvise(a, 0, MADV_NORMAL));
	SHOW(madvise(a, 0, 99));
	SHOW(madvise(a, ~0ul - P, MADV_NORMAL));
	munmap(a + P, P);
	SHOW(madvise(a, 4 * P, MADV_NORMAL));
	SHOW(madvise(a, 4 * P, MADV_DONTNEED));
	SHOW(madvise((void *)P, P, MADV_DONTNEED));
	memset(a, 1, P);
	SHOW(mincore(a, P, vec));
	printf("in core %d\n", vec[0] & 1);
	SHOW(mincore(a + 1, P, vec));
	SHOW(mincore(a, 4 * P, vec));
	SHOW(mincore(a, P, (void *)8));
	SHOW(mincore(a, 0, vec));
	SHOW(mincore(a, ~0ul - P, vec));
	SHOW(mlock(a, P));
	SHOW(mlock(a, 4 * P));
	SHOW(mlock((void *)P, P));
	SHOW(munlock(a, P));
	SHOW(munlock(a, 4 * P));
	SHOW(mlock(a, 0));
	SHOW(mlock2(a, P, 0));
	SHOW(mlock2(a, P, MLOCK_ONFAULT));
	SHOW(mlock2(a, P, 8));
	SHOW(mlockall(0));
	SHOW(mlockall(8));
	SHOW(mlockall(MCL_ONFAULT));
	SHOW(munlockall());
}

static void breaks(void)
{
	char *now = (char *)syscall(SYS_brk, 0), *next;

	next = (char *)syscall(SYS_brk, now + 5 * P);
	printf("grown by %ld pages\n", (long)(next - now) / (long)P);
	next[-1] = 1;
	printf("shrunk by %ld pages\n", (long)(next - (char *)syscall(SYS_brk, next - 2 * P)) / (long)P);
	printf("refused: %d\n", (char *)syscall(SYS_brk, 8) == next - 2 * P);
	printf("refused: %d\n", (char *)syscall(SYS_brk, 1ul << 46) == next - 2 * P);
	struct rlimit old, none = { 0, 0 };
	getrlimit(RLIMIT_DATA, &old);
	none.rlim_max = old.rlim_max;
	setrlimit(RLIMIT_DATA, &none);
	printf("beyond the limit: %d\n", (char *)syscall(SYS_brk, next + 100 * P) == next - 2 * P);
	setrlimit(RLIMIT_DATA, &old);
	getrlimit(RLIMIT_AS, &old);
	struct rlimit small = { 64 << 20, old.rlim_max };
	setrlimit(RLIMIT_AS, &small);
	WORKS("beyond the address space", syscall(SYS_mmap, NULL, 256ul << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	setrlimit(RLIMIT_AS, &old);
}

int main(void)
{
	int fd = open("f", O_RDWR | O_CREAT, 0644);
	static char data[8192];

	MUST(write(fd, data, sizeof data));
	close(fd);
	maps();
	protects();
	remaps();
	advises();
	breaks();
	return 0;
}
