/* Copies at the borders of mappings: what is readable is transferred, EFAULT comes only if nothing is. */
#include "common.h"
#include <sys/uio.h>

#define PAGE 4096
#pragma GCC diagnostic ignored "-Wnonnull"

int main(void)
{
	int p[2], zero = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_WRONLY);
	char *m = mmap(0, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	MUST(pipe(p));
	munmap(m + PAGE, PAGE);
	CHECK("read over the end of a mapping", read(zero, m, 2 * PAGE));
	CHECK("read into a hole", read(zero, m + PAGE, 10));
	CHECK("read of nothing into a hole", read(zero, m + PAGE, 0));
	CHECK("write to a pipe over the end of a mapping", write(p[1], m + PAGE - 10, 20));
	CHECK("write from a hole to a pipe", write(p[1], m + PAGE, 20));
	struct iovec v[2] = {{m, 10}, {m + PAGE, 10}};
	CHECK("readv, the second part in a hole", readv(zero, v, 2));
	CHECK("stat into a hole", stat("/", (struct stat *)(m + PAGE)));
	CHECK("stat over the end", stat("/", (struct stat *)(m + PAGE - 8)));
	CHECK("open of a path over the end", (memset(m + PAGE - 4, 'x', 4), open(m + PAGE - 4, O_RDONLY)));
	CHECK("open of a path that ends with the mapping", (strcpy(m + PAGE - 5, "/tmp"), access(m + PAGE - 5, F_OK)));
	mprotect(m, PAGE, PROT_READ);
	CHECK("read into a read-only page", read(zero, m, 10));
	CHECK("write from a read-only page", write(null, m, 10));
	mprotect(m, PAGE, PROT_NONE);
	CHECK("read into an inaccessible page", read(zero, m, 10));
	CHECK("kernel address", read(zero, (void *)0xffff800000000000, 10));
	CHECK("null", read(zero, 0, 10));
	CHECK("pipe into null", pipe(0));
	CHECK("nanosleep(null)", nanosleep(0, 0));
	return 0;
}
