/* Calls that change the machine, by who may not; memory policies; file handles; advice for other processes. */
#include "common.h"
#include <sys/uio.h>

#define CALL(nr, ...) CHECK(#nr " " #__VA_ARGS__, syscall(SYS_##nr, ##__VA_ARGS__))

static void of_the_machine(void)
{
	MUST(setresuid(1000, 1000, 1000));
	CALL(acct, "file");
	CALL(acct, NULL);
	CALL(swapon, "file", 0);
	CALL(swapon, "file", -1);
	CALL(swapoff, "file");
	CALL(reboot, 0xfee1dead, 672274793, 0, NULL);
	CALL(reboot, 1, 2, 0, NULL);
	CALL(vhangup, 0);
	CALL(open_by_handle_at, AT_FDCWD, NULL, 0);
}

static void policies(void)
{
	unsigned long nodes[16] = { 1 };
	int mode = -1;
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *gone = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*page = 1;
	munmap(gone, 4096);
	CALL(get_mempolicy, &mode, NULL, 0, NULL, 0);
	printf("mode %d\n", mode);
	CALL(get_mempolicy, NULL, nodes, 1024, NULL, 4);
	printf("allowed %lx\n", nodes[0]);
	CALL(get_mempolicy, &mode, NULL, 0, NULL, 8);
	CALL(get_mempolicy, &mode, NULL, 0, NULL, 4 | 2);
	CALL(get_mempolicy, &mode, NULL, 0, NULL, 1);
	CALL(get_mempolicy, &mode, NULL, 0, page, 0);
	CALL(get_mempolicy, &mode, NULL, 0, page, 1 | 2);
	printf("node %d\n", mode);
	CALL(get_mempolicy, &mode, NULL, 0, page, 2);
	CALL(get_mempolicy, &mode, NULL, 0, gone, 2);
	nodes[0] = 1;
	CALL(set_mempolicy, 2, nodes, 64);
	CALL(get_mempolicy, &mode, nodes, 1024, NULL, 0);
	printf("mode %d nodes %lx\n", mode, nodes[0]);
	CALL(set_mempolicy, 0, nodes, 64);
	CALL(set_mempolicy, 2, NULL, 0);
	CALL(set_mempolicy, 2 | 1 << 14 | 1 << 15, nodes, 64);
	CALL(set_mempolicy, 100, nodes, 64);
	CALL(set_mempolicy, 3, nodes, 64);
	CALL(get_mempolicy, &mode, NULL, 0, NULL, 1);
	printf("node %d\n", mode);
	IN_CHILD("inherits", {
		CALL(get_mempolicy, &mode, NULL, 0, NULL, 0);
		printf("mode %d\n", mode);
		fflush(stdout);
	});
	CALL(set_mempolicy, 1, NULL, 0);
	CALL(get_mempolicy, &mode, NULL, 0, NULL, 0);
	printf("mode %d\n", mode);
	CALL(set_mempolicy, 0, NULL, 0);
	CALL(set_mempolicy, 2, (void *)8, 64);
	nodes[0] = 1UL << 40;
	CALL(set_mempolicy, 2, nodes, 64);
	nodes[0] = 1;
	CALL(mbind, page, 4096, 2, nodes, 64, 0);
	CALL(mbind, page, 4096, 2, nodes, 64, 8);
	CALL(mbind, page + 1, 4096, 2, nodes, 64, 0);
	CALL(mbind, page, 0, 2, nodes, 64, 0);
	CALL(mbind, gone, 4096, 2, nodes, 64, 0);
	CALL(mbind, page, 4096, 0, NULL, 0, 0);
}

static void advice(void)
{
	char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec both[2] = { { pages, 4096 }, { pages + 4096, 4096 } };
	struct iovec bad = { pages + 1, 4096 };
	int self = syscall(SYS_pidfd_open, getpid(), 0), null = open("/dev/null", O_RDONLY);

	CALL(process_madvise, self, both, 2, MADV_COLD, 0);
	CALL(process_madvise, self, both, 2, MADV_COLD, 1);
	CALL(process_madvise, self, &bad, 1, MADV_COLD, 0);
	CALL(process_madvise, -1, both, 2, MADV_COLD, 0);
	CALL(process_madvise, null, both, 2, MADV_COLD, 0);
	CALL(process_madvise, self, NULL, 2, MADV_COLD, 0);
	CALL(process_madvise, self, both, 2000, MADV_COLD, 0);
	munmap(pages + 4096, 4096);
	CALL(process_madvise, self, both, 2, MADV_COLD, 0);
	CALL(process_mrelease, self, 0);
	CALL(process_mrelease, self, 1);
	CALL(process_mrelease, -1, 0);
	CALL(process_mrelease, null, 0);
}

int main(void)
{
	char handle[200] = { 0 };
	int id;

	CALL(name_to_handle_at, AT_FDCWD, "missing", handle, &id, 0);
	CALL(name_to_handle_at, AT_FDCWD, ".", handle, &id, 0x10);
	CALL(name_to_handle_at, -1, "x", handle, &id, 0);
	CALL(name_to_handle_at, AT_FDCWD, "/proc/self/stat", handle, &id, 0);
	CALL(open_by_handle_at, -1, handle, 0);
	CALL(open_by_handle_at, AT_FDCWD, NULL, 0);
	*(unsigned *)handle = 8;
	CALL(open_by_handle_at, AT_FDCWD, handle, 0);
	*(unsigned *)handle = 1000;
	CALL(open_by_handle_at, AT_FDCWD, handle, 0);
	IN_CHILD("machine", of_the_machine());
	policies();
	advice();
	return 0;
}
