/* Signals: errors and edges of sigaction, masks, queues, alternate stacks, waits for signals, kill and its kin. */
#include "common.h"
#include <pthread.h>
#include <sys/time.h>
#include <sys/syscall.h>

struct ksigaction {
	void *handler;
	unsigned long flags;
	void *restorer;
	uint64_t mask;
};

static long rt_sigaction(int signo, const void *new, void *old, size_t size)
{
	return syscall(SYS_rt_sigaction, signo, new, old, size);
}

static void actions(void)
{
	struct ksigaction act = { SIG_IGN, 0, NULL, 0 }, old;
	void *bad = (void *)8;

	SHOW(rt_sigaction(0, &act, NULL, 8));
	SHOW(rt_sigaction(65, &act, NULL, 8));
	SHOW(rt_sigaction(-1, &act, NULL, 8));
	SHOW(rt_sigaction(SIGUSR1, &act, NULL, 4));
	SHOW(rt_sigaction(SIGUSR1, &act, NULL, 16));
	SHOW(rt_sigaction(SIGKILL, &act, NULL, 8));
	SHOW(rt_sigaction(SIGSTOP, &act, NULL, 8));
	SHOW(rt_sigaction(SIGKILL, NULL, &old, 8));
	SHOW(rt_sigaction(SIGUSR1, bad, NULL, 8));
	SHOW(rt_sigaction(SIGUSR1, NULL, bad, 8));
	SHOW(rt_sigaction(SIGUSR1, &act, bad, 8));
	SHOW(rt_sigaction(SIGUSR1, NULL, &old, 8));
	printf("set although the old could not be told: %d\n", old.handler == SIG_IGN);
	act = (struct ksigaction){ SIG_DFL, 0xffffffff, NULL, ~0ull };
	SHOW(rt_sigaction(SIGUSR1, &act, NULL, 8));
	SHOW(rt_sigaction(SIGUSR1, NULL, &old, 8));
	printf("flags %lx mask %llx\n", old.flags, (unsigned long long)old.mask);
	SHOW(rt_sigaction(64, &act, NULL, 8));
	SHOW(rt_sigaction(64, NULL, NULL, 8));
	struct ksigaction dfl = { SIG_DFL, 0, NULL, 0 };
	rt_sigaction(SIGUSR1, &dfl, NULL, 8);
	rt_sigaction(64, &dfl, NULL, 8);
}

static long mask(int how, const void *set, void *old, size_t size) { return syscall(SYS_rt_sigprocmask, how, set, old, size); }

static void masks(void)
{
	uint64_t all = ~0ull, none = 0, old = 0;
	void *bad = (void *)8;

	SHOW(mask(SIG_BLOCK, &all, &old, 4));
	SHOW(mask(7, &all, &old, 8));
	SHOW(mask(7, NULL, &old, 8));
	SHOW(mask(SIG_BLOCK, bad, &old, 8));
	SHOW(mask(SIG_BLOCK, NULL, bad, 8));
	SHOW(mask(SIG_SETMASK, &all, bad, 8));
	SHOW(mask(SIG_SETMASK, NULL, &old, 8));
	printf("mask %llx\n", (unsigned long long)old);
	SHOW(mask(SIG_UNBLOCK, &all, NULL, 8));
	SHOW(mask(SIG_BLOCK, &none, &old, 8));
	printf("mask %llx\n", (unsigned long long)old);
	SHOW(syscall(SYS_rt_sigpending, &old, 9));
	SHOW(syscall(SYS_rt_sigpending, bad, 8));
	SHOW(syscall(SYS_rt_sigpending, &old, 8));
	SHOW(syscall(SYS_rt_sigpending, &old, 4));
	SHOW(syscall(SYS_rt_sigsuspend, &all, 4));
	SHOW(syscall(SYS_rt_sigsuspend, bad, 8));
}

static void sends(void)
{
	pid_t me = getpid(), gone;
	siginfo_t info;

	fflush(stdout);
	gone = fork();
	if (!gone)
		_exit(0);
	SHOW(kill(gone, 0));
	waitpid(gone, NULL, 0);
	SHOW(kill(gone, 0));
	SHOW(kill(gone, 99));
	SHOW(kill(me, 65));
	SHOW(kill(me, -1));
	SHOW(kill(me, 0));
	SHOW(kill(-999999, 0));
	SHOW(kill(INT32_MIN, 0));
	SHOW(syscall(SYS_tkill, 0, 0));
	SHOW(syscall(SYS_tkill, -1, 0));
	SHOW(syscall(SYS_tkill, gone, 0));
	SHOW(syscall(SYS_tkill, me, 65));
	SHOW(syscall(SYS_tgkill, 0, me, 0));
	SHOW(syscall(SYS_tgkill, me, 0, 0));
	SHOW(syscall(SYS_tgkill, me, me, 0));
	SHOW(syscall(SYS_tgkill, gone, me, 0));
	SHOW(syscall(SYS_tgkill, me, me, 65));
	memset(&info, 0, sizeof info);
	info.si_code = SI_QUEUE;
	SHOW(syscall(SYS_rt_sigqueueinfo, me, SIGUSR1, 8));
	SHOW(syscall(SYS_rt_sigqueueinfo, me, 65, &info));
	SHOW(syscall(SYS_rt_sigqueueinfo, gone, SIGUSR1, &info));
	SHOW(syscall(SYS_rt_sigqueueinfo, me, 0, &info));
	SHOW(syscall(SYS_rt_sigqueueinfo, 0, SIGUSR1, &info));
	SHOW(syscall(SYS_rt_sigqueueinfo, -me, SIGUSR1, &info));
	info.si_code = SI_USER;
	SHOW(syscall(SYS_rt_sigqueueinfo, getppid(), 0, &info));
	info.si_code = SI_TKILL;
	SHOW(syscall(SYS_rt_sigqueueinfo, getppid(), 0, &info));
	info.si_code = 5;
	SHOW(syscall(SYS_rt_tgsigqueueinfo, getppid(), getppid(), 0, &info));
	info.si_code = SI_QUEUE;
	SHOW(syscall(SYS_rt_tgsigqueueinfo, me, me, 0, &info));
	SHOW(syscall(SYS_rt_tgsigqueueinfo, 0, me, 0, &info));
	SHOW(syscall(SYS_rt_tgsigqueueinfo, me, 0, 0, &info));
	SHOW(syscall(SYS_rt_tgsigqueueinfo, gone, me, 0, &info));
	if (geteuid() == 0)
		IN_CHILD("a stranger", {
			MUST(setresuid(1000, 1000, 1000));
			SHOW(kill(getppid(), 0));
			SHOW(kill(getppid(), SIGTERM));
			SHOW(kill(getppid(), SIGCONT));
			SHOW(kill(getppid(), 65));
			SHOW(syscall(SYS_tkill, getppid(), SIGTERM));
			SHOW(sigqueue(getppid(), SIGTERM, (union sigval){ 1 }));
		});
}

static void waits(void)
{
	sigset_t set;
	siginfo_t info;
	struct timespec zero = { 0, 0 }, bad = { 0, 1000000000 }, past = { -1, 0 }, some = { 0, 20000000 };
	uint64_t rt = 1ull << (SIGRTMIN + 2 - 1) | 1ull << (SIGUSR1 - 1) | 1ull << (SIGRTMIN + 1 - 1);

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN + 1);
	sigaddset(&set, SIGRTMIN + 2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	SHOW(sigtimedwait(&set, &info, &zero));
	SHOW(sigtimedwait(&set, &info, &some));
	SHOW(sigtimedwait(&set, &info, &bad));
	SHOW(sigtimedwait(&set, &info, &past));
	SHOW(syscall(SYS_rt_sigtimedwait, &rt, &info, &zero, 4));
	SHOW(syscall(SYS_rt_sigtimedwait, 8, &info, &zero, 8));
	SHOW(syscall(SYS_rt_sigtimedwait, &rt, &info, 8, 8));
	sigqueue(getpid(), SIGRTMIN + 2, (union sigval){ 7 });
	sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ 8 });
	sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ 9 });
	kill(getpid(), SIGUSR1);
	kill(getpid(), SIGUSR1);
	for (int i = 0; i < 5; i++) {
		memset(&info, 0, sizeof info);
		int got = sigtimedwait(&set, &info, &zero);
		printf("got %d: code %d value %d mine %d\n", got < 0 ? -1 : got - (got >= SIGRTMIN ? SIGRTMIN - 100 : 0), info.si_code,
		       info.si_value.sival_int * (info.si_code == SI_QUEUE), info.si_pid == getpid());
	}
	kill(getpid(), SIGUSR1);
	SHOW(syscall(SYS_rt_sigtimedwait, &rt, 8, &zero, 8));
	SHOW(sigtimedwait(&set, NULL, &zero));
	/* A signal that is neither waited for nor blocked interrupts. */
	signal(SIGALRM, SIG_IGN);
	struct itimerval soon = { { 0, 0 }, { 0, 20000 } };
	struct timespec longer = { 0, 100000000 };
	setitimer(ITIMER_REAL, &soon, NULL);
	SHOW(sigtimedwait(&set, NULL, &longer));
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static volatile int depth, on_alt;
static char stack_area[65536];

static void on_usr1(int signo)
{
	stack_t ss, try = { stack_area, 0, sizeof stack_area };

	(void)signo;
	depth++;
	sigaltstack(NULL, &ss);
	on_alt = ss.ss_flags;
	errno = 0;
	int r = sigaltstack(&try, NULL);
	printf("in the handler: flags %x, change %d %s\n", ss.ss_flags, r, r ? strerrorname_np(errno) : "-");
}

static void stacks(void)
{
	stack_t ss = { stack_area, 0, 100 }, old;

	SHOW(sigaltstack(NULL, &old));
	printf("flags %x\n", old.ss_flags);
	SHOW(sigaltstack(&ss, NULL));
	ss.ss_size = sizeof stack_area;
	ss.ss_flags = 8;
	SHOW(sigaltstack(&ss, NULL));
	ss.ss_flags = SS_DISABLE | SS_ONSTACK;
	SHOW(sigaltstack(&ss, NULL));
	ss.ss_flags = SS_ONSTACK;
	SHOW(sigaltstack(&ss, NULL));
	SHOW(syscall(SYS_sigaltstack, 8, NULL));
	SHOW(syscall(SYS_sigaltstack, NULL, 8));
	ss.ss_flags = 0;
	SHOW(sigaltstack(&ss, &old));
	struct sigaction sa = { .sa_handler = on_usr1, .sa_flags = SA_ONSTACK };
	sigaction(SIGUSR1, &sa, NULL);
	raise(SIGUSR1);
	ss.ss_flags = 1u << 31;
	SHOW(sigaltstack(&ss, &old));
	raise(SIGUSR1);
	ss.ss_flags = SS_DISABLE;
	ss.ss_sp = (void *)8;
	SHOW(sigaltstack(&ss, &old));
	printf("old size %zu flags %x\n", old.ss_size, old.ss_flags);
	SHOW(sigaltstack(NULL, &old));
	printf("flags %x\n", old.ss_flags);
	raise(SIGUSR1);
}

static volatile int calls, nested;

static void nests(int signo)
{
	calls++;
	if (calls < 3)
		raise(signo);
	nested = nested > calls ? nested : calls;
}

static void flags(void)
{
	struct sigaction sa = { .sa_handler = nests, .sa_flags = SA_NODEFER };

	sigaction(SIGUSR2, &sa, NULL);
	raise(SIGUSR2);
	printf("nodefer: %d calls\n", calls);
	calls = 0;
	sa.sa_flags = 0;
	sigaction(SIGUSR2, &sa, NULL);
	raise(SIGUSR2);
	printf("deferred: %d calls\n", calls);
	calls = 5;
	sa.sa_flags = SA_RESETHAND;
	sigaction(SIGUSR2, &sa, NULL);
	raise(SIGUSR2);
	sigaction(SIGUSR2, NULL, &sa);
	printf("reset: %d\n", sa.sa_handler == SIG_DFL);
	for (int i = 1; i < 32; i++) {
		if (i == SIGKILL || i == SIGSTOP || i == SIGTSTP || i == SIGTTIN || i == SIGTTOU || i == SIGABRT)
			continue;
		fflush(stdout);
		pid_t pid = fork();
		if (!pid) {
			signal(i, SIG_DFL);
			raise(i);
			_exit(0);
		}
		int status;
		waitpid(pid, &status, 0);
		printf("default of %d: %s %d\n", i, WIFSIGNALED(status) ? "killed" : "exited", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	}
}

int main(void)
{
	actions();
	masks();
	sends();
	waits();
	stacks();
	flags();
	return 0;
}
