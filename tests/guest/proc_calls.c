/* Processes: errors and edges of wait, exec, clone, ids, limits, priorities, scheduling, prctl, pidfds. */
#include "common.h"
#include <linux/sched.h>
#include <sched.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/fsuid.h>
#include <sys/utsname.h>

static pid_t exits(int code)
{
	fflush(stdout);
	pid_t pid = fork();
	if (!pid)
		_exit(code);
	return pid;
}

static void waits(void)
{
	int status = 7;
	siginfo_t info;
	struct rusage usage;
	pid_t pid;

	SHOW(wait4(-1, &status, 0, NULL));
	SHOW(wait4(-1, &status, WNOHANG, NULL));
	SHOW(wait4(1 << 22, &status, 0, NULL));
	SHOW(wait4(INT32_MIN, &status, 0, NULL));
	SHOW(wait4(-1, &status, 0x10, NULL));
	SHOW(waitid(P_ALL, 0, &info, 0));
	SHOW(waitid(P_ALL, 0, &info, WNOHANG));
	SHOW(waitid(P_ALL, 0, &info, WEXITED));
	SHOW(waitid(P_ALL, 0, &info, WEXITED | 0x80));
	SHOW(waitid(P_PID, 0, &info, WEXITED));
	SHOW(waitid(P_PID, -1, &info, WEXITED));
	SHOW(waitid(P_PGID, -1, &info, WEXITED));
	SHOW(waitid(P_PIDFD, -1, &info, WEXITED));
	SHOW(waitid(P_PIDFD, 999, &info, WEXITED));
	SHOW(waitid(P_PIDFD, 0, &info, WEXITED));
	SHOW(waitid(9, 0, &info, WEXITED));
	pid = exits(3);
	SHOW(waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
	printf("code %d status %d mine %d\n", info.si_code, info.si_status, info.si_pid == pid);
	SHOW(wait4(pid, (void *)8, 0, NULL));
	SHOW(wait4(pid, NULL, 0, NULL));
	pid = exits(4);
	waitid(P_PID, pid, &info, WEXITED | WNOWAIT);
	SHOW(wait4(pid, &status, 0, (void *)8));
	pid = exits(5);
	SHOW(syscall(SYS_waitid, P_PID, pid, 8, WEXITED, NULL));
	SHOW(syscall(SYS_waitid, P_PID, pid, NULL, WEXITED, NULL));
	pid = exits(6);
	SHOW(wait4(pid, &status, __WCLONE, &usage));
	SHOW(wait4(pid, &status, __WALL, &usage) == pid);
	report_status("waited", status);
	fflush(stdout);
	pid = fork();
	if (!pid)
		for (;;)
			pause();
	info.si_pid = 9;
	SHOW(waitid(P_PID, pid, &info, WEXITED | WNOHANG));
	printf("nobody: %d\n", info.si_pid);
	SHOW(wait4(pid, &status, WNOHANG, NULL));
	kill(pid, SIGSTOP);
	SHOW(waitid(P_PID, pid, &info, WSTOPPED));
	printf("code %d status %d\n", info.si_code, info.si_status);
	kill(pid, SIGCONT);
	SHOW(waitid(P_PID, pid, &info, WCONTINUED));
	printf("code %d status %d\n", info.si_code, info.si_status);
	kill(pid, SIGKILL);
	SHOW(waitid(P_PGID, 0, &info, WEXITED));
	printf("code %d status %d\n", info.si_code, info.si_status);
	signal(SIGCHLD, SIG_IGN);
	pid = exits(1);
	SHOW(waitpid(pid, &status, 0));
	signal(SIGCHLD, SIG_DFL);
}

static void execs(void)
{
	char *argv[] = { "x", NULL }, *bad[] = { (char *)8, NULL };
	static char longest[5000], huge[200000];
	char *big[] = { huge, NULL };

	memset(longest, 'a', sizeof longest - 1);
	memset(huge, 'a', sizeof huge - 1);
	close(open("plain", O_CREAT | O_WRONLY, 0644));
	close(open("empty", O_CREAT | O_WRONLY, 0755));
	int fd = open("script", O_CREAT | O_WRONLY, 0755);
	MUST(write(fd, "#!/nonexistent\n", 15));
	close(fd);
	fd = open("loop", O_CREAT | O_WRONLY, 0755);
	MUST(write(fd, "#!./loop\n", 9));
	close(fd);
	fd = open("garbage", O_CREAT | O_WRONLY, 0755);
	MUST(write(fd, "\177ELF garbage garbage garbage garbage garbage garbage garbage garbage", 60));
	close(fd);
	MUST(symlink("self", "self"));
	SHOW(execve("nowhere", argv, NULL));
	SHOW(execve("plain/x", argv, NULL));
	SHOW(execve("plain", argv, NULL));
	SHOW(execve("empty", argv, NULL));
	SHOW(execve("script", argv, NULL));
	SHOW(execve("loop", argv, NULL));
	SHOW(execve("garbage", argv, NULL));
	SHOW(execve(".", argv, NULL));
	SHOW(execve("self", argv, NULL));
	SHOW(execve(longest, argv, NULL));
	SHOW(execve("", argv, NULL));
	SHOW(execve((void *)8, argv, NULL));
	SHOW(execve("/bin/true", bad, NULL));
	SHOW(execve("/bin/true", (void *)8, NULL));
	SHOW(execve("/bin/true", argv, bad));
	SHOW(execve("/bin/true", big, NULL));
	SHOW(execve("nowhere", bad, NULL));
	fd = open("script2", O_CREAT | O_RDWR, 0755);
	MUST(write(fd, "#!/bin/true\n", 12));
	SHOW(execve("script2", argv, NULL));
	close(fd);
	int dir = open("/bin", O_PATH);
	SHOW(syscall(SYS_execveat, -1, "true", argv, NULL, 0));
	SHOW(syscall(SYS_execveat, dir, "true", argv, NULL, 0x10));
	SHOW(syscall(SYS_execveat, dir, "", argv, NULL, 0));
	SHOW(syscall(SYS_execveat, dir, "", argv, NULL, AT_EMPTY_PATH));
	SHOW(syscall(SYS_execveat, AT_FDCWD, "self", argv, NULL, AT_SYMLINK_NOFOLLOW));
	IN_CHILD("execveat", syscall(SYS_execveat, dir, "true", argv, NULL, 0));
	IN_CHILD("no arguments", syscall(SYS_execve, "/bin/true", NULL, NULL));
	close(dir);
}

/* What is made by mistake ends at once. */
static long clone3_(struct clone_args *args, size_t size)
{
	long pid = syscall(SYS_clone3, args, size);

	if (!pid)
		_exit(77);
	return pid > 0 ? 4711 : pid;
}

static void clones(void)
{
	struct clone_args a;

	SHOW(syscall(SYS_clone, CLONE_THREAD, 0, 0, 0, 0));
	SHOW(syscall(SYS_clone, CLONE_SIGHAND, 0, 0, 0, 0));
	SHOW(syscall(SYS_clone, CLONE_FS | CLONE_NEWNS, 0, 0, 0, 0));
	SHOW(syscall(SYS_clone, CLONE_PIDFD | CLONE_PARENT_SETTID, 0, 8, 0, 0));
	SHOW(syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, 0, 8, 0, 0));
	SHOW(syscall(SYS_clone, CLONE_PIDFD | CLONE_DETACHED, 0, 8, 0, 0));
	memset(&a, 0, sizeof a);
	SHOW(clone3_(&a, 8));
	SHOW(clone3_(&a, 5000));
	SHOW(clone3_((void *)8, sizeof a));
	a.exit_signal = 65;
	SHOW(clone3_(&a, sizeof a));
	a.exit_signal = 0x1000;
	SHOW(clone3_(&a, sizeof a));
	a.exit_signal = SIGCHLD;
	a.flags = CLONE_THREAD | CLONE_SIGHAND | CLONE_VM;
	SHOW(clone3_(&a, sizeof a));
	a.flags = CLONE_PARENT;
	SHOW(clone3_(&a, sizeof a));
	a.flags = SIGCHLD;
	SHOW(clone3_(&a, sizeof a));
	a.flags = CLONE_DETACHED;
	SHOW(clone3_(&a, sizeof a));
	a.flags = 1ull << 50;
	SHOW(clone3_(&a, sizeof a));
	a.flags = CLONE_SIGHAND | CLONE_VM | CLONE_CLEAR_SIGHAND;
	SHOW(clone3_(&a, sizeof a));
	a.flags = 0;
	a.stack = 4096;
	SHOW(clone3_(&a, sizeof a));
	a.stack = 0;
	a.stack_size = 4096;
	SHOW(clone3_(&a, sizeof a));
	a.stack_size = 0;
	a.set_tid_size = 1;
	SHOW(clone3_(&a, sizeof a));
	a.set_tid_size = 0;
	a.set_tid = (uintptr_t)&a;
	SHOW(clone3_(&a, sizeof a));
	a.set_tid = 0;
	/* No room for the descriptor: no child either. */
	struct rlimit old, none;
	getrlimit(RLIMIT_NOFILE, &old);
	none = (struct rlimit){ 3, old.rlim_max };
	setrlimit(RLIMIT_NOFILE, &none);
	int fd = 77;
	a.flags = CLONE_PIDFD;
	a.pidfd = (uintptr_t)&fd;
	fflush(stdout);
	SHOW(clone3_(&a, sizeof a));
	setrlimit(RLIMIT_NOFILE, &old);
	SHOW(waitpid(-1, NULL, 0));
	a.pidfd = 8;
	SHOW(clone3_(&a, sizeof a));
	SHOW(waitpid(-1, NULL, 0));
	a.pidfd = (uintptr_t)&fd;
	fflush(stdout);
	long pid = syscall(SYS_clone3, &a, sizeof a);
	if (!pid)
		_exit(fcntl(fd, F_GETFD) == -1 ? 8 : 9);
	int status;
	waitpid(pid, &status, 0);
	report_status("child without the descriptor", status);
	printf("cloexec %d\n", fcntl(fd, F_GETFD));
	SHOW(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0));
	SHOW(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 99));
	SHOW(syscall(SYS_pidfd_send_signal, -1, 0, NULL, 0));
	SHOW(syscall(SYS_pidfd_send_signal, 0, 0, NULL, 0));
	SHOW(syscall(SYS_pidfd_open, -1, 0));
	SHOW(syscall(SYS_pidfd_open, 0, 0));
	SHOW(syscall(SYS_pidfd_open, 1 << 22, 0));
	SHOW(syscall(SYS_pidfd_open, getpid(), 5));
	SHOW(syscall(SYS_pidfd_getfd, fd, 0, 0));
	SHOW(syscall(SYS_pidfd_getfd, fd, 0, 1));
	SHOW(syscall(SYS_pidfd_getfd, 0, 0, 0));
	close(fd);
}

static void ids(void)
{
	SHOW(setpgid(-1, 0));
	SHOW(setpgid(0, -1));
	SHOW(setpgid(1 << 22, 0));
	SHOW(setpgid(getppid(), 0));
	SHOW(setpgid(0, 1 << 22));
	SHOW(getpgid(-1));
	SHOW(getpgid(1 << 22));
	SHOW(getsid(-1));
	SHOW(getsid(1 << 22));
	IN_CHILD("session", {
		SHOW(setsid() == getpid());
		SHOW(setsid());
		SHOW(setpgid(0, 0));
		SHOW(setpgid(0, getppid()));
	});
	SHOW(syscall(SYS_getgroups, -1, NULL));
	SHOW(syscall(SYS_setgroups, -1, NULL));
	SHOW(syscall(SYS_setgroups, 70000, NULL));
	SHOW(syscall(SYS_setgroups, 1, 8));
	SHOW(syscall(SYS_getresuid, 8, NULL, NULL));
	SHOW(setuid(-1));
	SHOW(setreuid(-1, -1));
	SHOW(setresuid(-1, -1, -1));
	if (geteuid() == 0)
		IN_CHILD("a stranger", {
			gid_t g = 5;
			MUST(setresgid(1000, 1000, 1000));
			MUST(setresuid(1000, 1001, 1002));
			SHOW(setuid(5));
			SHOW(setuid(1002));
			SHOW(setreuid(5, -1));
			SHOW(setreuid(-1, 1000));
			SHOW(setresuid(5, -1, -1));
			SHOW(setresuid(1002, 1000, 1000));
			SHOW(setgid(5));
			SHOW(syscall(SYS_setgroups, 1, &g));
			SHOW(setfsuid(5));
			SHOW(setfsuid(-1));
			SHOW(sethostname("x", 1));
			SHOW(syscall(SYS_setdomainname, "x", 1));
			SHOW(chroot("/"));
			SHOW(setpriority(PRIO_PROCESS, 0, -5));
			SHOW(setpriority(PRIO_PROCESS, getppid(), 5));
			SHOW(nice(-5));
		});
	char longest[70] = "";
	SHOW(sethostname(longest, 65));
	SHOW(sethostname((void *)8, 5));
	SHOW(sethostname(longest, -1));
	SHOW(uname((void *)8));
	SHOW(sysinfo((void *)8));
}

static void limits(void)
{
	struct rlimit l = { 10, 5 }, old;

	SHOW(syscall(SYS_getrlimit, 99, &old));
	SHOW(syscall(SYS_getrlimit, RLIMIT_NOFILE, 8));
	SHOW(syscall(SYS_setrlimit, RLIMIT_NOFILE, &l));
	SHOW(syscall(SYS_setrlimit, 99, &l));
	SHOW(syscall(SYS_setrlimit, RLIMIT_NOFILE, 8));
	l = (struct rlimit){ 1 << 21, 1 << 21 };
	SHOW(syscall(SYS_setrlimit, RLIMIT_NOFILE, &l) == 0 || errno == EPERM);
	SHOW(syscall(SYS_prlimit64, -1, RLIMIT_NOFILE, NULL, &old));
	SHOW(syscall(SYS_prlimit64, 1 << 22, RLIMIT_NOFILE, NULL, &old));
	SHOW(syscall(SYS_prlimit64, 0, 16, NULL, &old));
	SHOW(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, 8));
	SHOW(syscall(SYS_getrusage, 5, &old));
	SHOW(syscall(SYS_getrusage, RUSAGE_SELF, 8));
	SHOW(getpriority(5, 0));
	SHOW(getpriority(PRIO_PROCESS, 1 << 22));
	SHOW(getpriority(PRIO_PGRP, 1 << 22));
	SHOW(getpriority(PRIO_USER, 54321));
	SHOW(setpriority(5, 0, 0));
	SHOW(setpriority(PRIO_PROCESS, 1 << 22, 0));
	struct sched_param p = { 5 };
	SHOW(sched_setscheduler(0, 99, &p));
	SHOW(sched_setscheduler(0, SCHED_OTHER, &p));
	SHOW(sched_setscheduler(-1, SCHED_OTHER, &p));
	SHOW(sched_setscheduler(1 << 22, SCHED_OTHER, &p));
	SHOW(sched_setscheduler(0, SCHED_OTHER, NULL));
	SHOW(sched_setscheduler(0, SCHED_OTHER, (void *)8));
	SHOW(sched_getscheduler(-1));
	SHOW(sched_getscheduler(1 << 22));
	SHOW(sched_getparam(0, NULL));
	SHOW(sched_getparam(-1, &p));
	SHOW(sched_setparam(0, &p));
	SHOW(sched_setparam(-1, &p));
	SHOW(sched_get_priority_max(99));
	SHOW(sched_get_priority_max(SCHED_FIFO));
	SHOW(sched_get_priority_min(SCHED_OTHER));
	struct timespec t;
	SHOW(sched_rr_get_interval(-1, &t));
	SHOW(sched_rr_get_interval(1 << 22, &t));
	SHOW(sched_rr_get_interval(0, (void *)8));
	unsigned long set[16] = { 0 };
	SHOW(syscall(SYS_sched_getaffinity, 0, 3, set));
	SHOW(syscall(SYS_sched_getaffinity, 0, 8, 8));
	SHOW(syscall(SYS_sched_getaffinity, 1 << 22, 128, set));
	SHOW(syscall(SYS_sched_setaffinity, 0, 128, (unsigned long[16]){ 0 }));
	SHOW(syscall(SYS_sched_setaffinity, 0, 8, 8));
	SHOW(syscall(SYS_sched_setaffinity, 1 << 22, 128, set));
	SHOW(syscall(SYS_sched_setattr, 0, NULL, 0));
	SHOW(syscall(SYS_sched_getattr, 0, set, 8, 0));
	SHOW(syscall(SYS_sched_getattr, 0, set, 48, 1));
	SHOW(syscall(SYS_sched_getattr, 1 << 22, set, 48, 0));
	SHOW(syscall(SYS_getcpu, 8, NULL, NULL));
	SHOW(personality(0xffffffff));
}

static void control(void)
{
	SHOW(prctl(9999, 0, 0, 0, 0));
	SHOW(prctl(PR_SET_PDEATHSIG, 65, 0, 0, 0));
	SHOW(prctl(PR_GET_PDEATHSIG, 8, 0, 0, 0));
	SHOW(prctl(PR_SET_DUMPABLE, 2, 0, 0, 0));
	SHOW(prctl(PR_SET_DUMPABLE, -1, 0, 0, 0));
	SHOW(prctl(PR_SET_NAME, 8, 0, 0, 0));
	SHOW(prctl(PR_GET_NAME, 8, 0, 0, 0));
	SHOW(prctl(PR_SET_KEEPCAPS, 2, 0, 0, 0));
	SHOW(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
	SHOW(prctl(PR_SET_NO_NEW_PRIVS, 1, 1, 0, 0));
	SHOW(prctl(PR_GET_NO_NEW_PRIVS, 1, 0, 0, 0));
	SHOW(prctl(PR_CAPBSET_READ, 99, 0, 0, 0));
	SHOW(prctl(PR_CAPBSET_DROP, 99, 0, 0, 0));
	SHOW(prctl(PR_SET_SECUREBITS, 0x10000, 0, 0, 0));
	SHOW(prctl(PR_SET_TIMING, 1, 0, 0, 0));
	SHOW(prctl(PR_GET_TIMING, 0, 0, 0, 0));
	SHOW(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
	SHOW(prctl(PR_GET_CHILD_SUBREAPER, 8, 0, 0, 0));
	SHOW(prctl(PR_SET_SECCOMP, 9, 0, 0, 0));
	SHOW(prctl(PR_CAP_AMBIENT, 9, 0, 0, 0));
	SHOW(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 99, 0, 0));
	SHOW(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 1, 0, 0));
	SHOW(prctl(PR_SET_THP_DISABLE, 1, 1, 0, 0));
	SHOW(prctl(PR_GET_TID_ADDRESS, 8, 0, 0, 0));
	struct { uint32_t version; int pid; } head = { 0x12345678, 0 };
	uint32_t data[6];
	SHOW(syscall(SYS_capget, &head, NULL));
	printf("version %x\n", head.version);
	head.version = 0x12345678;
	SHOW(syscall(SYS_capget, &head, data));
	SHOW(syscall(SYS_capget, 8, data));
	head.pid = -1;
	SHOW(syscall(SYS_capget, &head, data));
	head.pid = 1 << 22;
	SHOW(syscall(SYS_capget, &head, data));
	head.pid = getppid();
	memset(data, 0, sizeof data);
	SHOW(syscall(SYS_capset, &head, data));
	head.pid = 0;
	SHOW(syscall(SYS_capset, &head, 8));
	if (geteuid() == 0)
		IN_CHILD("more than there is", {
			memset(data, 0, sizeof data);
			MUST(syscall(SYS_capset, &head, data));
			data[0] = 1;
			SHOW(syscall(SYS_capset, &head, data));
			data[0] = 0;
			data[1] = 1;
			SHOW(syscall(SYS_capset, &head, data));
		});
}

int main(void)
{
	waits();
	execs();
	clones();
	ids();
	limits();
	control();
	return 0;
}
