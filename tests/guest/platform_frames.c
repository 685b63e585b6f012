/* Frames of signals: where they lie, what a handler starts with, what becomes of a frame that cannot be written or is
 * no good when the handler returns. */
#include "common.h"
#include <ucontext.h>

unsigned long seen_rax, seen_flags, seen_rsp;

/* A handler that looks at its registers before any compiled code has changed them. */
void look(int signo);
__asm__(".globl look\n"
	"look: mov %rax, seen_rax(%rip)\n"
	"mov %rsp, seen_rsp(%rip)\n"
	"pushfq\n"
	"popq seen_flags(%rip)\n"
	"ret\n");

enum { DIRECTION = 0x400, ALIGNMENT = 0x40000 };

static void handle(int signo, void *handler, int flags)
{
	struct sigaction sa = { .sa_flags = flags };

	sa.sa_handler = handler;
	MUST(sigaction(signo, &sa, NULL));
}

/* Signals itself with these flags set; the flags afterwards. */
static unsigned long with_flags(unsigned long set)
{
	unsigned long after;
	long ret;

	__asm__ volatile("sub $128, %%rsp\n\t"
			 "pushfq; or %[set], (%%rsp); popfq\n\t"
			 "syscall\n\t"
			 "pushfq; pushfq; pop %[after]\n\t"
			 "andq $~0x40400, (%%rsp); popfq\n\t"
			 "add $128, %%rsp"
			 : "=a"(ret), [after] "=&r"(after)
			 : "a"(SYS_kill), "D"((long)getpid()), "S"(SIGUSR1), [set] "r"(set)
			 : "rcx", "r11", "memory", "cc");
	return ret == 0 ? after : 0;
}

static void entry(void)
{
	handle(SIGUSR1, look, 0);
	unsigned long after = with_flags(0);
	printf("rax at entry: %lu\n", seen_rax);
	printf("stack at entry: %lu\n", seen_rsp % 16);
	after = with_flags(DIRECTION);
	printf("direction: in the handler %lx, after it %lx\n", seen_flags & DIRECTION, after & DIRECTION);
	after = with_flags(ALIGNMENT);
	printf("alignment: in the handler %lx, after it %lx\n", seen_flags & ALIGNMENT, after & ALIGNMENT);
}

/* What leaf functions keep below their stack pointer. */
static void red_zone(void)
{
	long lost = 0;

	handle(SIGUSR1, look, 0);
	__asm__ volatile("mov $1, %%r8\n"
			 "1: neg %%r8; mov %%r8, (%%rsp,%%r8,8); neg %%r8; inc %%r8; cmp $16, %%r8; jbe 1b\n\t"
			 "syscall\n\t"
			 "mov $1, %%r8\n"
			 "2: neg %%r8; cmp %%r8, (%%rsp,%%r8,8); je 3f; inc %[lost]\n"
			 "3: neg %%r8; inc %%r8; cmp $16, %%r8; jbe 2b\n\t"
			 : [lost] "+&r"(lost)
			 : "a"(SYS_kill), "D"((long)getpid()), "S"(SIGUSR1)
			 : "rcx", "r8", "r11", "memory", "cc");
	printf("red zone: %ld lost\n", lost);
}

static void look_at_frame(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	unsigned *software = (void *)((char *)uc->uc_mcontext.fpregs + 464);

	printf("signal %d %d, extended state at %lu, frame at %lu\n", signo, info->si_code,
	       (uintptr_t)uc->uc_mcontext.fpregs % 64, (uintptr_t)uc % 16);
	/* FP_XSTATE_MAGIC1, and FP_XSTATE_MAGIC2 at the end. */
	unsigned *end = (void *)((char *)uc->uc_mcontext.fpregs + software[1] - 4);
	printf("magic %x %x, flags %lx\n", software[0], *end, uc->uc_flags);
	printf("segments %llx\n", uc->uc_mcontext.gregs[REG_CSGSFS]);
}

/* Signals itself from a stack that is none. */
static void from_nowhere(void)
{
	__asm__ volatile("mov $0x1100, %%esp; syscall; ud2" ::"a"(SYS_kill), "D"((long)getpid()), "S"(SIGUSR1));
}

static void quit(int signo)
{
	_exit(signo);
}

static void *alternate(size_t size)
{
	enum { ROOM = 4 << 20 };
	char *area = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stack_t stack = { .ss_sp = area + ROOM - size, .ss_size = size };

	MUST(sigaltstack(&stack, NULL));
	return area;
}

static void no_stack(int flags)
{
	alarm(5);
	alternate(65536);
	handle(SIGUSR1, look, 0);
	handle(SIGSEGV, quit, flags);
	from_nowhere();
}

static volatile int depth;

/* There is room below the alternate stack, which is no reason to use it. */
static void nest(int signo)
{
	if (++depth == 200)
		_exit(3);
	raise(signo);
}

static void overflow(void)
{
	alternate(65536);
	handle(SIGUSR1, nest, SA_ONSTACK | SA_NODEFER);
	raise(SIGUSR1);
}

static unsigned long long change;

static void spoil(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)signo;
	(void)info;
	if (change == 0)
		uc->uc_mcontext.fpregs = NULL;
	else if (change == 1)
		uc->uc_mcontext.fpregs = (void *)0x1000;
	else if (change == 2)
		uc->uc_mcontext.gregs[REG_RIP] = 1ll << 62;
	else
		uc->uc_mcontext.fpregs->mxcsr |= change;
}

/* What the handler's frame says when it returns is not to be trusted. */
static void returns_with(unsigned long long what)
{
	unsigned long in[2] = { 0x1122334455667788, 0x99aabbccddeeff00 }, out[2];
	long ret;

	change = what;
	handle(SIGUSR1, spoil, SA_SIGINFO);
	__asm__ volatile("movdqu %[in], %%xmm7; syscall; movdqu %%xmm7, %[out]"
			 : [out] "=m"(out), "=a"(ret)
			 : [in] "m"(in), "a"(SYS_kill), "D"((long)getpid()), "S"(SIGUSR1)
			 : "rcx", "r11", "memory", "xmm7");
	printf("came back: %lx %lx\n", out[0], out[1]);
	fflush(stdout);
}

int main(void)
{
	entry();
	red_zone();
	handle(SIGUSR1, look_at_frame, SA_SIGINFO);
	raise(SIGUSR1);
	IN_CHILD("a frame that does not fit, handled elsewhere", no_stack(SA_ONSTACK));
	IN_CHILD("a frame that does not fit, nor that of its fault", no_stack(0));
	IN_CHILD("an alternate stack that is used up", overflow());
	IN_CHILD("a frame without extended state", returns_with(0));
	IN_CHILD("extended state that is not there", returns_with(1));
	IN_CHILD("an address that is none", returns_with(2));
	IN_CHILD("reserved bits of MXCSR", returns_with(1u << 31));
	return 0;
}
