/* Signal handlers and the registers around them: general, x87, SSE, AVX, AVX-512 contents survive. */
#include "common.h"
#include <cpuid.h>
#include <pthread.h>
#include <ucontext.h>

static volatile int hits;

static void clobber(int signo)
{
	(void)signo;
	hits++;
	/* Overwrites what the interrupted code has there. */
	__asm__ volatile("pxor %%xmm0,%%xmm0; pxor %%xmm7,%%xmm7; pxor %%xmm15,%%xmm15" ::: "xmm0", "xmm7", "xmm15");
}

static void sse_survives(void)
{
	unsigned long in[2] = {0x1122334455667788, 0x99aabbccddeeff00}, out[2] = {0, 0};
	long pid = getpid(), ret;

	__asm__ volatile("movdqu %[in],%%xmm7\n\t"
			 "syscall\n\t"
			 "movdqu %%xmm7,%[out]"
			 : [out] "=m"(out), "=a"(ret)
			 : [in] "m"(in), "a"(SYS_kill), "D"(pid), "S"(SIGUSR1)
			 : "rcx", "r11", "memory", "xmm7");
	printf("kill: %ld, xmm7 %s\n", ret, memcmp(in, out, 16) ? "LOST" : "kept");
}

__attribute__((target("avx"))) static void avx_survives(void)
{
	unsigned char in[32], out[32];
	long pid = getpid(), ret;

	for (int i = 0; i < 32; i++)
		in[i] = i * 7;
	__asm__ volatile("vmovdqu %[in],%%ymm7\n\t"
			 "syscall\n\t"
			 "vmovdqu %%ymm7,%[out]"
			 : [out] "=m"(out), "=a"(ret)
			 : [in] "m"(in), "a"(SYS_kill), "D"(pid), "S"(SIGUSR1)
			 : "rcx", "r11", "memory", "xmm7");
	printf("kill: %ld, ymm7 %s\n", ret, memcmp(in, out, 32) ? "LOST" : "kept");
}

__attribute__((target("avx512f"))) static void avx512_survives(void)
{
	unsigned char in[64], out[64];
	long pid = getpid(), ret;

	for (int i = 0; i < 64; i++)
		in[i] = i * 5 + 1;
	__asm__ volatile("vmovdqu64 %[in],%%zmm19\n\t"
			 "syscall\n\t"
			 "vmovdqu64 %%zmm19,%[out]"
			 : [out] "=m"(out), "=a"(ret)
			 : [in] "m"(in), "a"(SYS_kill), "D"(pid), "S"(SIGUSR1)
			 : "rcx", "r11", "memory");
	printf("kill: %ld, zmm19 %s\n", ret, memcmp(in, out, 64) ? "LOST" : "kept");
}

static void rewrite(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)signo;
	(void)info;
	/* Skips the faulting two-byte instruction and sets a result. */
	uc->uc_mcontext.gregs[REG_RIP] += 2;
	uc->uc_mcontext.gregs[REG_RAX] = 77;
}

static void fault_is_repaired(void)
{
	struct sigaction sa = {.sa_sigaction = rewrite, .sa_flags = SA_SIGINFO};
	long value;

	sigaction(SIGSEGV, &sa, 0);
	sigaction(SIGILL, &sa, 0);
	__asm__ volatile("xor %%ebx,%%ebx; mov (%%rbx),%%eax; nop" : "=a"(value) : : "rbx");
	printf("repaired load: %ld\n", value);
	__asm__ volatile("ud2" : "=a"(value));
	printf("repaired ud2: %ld\n", value);
}

static void show_info(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	printf("signal %d code %d addr %s trapno %lld err %lld cr2 %s\n", signo, info->si_code,
	       info->si_addr == (void *)0x1000 ? "right" : "other", uc->uc_mcontext.gregs[REG_TRAPNO],
	       uc->uc_mcontext.gregs[REG_ERR], uc->uc_mcontext.gregs[REG_CR2] == 0x1000 ? "right" : "other");
	fflush(stdout);
	_exit(5);
}

static void fault_details(void)
{
	struct sigaction sa = {.sa_sigaction = show_info, .sa_flags = SA_SIGINFO};

	sigaction(SIGSEGV, &sa, 0);
	*(volatile int *)0x1000 = 1;
}

static void divide(void)
{
	struct sigaction sa = {.sa_sigaction = show_info, .sa_flags = SA_SIGINFO};
	volatile int zero = 0;

	sigaction(SIGFPE, &sa, 0);
	zero = 1 / zero;
}

static void blocked_fault(void)
{
	sigset_t set;

	sigfillset(&set);
	sigprocmask(SIG_SETMASK, &set, 0);
	signal(SIGSEGV, SIG_IGN);
	*(volatile int *)0x1000 = 1;
}

#pragma GCC diagnostic ignored "-Winfinite-recursion"
static void overflow(int n)
{
	volatile char page[4096];

	page[0] = n;
	overflow(n + page[0] + 1);
}

static void on_altstack(int signo)
{
	(void)signo;
	_exit(9);
}

static void stack_overflow(void)
{
	static char stack[65536];
	stack_t st = {.ss_sp = stack, .ss_size = sizeof stack};
	struct sigaction sa = {.sa_handler = on_altstack, .sa_flags = SA_ONSTACK};

	sigaltstack(&st, 0);
	sigaction(SIGSEGV, &sa, 0);
	overflow(0);
}

int main(void)
{
	unsigned a, b, c, d;

	signal(SIGUSR1, clobber);
	sse_survives();
	__cpuid_count(7, 0, a, b, c, d);
	if (__builtin_cpu_supports("avx"))
		avx_survives();
	if (b & bit_AVX512F)
		avx512_survives();
	printf("hits %d\n", hits);
	fault_is_repaired();
	IN_CHILD("write to an unmapped page", fault_details());
	IN_CHILD("division by zero", divide());
	IN_CHILD("fault while blocked and ignored", blocked_fault());
	IN_CHILD("stack overflow on the alternate stack", stack_overflow());
	return 0;
}
