/* Threads that open, map and close files at once; mappings outlive descriptors; rights of mappings. */
#include "common.h"
#include <pthread.h>
#include <sched.h>

#define ROUNDS 3000

static int failed;

/* Threads on different processors really run at once. */
static void run_on(long cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void *map_and_close(void *nr)
{
	run_on((long)nr % sysconf(_SC_NPROCESSORS_ONLN));
	for (int i = 0; i < ROUNDS; i++) {
		int fd = open("map.tmp", O_RDONLY);
		char *p = mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 0);

		if (p == MAP_FAILED || p[0] != 'a')
			__sync_fetch_and_add(&failed, 1);
		else
			munmap(p, 4096);
		close(fd);
	}
	return 0;
}

int main(void)
{
	pthread_t t[4];
	char page[4096];
	int fd = open("map.tmp", O_RDWR | O_CREAT | O_TRUNC, 0600);

	memset(page, 'a', sizeof page);
	MUST(write(fd, page, sizeof page));
	for (long i = 0; i < 4; i++)
		pthread_create(&t[i], 0, map_and_close, (void *)i);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], 0);
	printf("failed: %d\n", failed);

	char *shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	int ro = open("map.tmp", O_RDONLY), wo = open("map.tmp", O_WRONLY);
	char *other = mmap(0, 4096, PROT_READ, MAP_SHARED, ro, 0);
	shared[0] = 'b';
	printf("seen by another mapping: %c\n", other[0]);
	MUST(pread(ro, page, 1, 0));
	printf("seen by read: %c\n", page[0]);
	MUST(pwrite(fd, "c", 1, 0));
	printf("write seen by mappings: %c %c\n", shared[0], other[0]);
	CHECK("writing to a mapping of a read-only descriptor", mprotect(other, 4096, PROT_READ | PROT_WRITE));
	WORKS("shared writable of a read-only descriptor", mmap(0, 4096, PROT_WRITE, MAP_SHARED, ro, 0));
	WORKS("private writable of a read-only descriptor", mmap(0, 4096, PROT_WRITE, MAP_PRIVATE, ro, 0));
	WORKS("of a write-only descriptor", mmap(0, 4096, PROT_READ, MAP_PRIVATE, wo, 0));
	WORKS("no length", mmap(0, 0, PROT_READ, MAP_PRIVATE, ro, 0));
	WORKS("odd offset", mmap(0, 4096, PROT_READ, MAP_PRIVATE, ro, 1));
	WORKS("closed descriptor", mmap(0, 4096, PROT_READ, MAP_PRIVATE, 77, 0));
	WORKS("directory", mmap(0, 4096, PROT_READ, MAP_PRIVATE, open("/", O_RDONLY), 0));
	close(fd);
	close(ro);
	close(wo);
	unlink("map.tmp");
	printf("after close and unlink: %c\n", other[0]);
	IN_CHILD("in a child", printf("child sees %c\n", shared[0]); shared[0] = 'd'; fflush(stdout));
	printf("after the child: %c\n", shared[0]);
	return 0;
}
