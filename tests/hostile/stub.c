/*
 * A guest that attacks its own stub and the platform's protocol harms only itself. Each attack runs in a child;
 * what must come of it stands behind "expect". The program itself must survive, and so must its witness.
 *
 * expect hypercalls out of nowhere: SIGKILL
 * expect hypercall that claims to be the kick: exit 0
 * expect hypercall that claims to have been woken: SIGKILL
 * expect hypercall that claims results: SIGKILL
 * expect hypercall that claims to be a child: SIGKILL
 * expect hypercall that claims a start: SIGKILL
 * expect jump to the stub's first instruction: killed
 * expect jump into the middle of the stub: killed
 * expect unmapping the stub: exit 0
 * expect mapping over the stub: exit 0
 * expect making the stub writable: exit 0
 * expect overwriting the stub's stack: exit 0
 * expect sigreturn without a stack: SIGSEGV
 * expect sigreturn with a forged frame: SIGSEGV
 * expect sigreturn that blocks the kick, then a fork: SIGKILL
 * expect sigreturn that blocks the kick, then no call: SIGKILL
 * expect calls behind a blocked kick: 0
 * expect a sibling that rewrites orders: SIGKILL
 * expect protection keys: exit 0
 * expect storing to all low addresses: killed
 * expect a thread that flips protections all the time: exit 0
 * expect others beside a thread that flips protections: exit 0
 * expect 32-bit and x32 calls: exit 0
 * expect waking its own slot: exit 0
 * expect witness: exit 0
 */
#include "common.h"
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>

#define HYPERCALL 0x5000
#define STUB ((char *)0x10000)
#define STUB_STACK ((char *)0x20000)
/* Its size where the processor has few registers to save; elsewhere it is longer. */
#define STUB_STACK_MIN 0x3000
#define SLOTS ((char *)0x100000)
#define LOW_END ((char *)0x200000)

/* The process still works: fork, memory, descriptors. */
static void must_work(void)
{
	int status;
	pid_t p = fork();

	if (p == 0)
		_exit(17);
	if (waitpid(p, &status, 0) != p || WEXITSTATUS(status) != 17)
		_exit(1);
}

static void hypercalls(void)
{
	for (int op = 0; op < 8; op++)
		syscall(HYPERCALL, op, 0, 0, 0, 0, 0);
}

static void false_kick(void)
{
	static char context[1024];

	/* A kick with nothing to do just returns; the context it shows is the caller's own memory. */
	syscall(HYPERCALL, 2, context, 0, context, 16, 0);
	must_work();
}

static void false_wake(void)
{
	syscall(HYPERCALL, 5, 0, 0, 0, 0, 0);
}

static void false_results(void)
{
	syscall(HYPERCALL, 3, 0, 0, 0, 0, 0);
}

static void false_child(void)
{
	syscall(HYPERCALL, 4, 0, 0, 0, 0, 1);
}

static void false_start(void)
{
	static char context[1024];

	syscall(HYPERCALL, 2, context, 0, context, SIGTRAP + 1, 0);
}

static void jump(void)
{
	((void (*)(void))(STUB))();
}

static void jump_inside(void)
{
	/* Somewhere it hits a hypercall, an order or nonsense; nowhere may it go on. */
	((void (*)(void))(STUB + 0x33))();
	_exit(2);
}

static void unmap(void)
{
	if (munmap(STUB, LOW_END - STUB) == 0)
		_exit(1);
	must_work();
}

static void map_over(void)
{
	if (mmap(STUB, 4096, PROT_READ, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
		_exit(1);
	if (mremap(STUB, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, 0x700000) != MAP_FAILED)
		_exit(2);
	must_work();
}

static void make_writable(void)
{
	if (mprotect(STUB, 4096, PROT_READ | PROT_WRITE) == 0)
		_exit(1);
	must_work();
}

static void overwrite_stack(void)
{
	memset(STUB_STACK, 0x41, 0x3000);
	must_work();
}

static void sigreturn_nowhere(void)
{
	__asm__ volatile("xor %%esp,%%esp; mov $15,%%eax; syscall" ::: "memory");
}

static void sigreturn_forged(void)
{
	__asm__ volatile("mov $15,%%eax; syscall" ::: "memory");
}

/* In memory that the attacks share. */
static volatile long *leaked;

/* Finds the one place where sigreturn runs natively and uses it to block everything, the kick included. */
static void block(void)
{
	static ucontext_t uc;
	static char stack[65536] __attribute__((aligned(64)));
	static const char code[] = "\xb8\x0f\x00\x00\x00\x0f\x05";
	char *restorer = memmem(STUB, 4096, code, 7);

	if (!restorer)
		_exit(3);
	if (getcontext(&uc))
		_exit(4);
	static volatile int back;
	if (!back) {
		back = 1;
		memset(&uc.uc_sigmask, 0xff, 8);
		uc.uc_mcontext.fpregs = 0;
		/* uc_flags and segment selectors as the kernel wants them */
		uc.uc_flags = 6;
		uc.uc_mcontext.gregs[REG_CSGSFS] = 0x002b000000000033;
		ucontext_t *frame = (void *)(stack + 32768);
		*frame = uc;
		__asm__ volatile("mov %0,%%rsp; jmp *%1" ::"r"(frame), "r"(restorer) : "memory");
	}
}

static void block_kick(void)
{
	block();
	syscall(SYS_fork);
	/* Nobody may answer this: the thread should be in its stub. */
	syscall(SYS_getppid);
	*leaked += 1;
	must_work();
}

static void block_and_spin(void)
{
	block();
	syscall(SYS_fork);
	for (;;)
		;
}

/* What the stub is told to run lies on its stack, where any thread of the process can write. */
static void *rewrite_orders(void *arg)
{
	for (;;)
		for (volatile unsigned long *word = (void *)STUB_STACK; word < (unsigned long *)(STUB_STACK + STUB_STACK_MIN); word++)
			if (*word == SYS_clone)
				*word = SYS_getuid;
	return arg;
}

static void rewritten(void)
{
	pthread_t t;
	long until = time(0) + 8;

	pthread_create(&t, 0, rewrite_orders, 0);
	while (time(0) < until) {
		long p = syscall(SYS_fork);
		if (p == 0)
			_exit(0);
		if (p > 0)
			waitpid(p, 0, 0);
	}
}

static void keys(void)
{
	/* The sentry could read what a key keeps the process itself from reading. */
	if (syscall(SYS_pkey_alloc, 0, 0) != -1)
		_exit(1);
}

static void skip(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)signo;
	(void)info;
	uc->uc_mcontext.gregs[REG_RIP] += 3;
}

/* What took over another process when all processes shared their slots. */
static void store_everywhere(void)
{
	struct sigaction sa = {.sa_sigaction = skip, .sa_flags = SA_SIGINFO | SA_NODEFER};

	sigaction(SIGSEGV, &sa, 0);
	sigaction(SIGBUS, &sa, 0);
	/* A call that blocks has the slots mapped. */
	usleep(50000);
	for (int round = 0; round < 4; round++)
		for (char *p = SLOTS; p < LOW_END; p += 1024)
			__asm__ volatile("movq %1,(%0)" ::"r"(p), "r"(0x401630UL) : "memory");
	/* If something was there, it was this process's own. */
	kill(getpid(), SIGKILL);
}

static volatile int stop;
static char *big;

static void *flip(void *arg)
{
	while (!stop) {
		mprotect(big, 1 << 28, PROT_READ);
		mprotect(big, 1 << 28, PROT_READ | PROT_WRITE);
	}
	return arg;
}

static void start_flipping(pthread_t *t)
{
	big = mmap(0, 1 << 28, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	madvise(big, 1 << 28, MADV_NOHUGEPAGE);
	memset(big, 1, 1 << 28);
	pthread_create(t, 0, flip, 0);
}

static void hold_mmap_lock(void)
{
	pthread_t t;
	char path[] = "/dev/null";

	start_flipping(&t);
	for (int i = 0; i < 100; i++)
		if (access(path, F_OK))
			_exit(1);
	stop = 1;
	pthread_join(t, 0);
}

static void call_for_ever(volatile long *count)
{
	char path[] = "/dev/null";

	for (;; ++*count)
		access(path, F_OK);
}

/* A process of the same family, whose calls the same receiver takes, must not wait for copies from this one. */
static void stall_others(void)
{
	volatile long *counts = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t hog = fork(), other;

	if (hog == 0) {
		pthread_t t;
		start_flipping(&t);
		call_for_ever(&counts[0]);
	}
	usleep(300000);
	other = fork();
	if (other == 0)
		call_for_ever(&counts[1]);
	usleep(100000);
	long mine = counts[0], its = counts[1];
	usleep(1000000);
	mine = counts[0] - mine;
	its = counts[1] - its;
	kill(hog, SIGKILL);
	kill(other, SIGKILL);
	waitpid(hog, 0, 0);
	waitpid(other, 0, 0);
	/* About 30,000 and 300; if the two wait for each other, 300 each. On a busy machine neither waits long. */
	_exit(its < 5 * mine && its < 5000);
}

static void foreign_calls(void)
{
	long r;

	__asm__ volatile("int $0x80" : "=a"(r) : "a"(20));
	if (r != -ENOSYS || syscall(0x40000000 | SYS_getpid) != -1 || errno != ENOSYS)
		_exit(1);
}

/* A call blocked long enough waits in the slot; its sibling stores to that slot. */
static int ends[2];

static void *blocked(void *arg)
{
	char c;

	return (void *)read(ends[0], &c, 1) + (arg != 0);
}

static void wake_slot(void)
{
	pthread_t t;
	int status;
	pid_t p = fork();

	if (p == 0) {
		if (pipe(ends))
			_exit(1);
		pthread_create(&t, 0, blocked, 0);
		usleep(100000);
		for (char *slot = SLOTS; slot < SLOTS + 4096; slot += 64) {
			*(int *)slot = 1;
			syscall(SYS_futex, slot, 1, 100, 0, 0, 0);
		}
		usleep(100000);
		if (write(ends[1], "x", 1) != 1)
			_exit(1);
		pthread_join(t, 0);
		_exit(0);
	}
	/* It may be killed for it; only it. */
	waitpid(p, &status, 0);
}

/* Works all the time while the attacks run. */
static void witness(void)
{
	for (int i = 0; i < 200; i++) {
		must_work();
		/* Now and then long enough that it waits in its slot. */
		usleep(i % 8 ? 2000 : 30000);
	}
}

int main(void)
{
	leaked = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t p = start_witness(witness);

	in_child("hypercalls out of nowhere", hypercalls, EXACT);
	in_child("hypercall that claims to be the kick", false_kick, EXACT);
	in_child("hypercall that claims to have been woken", false_wake, EXACT);
	in_child("hypercall that claims results", false_results, EXACT);
	in_child("hypercall that claims to be a child", false_child, EXACT);
	in_child("hypercall that claims a start", false_start, EXACT);
	in_child("jump to the stub's first instruction", jump, ANY_SIGNAL);
	in_child("jump into the middle of the stub", jump_inside, ANY_SIGNAL);
	in_child("unmapping the stub", unmap, EXACT);
	in_child("mapping over the stub", map_over, EXACT);
	in_child("making the stub writable", make_writable, EXACT);
	in_child("overwriting the stub's stack", overwrite_stack, EXACT);
	in_child("sigreturn without a stack", sigreturn_nowhere, EXACT);
	in_child("sigreturn with a forged frame", sigreturn_forged, EXACT);
	in_child("sigreturn that blocks the kick, then a fork", block_kick, EXACT);
	in_child("sigreturn that blocks the kick, then no call", block_and_spin, EXACT);
	printf("calls behind a blocked kick: %ld\n", *leaked);
	in_child("a sibling that rewrites orders", rewritten, EXACT);
	in_child("protection keys", keys, EXACT);
	in_child("storing to all low addresses", store_everywhere, ANY_SIGNAL);
	in_child("a thread that flips protections all the time", hold_mmap_lock, EXACT);
	in_child("others beside a thread that flips protections", stall_others, EXACT);
	in_child("32-bit and x32 calls", foreign_calls, EXACT);
	in_child("waking its own slot", wake_slot, EXACT);
	end_witness(p);
	return 0;
}
