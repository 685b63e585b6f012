/* What a process is told about itself, keeps, hands down and tells again. */
#include "common.h"

#include <linux/capability.h>
#include <sched.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_GET_MDWE 66
#endif

struct attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
	uint32_t util_min, util_max, more[8];
};

static void policies(void)
{
	struct sched_param zero = {0}, one = {1}, read = {7};
	struct attr attr = {.size = 48, .policy = SCHED_BATCH, .nice = 5};

	SHOW(sched_getscheduler(0));
	SHOW(sched_setscheduler(0, SCHED_BATCH, &zero));
	SHOW(sched_getscheduler(0));
	IN_CHILD("child", SHOW(sched_getscheduler(0)));
	SHOW(sched_setscheduler(0, SCHED_BATCH, &one));
	SHOW(sched_setscheduler(0, SCHED_FIFO, &zero));
	SHOW(sched_setscheduler(0, 99, &zero));
	SHOW(sched_setscheduler(0, -1, &zero));
	SHOW(sched_setscheduler(0, SCHED_BATCH, 0));
	SHOW(sched_setscheduler(0, SCHED_BATCH, (void *)1));
	SHOW(sched_setscheduler(-1, SCHED_BATCH, &zero));
	SHOW(sched_setscheduler(999999, SCHED_BATCH, &zero));
	SHOW(sched_setparam(0, &zero));
	SHOW(sched_setparam(0, &one));
	SHOW(sched_getparam(0, &read));
	printf("priority %d\n", read.sched_priority);
	SHOW(sched_setscheduler(0, SCHED_IDLE | SCHED_RESET_ON_FORK, &zero));
	SHOW(sched_getscheduler(0));
	IN_CHILD("child", SHOW(sched_getscheduler(0)));
	SHOW(sched_setscheduler(0, SCHED_OTHER, &zero));
	SHOW(sched_getscheduler(0));
	SHOW(sched_get_priority_max(SCHED_IDLE));
	SHOW(sched_get_priority_max(7));
	SHOW(sched_get_priority_max(8));
	SHOW(sched_get_priority_min(SCHED_RR));
	SHOW(syscall(SYS_sched_setattr, 0, &attr, 0));
	memset(&attr, 0, sizeof attr);
	SHOW(syscall(SYS_sched_getattr, 0, &attr, 48, 0));
	printf("size %u policy %u flags %lu nice %d priority %u\n", attr.size, attr.policy, attr.flags, attr.nice,
	       attr.priority);
	SHOW(syscall(SYS_sched_getattr, 0, &attr, 40, 0));
	SHOW(syscall(SYS_sched_getattr, 0, &attr, 48, 1));
	SHOW(syscall(SYS_sched_getattr, 0, 0, 48, 0));
	SHOW(syscall(SYS_sched_getattr, -1, &attr, 48, 0));
	SHOW(syscall(SYS_sched_getattr, 999999, &attr, 48, 0));
	memset(&attr, 0, sizeof attr);
	attr.size = sizeof attr;
	SHOW(syscall(SYS_sched_setattr, 0, &attr, 0));
	attr.size = sizeof attr;
	attr.more[7] = 1;
	SHOW(syscall(SYS_sched_setattr, 0, &attr, 0));
	printf("size %u\n", attr.size);
	attr.size = 16;
	SHOW(syscall(SYS_sched_setattr, 0, &attr, 0));
	attr.size = 48;
	attr.flags = 1 << 12;
	SHOW(syscall(SYS_sched_setattr, 0, &attr, 0));
	attr.flags = 0;
	attr.policy = 0x80000000;
	SHOW(syscall(SYS_sched_setattr, 0, &attr, 0));
	SHOW(syscall(SYS_sched_setattr, 0, &attr, 1));
	SHOW(syscall(SYS_sched_setattr, 0, 0, 0));
	IN_CHILD("unprivileged idle", {
		MUST(setresuid(1000, 1000, 1000));
		SHOW(sched_setscheduler(0, SCHED_IDLE, &zero));
		SHOW(sched_setscheduler(0, SCHED_OTHER, &zero));
		SHOW(sched_setscheduler(0, SCHED_FIFO, &one));
		SHOW(sched_setscheduler(getppid(), SCHED_BATCH, &zero));
	});
}

static void io_priorities(void)
{
	SHOW(syscall(SYS_ioprio_get, 1, 0));
	SHOW(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 6));
	SHOW(syscall(SYS_ioprio_get, 1, 0));
	SHOW(syscall(SYS_ioprio_get, 1, getpid()));
	IN_CHILD("child", {
		SHOW(syscall(SYS_ioprio_get, 1, 0));
		SHOW(syscall(SYS_ioprio_set, 1, 0, 3 << 13));
		SHOW(syscall(SYS_ioprio_get, 1, 0));
	});
	SHOW(syscall(SYS_ioprio_get, 1, 0));
	SHOW(syscall(SYS_ioprio_set, 1, 0, 1));
	SHOW(syscall(SYS_ioprio_set, 1, 0, 4 << 13));
	SHOW(syscall(SYS_ioprio_set, 1, 0, -1));
	SHOW(syscall(SYS_ioprio_set, 0, 0, 2 << 13));
	SHOW(syscall(SYS_ioprio_set, 4, 0, 2 << 13));
	SHOW(syscall(SYS_ioprio_get, 0, 0));
	SHOW(syscall(SYS_ioprio_get, 4, 0));
	SHOW(syscall(SYS_ioprio_get, 1, 999999));
	SHOW(syscall(SYS_ioprio_get, 2, 999999));
	SHOW(syscall(SYS_ioprio_get, 3, 54321));
	IN_CHILD("unprivileged", {
		MUST(setresuid(1000, 1000, 1000));
		SHOW(syscall(SYS_ioprio_set, 1, 0, 1 << 13));
		SHOW(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 7));
		SHOW(syscall(SYS_ioprio_set, 1, getppid(), 2 << 13 | 7));
	});
	SHOW(syscall(SYS_ioprio_set, 1, 0, 0));
}

static void dumpable(void)
{
	struct stat st;

	SHOW(prctl(PR_GET_DUMPABLE));
	SHOW(prctl(PR_SET_DUMPABLE, 2));
	SHOW(prctl(PR_SET_DUMPABLE, 0));
	SHOW(prctl(PR_GET_DUMPABLE));
	IN_CHILD("child", SHOW(prctl(PR_GET_DUMPABLE)));
	SHOW(prctl(PR_SET_DUMPABLE, 1));
	IN_CHILD("other ids", {
		MUST(setresgid(1000, 1000, 1000));
		SHOW(prctl(PR_GET_DUMPABLE));
		MUST(prctl(PR_SET_DUMPABLE, 1));
		MUST(setresuid(1000, 1000, 1000));
		SHOW(prctl(PR_GET_DUMPABLE));
		MUST(stat("/proc/self/maps", &st));
		printf("owner %u\n", st.st_uid);
		MUST(prctl(PR_SET_DUMPABLE, 1));
		MUST(stat("/proc/self/maps", &st));
		printf("owner %u\n", st.st_uid);
	});
	IN_CHILD("death signal", {
		SHOW(prctl(PR_SET_PDEATHSIG, SIGUSR1));
		SHOW(prctl(PR_SET_PDEATHSIG, 65));
		int sig = -1;
		SHOW(prctl(PR_GET_PDEATHSIG, &sig));
		printf("signal %d\n", sig);
		MUST(setresuid(1000, 1000, 1000));
		SHOW(prctl(PR_GET_PDEATHSIG, &sig));
		printf("signal %d\n", sig);
	});
}

static void small_ones(void)
{
	SHOW(prctl(PR_GET_TIMERSLACK));
	SHOW(prctl(PR_SET_TIMERSLACK, 12345));
	SHOW(prctl(PR_GET_TIMERSLACK));
	IN_CHILD("child", {
		SHOW(prctl(PR_GET_TIMERSLACK));
		SHOW(prctl(PR_SET_TIMERSLACK, 777));
		SHOW(prctl(PR_SET_TIMERSLACK, 0));
		SHOW(prctl(PR_GET_TIMERSLACK));
	});
	SHOW(prctl(PR_SET_TIMERSLACK, 0));
	SHOW(prctl(PR_GET_TIMERSLACK));
	SHOW(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
	SHOW(prctl(PR_MCE_KILL_GET, 1, 0, 0, 0));
	SHOW(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0));
	SHOW(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
	SHOW(prctl(PR_MCE_KILL, PR_MCE_KILL_CLEAR, 1, 0, 0));
	SHOW(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, 3, 0, 0));
	SHOW(prctl(PR_MCE_KILL, 2, 0, 0, 0));
	SHOW(prctl(PR_MCE_KILL, PR_MCE_KILL_CLEAR, 0, 0, 0));
	SHOW(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
	SHOW(prctl(PR_SET_TIMING, 1));
	SHOW(prctl(PR_GET_TIMING));
	SHOW(prctl(PR_TASK_PERF_EVENTS_DISABLE));
	SHOW(prctl(PR_TASK_PERF_EVENTS_ENABLE));
	SHOW(prctl(PR_GET_ENDIAN, 0));
	SHOW(prctl(PR_GET_FPEMU, 0));
	SHOW(prctl(PR_GET_UNALIGN, 0));
	IN_CHILD("I/O flusher", {
		MUST(setresuid(1000, 1000, 1000));
		SHOW(prctl(57, 1, 0, 0, 0));
		SHOW(prctl(58, 0, 0, 0, 0));
	});
	SHOW(prctl(PR_GET_SPECULATION_CTRL, 99, 0, 0, 0));
	SHOW(prctl(PR_GET_SPECULATION_CTRL, 0, 1, 0, 0));
	SHOW(prctl(9999));
	SHOW(prctl(PR_SET_NAME, 1));
	SHOW(prctl(PR_GET_NAME, 1));
	char name[17] = "";
	SHOW(prctl(PR_SET_NAME, "a name that is much too long"));
	SHOW(prctl(PR_GET_NAME, name));
	printf("%s\n", name);
	SHOW(personality(0xffffffff));
	SHOW(personality(ADDR_NO_RANDOMIZE));
	IN_CHILD("child", SHOW(personality(0xffffffff)));
	SHOW(personality(0));
	SHOW(personality(0xffffffff));
}

static void memory(void)
{
	SHOW(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
	SHOW(prctl(PR_GET_THP_DISABLE, 1, 0, 0, 0));
	SHOW(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 1));
	SHOW(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
	SHOW(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
	IN_CHILD("child", SHOW(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0)));
	SHOW(prctl(PR_SET_MDWE, 4, 0, 0, 0));
	SHOW(prctl(PR_SET_MDWE, 2, 0, 0, 0));
	SHOW(prctl(PR_SET_MDWE, 1, 1, 0, 0));
	SHOW(prctl(PR_GET_MDWE, 0, 0, 0, 0));
	SHOW(prctl(PR_GET_MDWE, 1, 0, 0, 0));
	IN_CHILD("refuses", {
		SHOW(prctl(PR_SET_MDWE, 1, 0, 0, 0));
		SHOW(prctl(PR_GET_MDWE, 0, 0, 0, 0));
		SHOW(prctl(PR_SET_MDWE, 0, 0, 0, 0));
		WORKS("W+X", mmap(0, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
		IN_CHILD("child", SHOW(prctl(PR_GET_MDWE, 0, 0, 0, 0)));
	});
	IN_CHILD("does not hand down", {
		SHOW(prctl(PR_SET_MDWE, 3, 0, 0, 0));
		IN_CHILD("child", SHOW(prctl(PR_GET_MDWE, 0, 0, 0, 0)));
	});
}

/* RLIMIT_NPROC is of a user, and not for root. */
static void process_limit(void)
{
	struct rlimit one = {1, 1};
	pid_t p;

	MUST(setrlimit(RLIMIT_NPROC, &one));
	IN_CHILD("root", (void)0);
	IN_CHILD("user", {
		MUST(setresuid(54321, 54321, 54321));
		WORKS("fork", p = fork());
		if (p == 0)
			_exit(0);
	});
}

/* After execve. */
static void again(void)
{
	SHOW(sched_getscheduler(0));
	SHOW(syscall(SYS_ioprio_get, 1, 0));
	SHOW(prctl(PR_GET_DUMPABLE));
	SHOW(prctl(PR_GET_TIMERSLACK));
	SHOW(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
	SHOW(prctl(PR_GET_MDWE, 0, 0, 0, 0));
	SHOW(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
	SHOW(personality(0xffffffff));
	exit(0);
}

int main(int argc, char **argv)
{
	struct sched_param zero = {0};
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 1};
	struct __user_cap_data_struct data[2];

	if (argc > 1)
		again();
	policies();
	io_priorities();
	dumpable();
	small_ones();
	memory();
	SHOW(syscall(SYS_capget, &header, data));
	IN_CHILD("limit", process_limit());
	IN_CHILD("carried over execve", {
		MUST(sched_setscheduler(0, SCHED_BATCH, &zero));
		MUST(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 3));
		MUST(prctl(PR_SET_DUMPABLE, 0));
		MUST(prctl(PR_SET_TIMERSLACK, 4321));
		MUST(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
		MUST(prctl(PR_SET_MDWE, 1, 0, 0, 0));
		MUST(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_LATE, 0, 0));
		MUST(personality(ADDR_NO_RANDOMIZE));
		execl(argv[0], argv[0], "again", (char *)0);
	});
	return 0;
}
