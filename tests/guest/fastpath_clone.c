/* Threads made from places that make many: by the C library, and by hand with registers to be kept. */
#include "common.h"
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>

enum { OFTEN = 200, MANY = 150, STACK = 16384, TOP = 512 };
enum { THREAD = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS |
		CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID };

static atomic_int wrong, alarms, usr1;

static void expect(int holds)
{
	if (!holds)
		wrong++;
}

static void verdict(const char *name)
{
	TRUE(name, wrong == 0);
	wrong = 0;
}

/* What a call may not change: rbx, rbp, r12 to r15, rdi, rsi, rdx, r8, r9, r10, xmm7, MXCSR. */
struct regs {
	uint64_t r[13];
	uint32_t mxcsr;
};

/* clone3(args, size), with values in the other registers that parent and child leave in their struct; the child finds
   its own on top of its stack. */
long clone_regs(struct clone_args *args, size_t size, struct regs *parent);
void child_of_regs(struct regs *own);

__asm__("	.text\n"
	"	.type clone_regs, @function\n"
	"clone_regs:\n"
	"	push %rbx\n	push %rbp\n	push %r12\n	push %r13\n	push %r14\n	push %r15\n	push %rdx\n"
	"	mov $1, %ebx\n	mov $2, %ebp\n	mov $3, %r12d\n	mov $4, %r13d\n	mov $5, %r14d\n	mov $6, %r15d\n"
	"	mov $7, %edx\n	mov $8, %r8d\n	mov $9, %r9d\n	mov $10, %r10d\n	movq %r9, %xmm7\n"
	"	mov $435, %eax\n"
	"	syscall\n"
	"	test %rax, %rax\n"
	"	mov %rsp, %rcx\n"
	"	jz 1f\n"
	"	mov (%rsp), %rcx\n"
	"1:	mov %rbx, (%rcx)\n	mov %rbp, 8(%rcx)\n	mov %r12, 16(%rcx)\n	mov %r13, 24(%rcx)\n"
	"	mov %r14, 32(%rcx)\n	mov %r15, 40(%rcx)\n	mov %rdx, 48(%rcx)\n	mov %r8, 56(%rcx)\n"
	"	mov %r9, 64(%rcx)\n	mov %r10, 72(%rcx)\n	mov %rdi, 80(%rcx)\n	mov %rsi, 88(%rcx)\n"
	"	movq %xmm7, 96(%rcx)\n	stmxcsr 104(%rcx)\n"
	"	test %rax, %rax\n"
	"	jz 2f\n"
	"	pop %rdx\n	pop %r15\n	pop %r14\n	pop %r13\n	pop %r12\n	pop %rbp\n	pop %rbx\n"
	"	ret\n"
	"2:	xor %ebp, %ebp\n"
	"	mov %rsp, %rdi\n"
	"	and $-16, %rsp\n"
	"	call child_of_regs\n"
	"	xor %edi, %edi\n"
	"	mov $60, %eax\n"
	"	syscall\n"
	"	.size clone_regs, .-clone_regs\n");

static int is_kept(const struct regs *regs, const struct clone_args *args, size_t size, uint32_t mxcsr)
{
	for (uint64_t n = 0; n < 10; n++)
		if (regs->r[n] != n + 1)
			return 0;
	return regs->r[10] == (uintptr_t)args && regs->r[11] == size && regs->r[12] == 9 && regs->mxcsr == mxcsr;
}

static atomic_int children;

/* On a stack of its own, with its creator's thread-local data. */
void child_of_regs(struct regs *own)
{
	(void)own;
	children++;
}

static char stacks[2][STACK] __attribute__((aligned(64)));
static pid_t tid, told;

static unsigned long thread_pointer(void)
{
	unsigned long at;

	syscall(SYS_arch_prctl, 0x1003, &at);
	return at;
}

static struct clone_args arguments(void)
{
	struct clone_args args = { .flags = THREAD, .stack = (uintptr_t)stacks[0], .stack_size = STACK - TOP,
				   .tls = thread_pointer(), .child_tid = (uintptr_t)&tid, .parent_tid = (uintptr_t)&told };
	return args;
}

static void wait_for(pid_t *word)
{
	for (pid_t now; (now = __atomic_load_n(word, __ATOMIC_ACQUIRE)) != 0;)
		syscall(SYS_futex, word, FUTEX_WAIT, now, NULL, NULL, 0);
}

static void one_by_hand(uint32_t mxcsr)
{
	struct clone_args args = arguments();
	struct regs parent, *child = (struct regs *)(stacks[0] + STACK - TOP);
	int before = children;
	long ret;

	memset(child, 0xff, sizeof *child);
	tid = -1, told = -1;
	__asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
	ret = clone_regs(&args, sizeof args, &parent);
	expect(ret > 0 && told == ret);
	wait_for(&tid);
	expect(children == before + 1);
	expect(is_kept(&parent, &args, sizeof args, mxcsr) && is_kept(child, &args, sizeof args, mxcsr));
}

static void by_hand(const char *name)
{
	for (int i = 0; i < OFTEN; i++)
		one_by_hand(i % 2 ? 0x1f80 : 0x7f80);
	__asm__ volatile("ldmxcsr %0" : : "m"((uint32_t){0x1f80}));
	verdict(name);
}

static void on_alarm(int signo)
{
	(void)signo;
	alarms++;
}

static void under_signals(void)
{
	struct itimerval often = { { 0, 150 }, { 0, 150 } }, never = { { 0, 0 }, { 0, 0 } };

	signal(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &often, NULL);
	while (alarms < 300)
		one_by_hand(0x1f80);
	setitimer(ITIMER_REAL, &never, NULL);
	verdict("signals in the middle of it");
}

/* What is not to be made, or not that way, from the same place. */
static void other_arguments(void)
{
	static const size_t sizes[] = { 0, 63, 64, 72, 80, 88, 96, 4097 };
	struct { struct clone_args args; char zeros[8]; } longer = { .args = arguments() };
	struct regs regs;

	for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++) {
		char name[32];
		long ret;

		tid = -1;
		ret = clone_regs(&longer.args, sizes[n], &regs);
		snprintf(name, sizeof name, "size %zu", sizes[n]);
		errno = ret < 0 ? (int)-ret : 0;
		report(name, ret < 0 ? -1 : 0);
		if (ret > 0)
			wait_for(&tid);
	}
#define FAILS(what, change) \
	do { \
		struct clone_args args = arguments(); \
		long ret; \
		change; \
		tid = -1; \
		ret = clone_regs(&args, sizeof args, &regs); \
		errno = ret < 0 ? (int)-ret : 0; \
		report(what, ret < 0 ? -1 : 0); \
		if (ret > 0) \
			wait_for(&tid); \
	} while (0)
	FAILS("a signal at its exit", args.exit_signal = SIGCHLD);
	FAILS("an id of its own", (args.set_tid = (uintptr_t)&tid, args.set_tid_size = 40));
	FAILS("a size of no ids", args.set_tid_size = 1);
	FAILS("no stack", args.stack = 0);
	FAILS("a stack of no size", args.stack_size = 0);
	FAILS("no memory in common", args.flags &= ~(uint64_t)CLONE_VM);
	FAILS("no handlers in common", args.flags &= ~(uint64_t)CLONE_SIGHAND);
	FAILS("unknown flags", args.flags |= 1ULL << 60);
	FAILS("an address of thread-local data that is none", args.tls = 1UL << 62);
	FAILS("nobody to be told", args.parent_tid = 8);
	FAILS("a cgroup that is not asked for", args.cgroup = 77);
	errno = (int)-clone_regs(NULL, 88, &regs);
	report("no arguments", errno ? -1 : 0);
	errno = (int)-clone_regs((struct clone_args *)8, 88, &regs);
	report("arguments that are nowhere", errno ? -1 : 0);
	one_by_hand(0x1f80);
	verdict("and then one as before");
}

/* What a filter says of it is its result, also if that looks like none of an error. */
static void filtered(unsigned value)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | value),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { .len = sizeof code / sizeof *code, .filter = code };
	struct clone_args args = arguments();
	struct regs regs;
	long ret;

	by_hand("before the filter");
	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter));
	ret = clone_regs(&args, sizeof args, &regs);
	printf("filtered: %ld, %d\n", ret, is_kept(&regs, &args, sizeof args, 0x1f80));
	fflush(stdout);
}

static void by_filters(void)
{
	IN_CHILD("an error", filtered(EPERM));
	IN_CHILD("no such call", filtered(ENOSYS));
	/* Which has the caller go where children go: it ends there. */
	IN_CHILD("0", filtered(0));
}

static void on_usr1(int signo)
{
	(void)signo;
	usr1++;
}

static struct {
	sigset_t mask;
	cpu_set_t cpus;
} inherited;

static atomic_int go;

static void *thread(void *is_to_wait)
{
	sigset_t mask;
	cpu_set_t cpus;
	stack_t alt;
	void *head, *again;
	size_t len = 0;

	expect(gettid() == syscall(SYS_gettid) && gettid() != getpid());
	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	expect(memcmp(&mask, &inherited.mask, 8) == 0);
	expect(sched_getaffinity(0, sizeof cpus, &cpus) == 0 && CPU_EQUAL(&cpus, &inherited.cpus));
	expect(sigaltstack(NULL, &alt) == 0 && alt.ss_flags == SS_DISABLE);
	expect(syscall(SYS_get_robust_list, 0, &head, &len) == 0 && len == 24);
	expect(syscall(SYS_get_robust_list, gettid(), &again, &len) == 0 && again == head);
	expect((char *)head > (char *)pthread_self() && (char *)head < (char *)pthread_self() + 4096);
	while (is_to_wait && !go)
		sched_yield();
	return (void *)(intptr_t)gettid();
}

static void *maker(void *count)
{
	for (intptr_t i = 0; i < (intptr_t)count; i++) {
		pthread_t made;
		void *result;

		expect(pthread_create(&made, NULL, thread, NULL) == 0);
		expect(pthread_join(made, &result) == 0 && (intptr_t)result > 0);
	}
	return NULL;
}

static void by_several(void)
{
	static char alt[16384];
	stack_t stack = { .ss_sp = alt, .ss_size = sizeof alt };
	pthread_t makers[3];

	MUST(sigaltstack(&stack, NULL));
	for (int i = 0; i < 3; i++)
		expect(pthread_create(&makers[i], NULL, maker, (void *)OFTEN) == 0);
	maker((void *)OFTEN);
	for (int i = 0; i < 3; i++)
		pthread_join(makers[i], NULL);
	verdict("by several threads at once");
}

static void many_at_once(void)
{
	pthread_t made[MANY];
	pid_t tids[MANY];

	go = 0;
	for (int i = 0; i < MANY; i++)
		expect(pthread_create(&made[i], NULL, thread, "") == 0);
	go = 1;
	for (int i = 0; i < MANY; i++) {
		void *result;

		pthread_join(made[i], &result);
		tids[i] = (pid_t)(intptr_t)result;
		for (int j = 0; j < i; j++)
			expect(tids[i] != tids[j]);
	}
	verdict("many at once");
}

static void *until_told(void *unused)
{
	(void)unused;
	while (!go)
		sched_yield();
	return NULL;
}

static void signals_at_once(void)
{
	signal(SIGUSR1, on_usr1);
	for (int i = 0; i < OFTEN; i++) {
		pthread_t made;

		go = 0;
		expect(pthread_create(&made, NULL, until_told, NULL) == 0);
		expect(pthread_kill(made, SIGUSR1) == 0);
		while (usr1 <= i)
			sched_yield();
		go = 1;
		pthread_join(made, NULL);
	}
	TRUE("signals to threads just made", usr1 == OFTEN);
	verdict("and they live on");
}

static pthread_mutex_t *shared;

static void *dies_with_it(void *unused)
{
	(void)unused;
	expect(pthread_mutex_lock(shared) == 0);
	return NULL;
}

static void robust(void)
{
	pthread_mutexattr_t attr;
	pthread_t made;

	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(shared, &attr);
	for (int i = 0; i < 20; i++) {
		expect(pthread_create(&made, NULL, dies_with_it, NULL) == 0);
		pthread_join(made, NULL);
		expect(pthread_mutex_lock(shared) == EOWNERDEAD);
		expect(pthread_mutex_consistent(shared) == 0 && pthread_mutex_unlock(shared) == 0);
	}
	verdict("a mutex whose owner has ended");
	for (int i = 0; i < 10; i++) {
		pid_t child = fork();

		if (child == 0) {
			for (int n = 0; n < 20; n++) {
				expect(pthread_create(&made, NULL, until_told, NULL) == 0);
				pthread_join(made, NULL);
			}
			expect(pthread_create(&made, NULL, dies_with_it, NULL) == 0);
			pthread_mutex_t *first = shared;
			while (__atomic_load_n((int *)first, __ATOMIC_ACQUIRE) == 0)
				sched_yield();
			if (i % 2)
				_exit(wrong);
			raise(SIGKILL);
		}
		int status = -1;
		waitpid(child, &status, 0);
		expect(i % 2 ? status == 0 : WIFSIGNALED(status));
		expect(pthread_mutex_lock(shared) == EOWNERDEAD);
		expect(pthread_mutex_consistent(shared) == 0 && pthread_mutex_unlock(shared) == 0);
	}
	verdict("and one whose owner's process has");
	expect(syscall(SYS_set_robust_list, (void *)8, 24) == 0);
	void *head = NULL;
	size_t len;
	expect(syscall(SYS_get_robust_list, 0, &head, &len) == 0 && head == (void *)8);
	expect(syscall(SYS_set_robust_list, (void *)16, 23) == -1 && errno == EINVAL);
	expect(syscall(SYS_get_robust_list, 0, &head, &len) == 0 && head == (void *)8);
	expect(syscall(SYS_set_robust_list, NULL, 24) == 0);
	expect(syscall(SYS_get_robust_list, 0, &head, &len) == 0 && head == NULL);
	verdict("a list that is set again");
}

static void *makes_for_ever(void *unused)
{
	for (;;) {
		pthread_t made;

		if (pthread_create(&made, NULL, until_told, NULL) == 0)
			pthread_join(made, NULL);
	}
	return unused;
}

static void ends_in_the_middle(void)
{
	for (int i = 0; i < 10; i++) {
		pid_t child = fork();
		int status = -1;

		if (child == 0) {
			pthread_t makers[2];

			for (int n = 0; n < 2; n++)
				pthread_create(&makers[n], NULL, makes_for_ever, NULL);
			usleep(5000 + 1000 * i);
			if (i % 3 == 0)
				_exit(7);
			if (i % 3 == 1)
				execl("/bin/sh", "sh", "-c", "exit 7", NULL);
			raise(SIGKILL);
		}
		waitpid(child, &status, 0);
		expect(i % 3 == 2 ? WIFSIGNALED(status) : WIFEXITED(status) && WEXITSTATUS(status) == 7);
	}
	verdict("a process that ends while it makes threads");
}

static void over_the_limit(void)
{
	pthread_t made;
	struct rlimit limit = { 1, 1 };
	int ret = 0;

	for (int i = 0; i < 20; i++) {
		pthread_create(&made, NULL, until_told, NULL);
		pthread_join(made, NULL);
	}
	if (setrlimit(RLIMIT_NPROC, &limit) || setresgid(54321, 54321, 54321) || setresuid(54321, 54321, 54321))
		_exit(1);
	for (int i = 0; i < 3; i++)
		ret |= pthread_create(&made, NULL, until_told, NULL);
	_exit(ret);
}

int main(void)
{
	go = 1;
	pthread_sigmask(SIG_BLOCK, NULL, &inherited.mask);
	MUST(sched_getaffinity(0, sizeof inherited.cpus, &inherited.cpus));
	by_hand("registers are kept");
	under_signals();
	other_arguments();
	by_filters();
	by_several();
	many_at_once();
	signals_at_once();
	go = 1;
	robust();
	ends_in_the_middle();
	IN_CHILD("over the limit", over_the_limit());
	IN_CHILD("a child makes some too", { by_several(); by_hand("by hand too"); });
	by_hand("and registers still are");
	return 0;
}
