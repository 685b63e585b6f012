/* rt_sigprocmask from places that make it often enough to be answered without a call: as the kernel answers it. */
#include "common.h"
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <sys/time.h>

enum { OFTEN = 300, SENT = 2000 };

#define BIT(signo) (1UL << ((signo) - 1))
#define UNBLOCKABLE (BIT(SIGKILL) | BIT(SIGSTOP))

static const unsigned long constant = BIT(SIGUSR2) | BIT(SIGHUP);
static unsigned long model;
static atomic_int wrong, handled;
static volatile sig_atomic_t is_blocked;

static void expect(int holds)
{
	if (!holds)
		wrong++;
}

/* The number right before the call. */
static __attribute__((noinline)) long plain(int how, const void *set, void *old, size_t size)
{
	register long r10 __asm__("r10") = (long)size;
	long ret;

	__asm__ volatile("mov $14, %%eax\n\tsyscall"
			 : "=a"(ret) : "D"((long)how), "S"(set), "d"(old), "r"(r10) : "rcx", "r11", "memory");
	return ret;
}

/* As compilers put it where the set is in a structure. */
static __attribute__((noinline)) long in_struct(int how, const void *set, void *old, size_t size)
{
	register long r10 __asm__("r10") = (long)size;
	long ret;

	__asm__ volatile("mov $14, %%eax\n\t.byte 0x48, 0x8d, 0xb3\n\t.long 0x8f0\n\tsyscall"
			 : "=a"(ret) : "D"((long)how), "b"((const char *)set - 0x8f0), "d"(old), "r"(r10)
			 : "rsi", "rcx", "r11", "memory");
	return ret;
}

/* And where it is a constant. */
static __attribute__((noinline)) long of_constant(int how, void *old)
{
	register long r10 __asm__("r10") = 8;
	long ret;

	__asm__ volatile("mov $14, %%eax\n\tlea %1, %%rsi\n\tsyscall"
			 : "=a"(ret) : "m"(constant), "D"((long)how), "d"(old), "r"(r10) : "rsi", "rcx", "r11", "memory");
	return ret;
}

typedef long change(int how, const void *set, void *old, size_t size);

static unsigned long apply(int how, unsigned long was, unsigned long set)
{
	set &= ~UNBLOCKABLE;
	return how == SIG_BLOCK ? was | set : how == SIG_UNBLOCK ? was & ~set : set;
}

static unsigned long random_set(void)
{
	return (unsigned long)random() << 33 ^ (unsigned long)random() << 11 ^ (unsigned long)random();
}

/* Changes at random agree with what they should be. */
static void changes(const char *name, change *change)
{
	for (int i = 0; i < OFTEN; i++) {
		unsigned long set = random_set() & ~BIT(SIGALRM), old = 1;
		int how = i % 3;

		expect(change(how, &set, &old, 8) == 0 && old == model);
		model = apply(how, model, set);
		expect(change(how, NULL, &old, 8) == 0 && old == model);
		if (i % 7 == 0)
			expect(change(99, NULL, NULL, 8) == 0);
	}
	if (name)
		TRUE(name, wrong == 0);
}

static unsigned long now(void)
{
	unsigned long old = 0;

	plain(SIG_BLOCK, NULL, &old, 8);
	return old;
}

static void set_to(unsigned long mask)
{
	plain(SIG_SETMASK, &mask, NULL, 8);
	model = mask;
}

static void say(const char *name, long ret)
{
	printf("%s: %ld %lx\n", name, ret, now());
}

static void edges(const char *name, change *change)
{
	unsigned long sets[4] = { BIT(SIGUSR1) | BIT(SIGKILL), BIT(SIGUSR2), 7, 8 }, old;
	char *nowhere = (char *)8, *inside = (char *)sets + 4;

	printf("%s\n", name);
	set_to(0);
	for (int how = -1; how < 5; how++)
		say("how", change(how, sets, &old, 8));
	for (int size = 0; size <= 16; size += 4)
		say("size", change(SIG_BLOCK, sets + 1, &old, (size_t)size));
	say("huge size", change(SIG_BLOCK, sets, &old, 8 + (1UL << 32)));
	say("no set to read", change(SIG_SETMASK, nowhere, &old, 8));
	say("nowhere to write", change(SIG_SETMASK, sets + 1, nowhere, 8));
	say("nowhere to write, nothing set", change(SIG_SETMASK, NULL, nowhere, 8));
	say("constant", change(SIG_BLOCK, sets, (void *)(uintptr_t)&constant, 8));
	say("no how, nowhere to write", change(7, sets, nowhere, 8));
	set_to(BIT(SIGHUP));
	sets[0] = BIT(SIGUSR1);
	printf("into itself: %ld", change(SIG_SETMASK, sets, sets, 8));
	printf(" %lx %lx\n", sets[0], now());
	sets[0] = BIT(SIGUSR2);
	printf("into its half: %ld", change(SIG_SETMASK, sets, inside, 8));
	printf(" %lx %lx %lx\n", sets[0], sets[1], now());
	memset(sets, 0, sizeof sets);
	printf("from a half: %ld", change(SIG_BLOCK, inside, sets, 8));
	printf(" %lx %lx %lx\n", sets[0], sets[1], now());
	memcpy((char *)sets + 1, &constant, 8);
	printf("unaligned: %ld", change(SIG_SETMASK, (char *)sets + 1, (char *)sets + 17, 8));
	memcpy(&old, (char *)sets + 17, 8);
	printf(" %lx %lx\n", old, now());
	set_to(0);
}

/* What the flags were before the call they are after it. */
static void flags(void)
{
	wrong = 0;
	for (int i = 0; i < OFTEN; i++) {
		register long r10 __asm__("r10") = 8;
		unsigned long wanted = 0x202 | (i & 1 ? 0x1 : 0) | (i & 2 ? 0x40 : 0) | (i & 4 ? 0x80 : 0)
			| (i & 8 ? 0x800 : 0) | (i & 16 ? 0x10 : 0) | (i & 32 ? 0x4 : 0), found, ret;

		__asm__ volatile("lea -128(%%rsp), %%rsp\n\tpush %4\n\tpopf\n\tmov $14, %%eax\n\tsyscall\n\t"
				 "pushf\n\tpop %1\n\tlea 128(%%rsp), %%rsp"
				 : "=a"(ret), "=&r"(found) : "D"((long)SIG_BLOCK), "S"(&constant), "r"(wanted), "d"(0L), "r"(r10)
				 : "rcx", "r11", "memory", "cc");
		expect(ret == 0 && found == wanted);
	}
	TRUE("flags are kept", wrong == 0);
	set_to(0);
}

static void on_usr1(int signo)
{
	(void)signo;
	expect(!is_blocked);
	handled++;
}

static void pending(void)
{
	unsigned long usr1 = BIT(SIGUSR1);
	sigset_t set;

	wrong = handled = 0;
	for (int i = 0; i < OFTEN; i++) {
		plain(SIG_BLOCK, &usr1, NULL, 8);
		is_blocked = 1;
		i % 2 ? kill(getpid(), SIGUSR1) : raise(SIGUSR1);
		expect(handled == i);
		sigpending(&set);
		expect(sigismember(&set, SIGUSR1) == 1);
		is_blocked = 0;
		plain(i % 3 ? SIG_UNBLOCK : SIG_SETMASK, i % 3 ? &usr1 : &model, NULL, 8);
		expect(handled == i + 1);
	}
	TRUE("what was blocked comes when it no longer is", wrong == 0 && handled == OFTEN);
}

static atomic_int toggling, tid;

/* Blocks and unblocks; the handler must not run in between. */
static void *toggler(void *to_process)
{
	unsigned long usr1 = BIT(SIGUSR1);

	(void)to_process;
	tid = gettid();
	while (toggling) {
		plain(SIG_BLOCK, &usr1, NULL, 8);
		is_blocked = 1;
		for (volatile int i = 0; i < 20; i++)
			;
		is_blocked = 0;
		plain(SIG_UNBLOCK, &usr1, NULL, 8);
	}
	return NULL;
}

static void senders(const char *name, int to_process)
{
	unsigned long all = ~0UL;
	pthread_t thread;

	wrong = handled = tid = 0;
	toggling = 1;
	pthread_create(&thread, NULL, toggler, NULL);
	while (!tid)
		sched_yield();
	plain(SIG_BLOCK, &all, NULL, 8);
	for (int i = 0; i < SENT; i++) {
		expect((to_process ? kill(getpid(), SIGUSR1) : tgkill(getpid(), tid, SIGUSR1)) == 0);
		while (handled <= i)
			sched_yield();
	}
	toggling = 0;
	pthread_join(thread, NULL);
	TRUE(name, wrong == 0 && handled == SENT);
	set_to(0);
}

/* A handler that changes the mask, which its return undoes. */
static void on_alarm(int signo)
{
	unsigned long all = ~0UL, old;

	(void)signo;
	plain(SIG_SETMASK, &all, &old, 8);
	expect(old & BIT(SIGALRM));
	expect(now() == (all & ~UNBLOCKABLE));
	handled++;
}

static void interrupted(void)
{
	struct itimerval often = { { 0, 200 }, { 0, 200 } }, never = { { 0, 0 }, { 0, 0 } };

	wrong = handled = 0;
	setitimer(ITIMER_REAL, &often, NULL);
	while (handled < 20)
		changes(NULL, plain);
	setitimer(ITIMER_REAL, &never, NULL);
	TRUE("interrupted", wrong == 0);
	set_to(0);
}

static void *show(void *unused)
{
	(void)unused;
	printf("a thread's: %lx\n", now());
	return NULL;
}

static void blocked_in_status(const char *of)
{
	char path[64], line[128];
	FILE *file;

	snprintf(path, sizeof path, "/proc/%s/status", of);
	file = fopen(path, "r");
	while (fgets(line, sizeof line, file))
		if (strncmp(line, "SigBlk", 6) == 0)
			printf("%s: %s", of, line);
	fclose(file);
}

static void inherited(char *self)
{
	pthread_t thread;

	for (int i = 0; i < OFTEN; i++)
		set_to(BIT(SIGHUP) | BIT(SIGUSR2));
	blocked_in_status("self");
	blocked_in_status("thread-self");
	pthread_create(&thread, NULL, show, NULL);
	pthread_join(thread, NULL);
	IN_CHILD("a child's", printf("%lx\n", now()); fflush(stdout); set_to(BIT(SIGUSR1));
		 execl("/proc/self/exe", self, "again", (char *)NULL));
	printf("still: %lx\n", now());
}

/* Waits with another mask, then the old one holds again. */
static void waits(void)
{
	unsigned long usr1 = BIT(SIGUSR1);
	struct timespec soon = { 0, 1000000 };
	sigset_t none, wanted;

	sigemptyset(&none);
	sigemptyset(&wanted);
	sigaddset(&wanted, SIGUSR1);
	wrong = handled = 0;
	for (int i = 0; i < 100; i++) {
		plain(SIG_SETMASK, &usr1, NULL, 8);
		raise(SIGUSR1);
		expect(sigsuspend(&none) == -1 && errno == EINTR && handled == 2 * i + 1);
		expect(now() == usr1);
		raise(SIGUSR1);
		expect(ppoll(NULL, 0, &soon, &none) == -1 && errno == EINTR && handled == 2 * i + 2);
		expect(now() == usr1);
		raise(SIGUSR1);
		expect(sigtimedwait(&wanted, NULL, &soon) == SIGUSR1 && now() == usr1);
	}
	TRUE("waits", wrong == 0);
	set_to(0);
}

static void jumps(void)
{
	static sigjmp_buf place;
	static volatile int i;

	wrong = 0;
	for (i = 0; i < OFTEN; i++) {
		unsigned long hup = BIT(SIGHUP);

		if (sigsetjmp(place, 1) == 0) {
			plain(SIG_BLOCK, &hup, NULL, 8);
			siglongjmp(place, 1);
		}
		expect(now() == 0);
	}
	TRUE("jumps", wrong == 0);
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_usr1 };

	if (argc > 1) {
		printf("a program's: %lx\n", now());
		return 0;
	}
	sigaction(SIGUSR1, &action, NULL);
	action.sa_handler = on_alarm;
	sigaction(SIGALRM, &action, NULL);
	srandom(1);
	changes("changes", plain);
	changes("changes from a structure", in_struct);
	set_to(0);
	wrong = 0;
	for (int i = 0; i < OFTEN; i++) {
		unsigned long old;

		expect(of_constant(i % 2 ? SIG_UNBLOCK : SIG_BLOCK, &old) == 0 && old == (i % 2 ? constant : 0));
	}
	TRUE("changes by a constant", wrong == 0);
	edges("plain", plain);
	edges("structure", in_struct);
	flags();
	pending();
	senders("sent to a thread", 0);
	senders("sent to the process", 1);
	interrupted();
	inherited(argv[0]);
	set_to(0);
	waits();
	jumps();
	return 0;
}
