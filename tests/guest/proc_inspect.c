/* Looking into other processes: process_vm_readv, process_vm_writev, kcmp, pidfd_getfd; and clocks that are asked. */
#include "common.h"

#include <linux/kcmp.h>
#include <sys/prctl.h>
#include <sys/timex.h>
#include <sys/uio.h>

static char shared[16384] = "of the parent";
static int to_child[2], to_parent[2];

static pid_t start(int unprivileged)
{
	char c;
	pid_t p;

	MUST(pipe(to_child));
	MUST(pipe(to_parent));
	p = fork();
	if (p == 0) {
		strcpy(shared, "of the child");
		if (unprivileged)
			MUST(setresuid(1000, 1000, 1000));
		MUST(write(to_parent[1], "", 1));
		MUST(read(to_child[0], &c, 1));
		if (shared[0] != 'o')
			printf("child sees %s\n", shared);
		fflush(stdout);
		_exit(0);
	}
	MUST(p);
	MUST(read(to_parent[0], &c, 1));
	return p;
}

static void finish(pid_t p)
{
	int status;

	MUST(write(to_child[1], "", 1));
	MUST(waitpid(p, &status, 0));
	report_status("child", status);
}

static void memory(pid_t p)
{
	char buf[64] = "";
	struct iovec local = {buf, sizeof buf}, remote = {shared, 13}, none = {buf, 0}, bad = {(void *)8, 16};
	struct iovec two[] = {{buf, 3}, {buf + 10, 10}}, far[] = {{shared, 4}, {(void *)8, 4}};
	char *hole = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	MUST(munmap(hole + 4096, 4096));
	SHOW(process_vm_readv(p, &local, 1, &remote, 1, 0));
	printf("%s\n", buf);
	SHOW(process_vm_readv(p, two, 2, &remote, 1, 0));
	printf("%.3s %.10s\n", buf, buf + 10);
	SHOW(process_vm_readv(p, &local, 1, far, 2, 0));
	SHOW(process_vm_readv(p, &local, 1, &bad, 1, 0));
	SHOW(process_vm_readv(p, &bad, 1, &remote, 1, 0));
	SHOW(process_vm_readv(p, &local, 1, &remote, 1, 1));
	SHOW(process_vm_readv(p, &local, 1025, &remote, 1, 0));
	SHOW(process_vm_readv(p, &local, 1, &remote, 1025, 0));
	SHOW(process_vm_readv(p, (void *)8, 1, &remote, 1, 0));
	SHOW(process_vm_readv(p, &none, 1, &remote, 1, 0));
	SHOW(process_vm_readv(999999, &none, 1, &remote, 1, 0));
	SHOW(process_vm_readv(999999, &local, 1, &none, 1, 0));
	SHOW(process_vm_readv(999999, &local, 1, &remote, 1, 0));
	SHOW(process_vm_readv(-1, &local, 1, &remote, 1, 0));
	strcpy(buf, "was written ");
	SHOW(process_vm_writev(p, &local, 1, &remote, 1, 0));
	SHOW(process_vm_writev(p, &local, 1, &bad, 1, 0));
	SHOW(process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
	IN_CHILD("unprivileged", {
		MUST(setresuid(1000, 1000, 1000));
		SHOW(process_vm_readv(getppid(), &local, 1, &remote, 1, 0));
		SHOW(process_vm_writev(getppid(), &local, 1, &remote, 1, 0));
	});
}

static void comparison(pid_t p)
{
	pid_t me = getpid();
	int twin = dup(1), other = open("/dev/null", O_RDONLY);

	SHOW(syscall(SYS_kcmp, me, p, KCMP_FILE, 1, 1));
	SHOW(syscall(SYS_kcmp, me, me, KCMP_FILE, 1, twin));
	TRUE("differ", syscall(SYS_kcmp, me, me, KCMP_FILE, 1, other) > 0);
	TRUE("in order", syscall(SYS_kcmp, me, me, KCMP_FILE, 1, other) + syscall(SYS_kcmp, me, me, KCMP_FILE, other, 1) == 3);
	SHOW(syscall(SYS_kcmp, me, me, KCMP_FILE, 1, 900));
	SHOW(syscall(SYS_kcmp, me, me, KCMP_VM, 0, 0));
	TRUE("memory", syscall(SYS_kcmp, me, p, KCMP_VM, 0, 0) > 0);
	TRUE("files", syscall(SYS_kcmp, me, p, KCMP_FILES, 0, 0) > 0);
	TRUE("fs", syscall(SYS_kcmp, me, p, KCMP_FS, 0, 0) > 0);
	TRUE("sighand", syscall(SYS_kcmp, me, p, KCMP_SIGHAND, 0, 0) > 0);
	SHOW(syscall(SYS_kcmp, me, me, 99, 0, 0));
	SHOW(syscall(SYS_kcmp, me, 999999, KCMP_VM, 0, 0));
	IN_CHILD("unprivileged", {
		MUST(setresuid(1000, 1000, 1000));
		SHOW(syscall(SYS_kcmp, getpid(), getppid(), KCMP_VM, 0, 0));
	});
	close(twin);
	close(other);
}

static void descriptors(pid_t p)
{
	int pidfd = syscall(SYS_pidfd_open, p, 0), fd, status;
	pid_t dead;

	MUST(pidfd);
	fd = syscall(SYS_pidfd_getfd, pidfd, to_child[0], 0);
	MUST(fd);
	printf("same %ld, flags %d\n", syscall(SYS_kcmp, getpid(), p, KCMP_FILE, fd, to_child[0]), fcntl(fd, F_GETFD));
	SHOW(syscall(SYS_pidfd_getfd, pidfd, 900, 0));
	SHOW(syscall(SYS_pidfd_getfd, pidfd, 0, 1));
	SHOW(syscall(SYS_pidfd_getfd, 0, 0, 0));
	SHOW(syscall(SYS_pidfd_getfd, 900, 0, 0));
	IN_CHILD("unprivileged", {
		MUST(setresuid(1000, 1000, 1000));
		int parent = syscall(SYS_pidfd_open, getppid(), 0);
		SHOW(syscall(SYS_pidfd_getfd, parent, 0, 0));
	});
	dead = fork();
	if (dead == 0)
		_exit(0);
	int gone = syscall(SYS_pidfd_open, dead, 0);
	MUST(gone);
	MUST(waitpid(dead, &status, 0));
	SHOW(syscall(SYS_pidfd_getfd, gone, 0, 0));
	close(fd);
	close(pidfd);
}

/* One of the same ids, but not to be looked into. */
static void undumpable(void)
{
	char buf[16];
	struct iovec local = {buf, 4}, remote = {shared, 4};

	IN_CHILD("not dumpable", {
		MUST(setresgid(1000, 1000, 1000));
		MUST(setresuid(1000, 1000, 1000));
		IN_CHILD("to its parent, not", SHOW(process_vm_readv(getppid(), &local, 1, &remote, 1, 0)));
		MUST(prctl(PR_SET_DUMPABLE, 1));
		IN_CHILD("to its parent", SHOW(process_vm_readv(getppid(), &local, 1, &remote, 1, 0)));
	});
}

static void clocks(void)
{
	struct timex t = {0};

	TRUE("asked", adjtimex(&t) >= 0 && t.tick == 10000 && t.tolerance > 0);
	SHOW(syscall(SYS_adjtimex, 8));
	t.modes = 0x8000;
	SHOW(syscall(SYS_adjtimex, &t));
	t.modes = 0;
	SHOW(syscall(SYS_clock_adjtime, CLOCK_MONOTONIC, &t));
	SHOW(syscall(SYS_clock_adjtime, 77, &t));
	IN_CHILD("unprivileged", {
		MUST(setresuid(1000, 1000, 1000));
		t.modes = ADJ_TICK;
		SHOW(syscall(SYS_adjtimex, &t));
		SHOW(syscall(SYS_clock_adjtime, CLOCK_REALTIME, &t));
	});
}

static void seals(void)
{
	char *p = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	SHOW(syscall(462, p, 4096, 1));
	SHOW(syscall(462, p + 1, 4096, 0));
	SHOW(syscall(462, p, 4096, 0));
	SHOW(munmap(p, 8192));
	SHOW(mprotect(p, 4096, PROT_READ));
	SHOW(munmap(p + 4096, 4096));
}

int main(void)
{
	pid_t p = start(0);

	memory(p);
	comparison(p);
	descriptors(p);
	finish(p);
	undumpable();
	clocks();
	seals();
	return 0;
}
