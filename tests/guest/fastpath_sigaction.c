/* rt_sigaction from places that make it often enough to be answered without a call: as the kernel answers it. */
#include "common.h"
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/time.h>

enum { OFTEN = 300, SPAWNS = 12, SENT = 300, SIGNALS = 64 };
enum { RESTORER = 0x04000000 };
#define KNOWN 0xdc000807ul
#define BIT(signo) (1UL << ((signo) - 1))
#define UNBLOCKABLE (BIT(SIGKILL) | BIT(SIGSTOP))

/* As the kernel has it. */
struct action {
	uint64_t handler, flags, restorer, mask;
};

extern char **environ;
void restorer(void);
__asm__(".text\nrestorer:\n\tmov $15, %eax\n\tsyscall\n");

static struct action model[SIGNALS + 1];
static atomic_int wrong, handled;

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

static __attribute__((noinline)) long change(long signo, const void *new, void *old, size_t size)
{
	register long r10 __asm__("r10") = (long)size;
	long ret;

	__asm__ volatile("mov $13, %%eax\n\tsyscall"
			 : "=a"(ret) : "D"(signo), "S"(new), "d"(old), "r"(r10) : "rcx", "r11", "memory");
	return ret;
}

static struct action now(int signo)
{
	struct action old = { 1, 2, 3, 4 };

	expect(change(signo, NULL, &old, 8) == 0);
	return old;
}

static void set_to(int signo, void (*handler)(int), uint64_t flags)
{
	struct action action = { (uint64_t)(uintptr_t)handler, flags | RESTORER, (uint64_t)(uintptr_t)restorer, 0 };

	expect(change(signo, &action, NULL, 8) == 0);
	model[signo] = action;
}

static int is_same(struct action a, struct action b)
{
	return memcmp(&a, &b, sizeof a) == 0;
}

static void learn(void)
{
	for (int signo = 1; signo <= SIGNALS; signo++)
		model[signo] = now(signo);
}

/* Nothing has changed that should not have. */
static int holds(void)
{
	int is_so = 1;

	for (int signo = 1; signo <= SIGNALS; signo++)
		is_so &= is_same(now(signo), model[signo]);
	return is_so;
}

/* A handler calls it too. */
static uint64_t any(void)
{
	static volatile uint64_t seed = 88172645463325252ull;
	uint64_t next = seed;

	next ^= next << 13;
	next ^= next >> 7;
	next ^= next << 17;
	return seed = next;
}

/* Those that nothing here sends. */
static int any_signal(void)
{
	static const int unused[] = { SIGHUP, SIGQUIT, SIGTRAP, SIGPIPE, SIGTTIN, SIGIO, SIGSYS, SIGWINCH, 32, 33, 34, 63, 64 };

	return unused[any() % (sizeof unused / sizeof *unused)];
}

/* Changes at random agree with what they should be. */
static void changes(int rounds)
{
	for (int i = 0; i < rounds; i++) {
		struct action new = { any() % 3 ? any() : any() % 2, any(), any(), any() }, old;
		int signo = any_signal();

		expect(change(signo, &new, i % 5 ? &old : NULL, 8) == 0);
		if (i % 5)
			expect(is_same(old, model[signo]));
		new.flags &= KNOWN;
		new.mask &= ~UNBLOCKABLE;
		model[signo] = new;
		expect(is_same(now(signo), new));
		if (i % 7 == 0)
			expect(change(any_signal(), NULL, NULL, 8) == 0);
	}
}

static void say(const char *name, long n, long ret)
{
	printf("%s %ld: %ld\n", name, n, ret);
}

static void edges(void)
{
	static const long signals[] = { -1, 0, 1, SIGKILL, SIGSTOP, 32, 33, 63, 64, 65, 127, 1L << 32 | SIGHUP, 1L << 32, LONG_MIN };
	struct action sets[3] = { { 8, RESTORER, 7, 6 }, { 0, 0, 0, 0 }, { 0, 0, 0, 0 } }, old, before = now(SIGHUP);
	char *nowhere = (char *)8, *inside = (char *)sets + 16;

	for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++) {
		say("to ask for", signals[i], change(signals[i], NULL, &old, 8));
		say("to ask for nothing of", signals[i], change(signals[i], NULL, NULL, 8));
		say("to set", signals[i], change(signals[i], sets, &old, 8));
		say("to set, no action to read,", signals[i], change(signals[i], nowhere, &old, 8));
		say("to ask for, nowhere to write,", signals[i], change(signals[i], NULL, nowhere, 8));
	}
	for (int size = 0; size <= 16; size += 4) {
		say("size", size, change(SIGHUP, sets, &old, (size_t)size));
		say("size, no action to read,", size, change(SIGHUP, nowhere, &old, (size_t)size));
	}
	say("size, huge,", 0, change(SIGHUP, sets, &old, 8 + (1UL << 32)));
	change(SIGHUP, &before, NULL, 8);
	say("set, nowhere to write,", 0, change(SIGHUP, sets, nowhere, 8));
	TRUE("it was set", is_same(now(SIGHUP), sets[0]));
	change(SIGHUP, &before, NULL, 8);
	say("set, a constant to write,", 0, change(SIGHUP, sets, (void *)(uintptr_t)"constant", 8));
	old = before;
	say("into itself", 0, change(SIGHUP, &old, &old, 8));
	TRUE("it changed places", is_same(old, sets[0]) && is_same(now(SIGHUP), before));
	say("into its half", 0, change(SIGHUP, sets, inside, 8));
	memcpy(&old, inside, sizeof old);
	TRUE("it was there", is_same(old, before) && now(SIGHUP).restorer == 7);
	say("from a half", 0, change(SIGHUP, inside, sets, 8));
	TRUE("it was that half", sets[0].restorer == 7 && is_same(now(SIGHUP), before));
	memcpy((char *)sets + 1, &before, sizeof before);
	say("unaligned", 0, change(SIGHUP, (char *)sets + 1, (char *)sets + 41, 8));
	memset(&old, 0xff, sizeof old);
	say("everything", 0, change(SIGHUP, &old, NULL, 8));
	old = now(SIGHUP);
	printf("%lx %lx %lx %lx\n", old.handler, old.flags, old.restorer, old.mask);
	change(SIGHUP, &before, NULL, 8);
	learn();
	verdict("edges");
}

/* What is read or written ends where memory does. */
static void at_an_end(void)
{
	char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct action before = now(SIGHUP), other = { 9, RESTORER, 9, 9 };

	munmap(pages + 4096, 4096);
	for (int at = 4096 - 40; at <= 4096; at += 8) {
		if (at <= 4096 - 32)
			memcpy(pages + at, &other, sizeof other);
		say("to read", at, change(SIGHUP, pages + at, NULL, 8));
		say("is set", at, is_same(now(SIGHUP), other));
		change(SIGHUP, &before, NULL, 8);
		say("to write", at, change(SIGHUP, &other, pages + at, 8));
		say("is set", at, is_same(now(SIGHUP), other));
		change(SIGHUP, &before, NULL, 8);
	}
	munmap(pages, 4096);
}

/* What the flags were before the call they are after it, and other registers too. */
static void flags(void)
{
	struct action same = now(SIGHUP), old;

	for (int i = 0; i < OFTEN; i++) {
		register long r10 __asm__("r10") = 8;
		register long r8 __asm__("r8") = 8888;
		register long r9 __asm__("r9") = 9999;
		unsigned long wanted = 0x202 | (i & 1 ? 0x1 : 0) | (i & 2 ? 0x40 : 0) | (i & 4 ? 0x80 : 0)
			| (i & 8 ? 0x800 : 0) | (i & 16 ? 0x10 : 0) | (i & 32 ? 0x4 : 0), found, ret;
		long rdi = SIGHUP;
		const void *rsi = i & 64 ? &same : NULL;
		void *rdx = &old;

		__asm__ volatile("lea -128(%%rsp), %%rsp\n\tpush %8\n\tpopf\n\tmov $13, %%eax\n\tsyscall\n\t"
				 "pushf\n\tpop %1\n\tlea 128(%%rsp), %%rsp"
				 : "=a"(ret), "=&r"(found), "+D"(rdi), "+S"(rsi), "+d"(rdx), "+r"(r10), "+r"(r8), "+r"(r9)
				 : "r"(wanted) : "rcx", "r11", "memory", "cc");
		expect(ret == 0 && found == wanted && rdi == SIGHUP && rsi == (i & 64 ? &same : NULL) && rdx == &old);
		expect(r10 == 8 && r8 == 8888 && r9 == 9999);
	}
	verdict("flags are kept");
}

static void on_signal(int signo)
{
	(void)signo;
	handled++;
}

/* What is pending is thrown away by whoever ignores it, and only then. */
static void pending(void)
{
	sigset_t usr1, set;

	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	handled = 0;
	sigprocmask(SIG_BLOCK, &usr1, NULL);
	for (int i = 0; i < OFTEN; i++) {
		set_to(SIGUSR1, on_signal, 0);
		set_to(SIGUSR1, on_signal, SA_RESTART);
		i % 2 ? kill(getpid(), SIGUSR1) : raise(SIGUSR1);
		set_to(SIGUSR1, i % 3 == 0 ? SIG_IGN : i % 3 == 1 ? SIG_DFL : on_signal, 0);
		sigpending(&set);
		expect(sigismember(&set, SIGUSR1) == (i % 3 != 0));
		set_to(SIGUSR1, on_signal, 0);
		sigprocmask(SIG_UNBLOCK, &usr1, NULL);
		sigprocmask(SIG_BLOCK, &usr1, NULL);
		expect(handled == (i % 3 != 0));
		handled = 0;
	}
	sigprocmask(SIG_UNBLOCK, &usr1, NULL);
	verdict("what is pending");
}

/* SA_RESETHAND, SA_NODEFER, and the mask of a handler. */
static volatile int depth, deepest, more;

static void nested(int signo)
{
	depth = depth + 1;
	if (depth > deepest)
		deepest = depth;
	more = more - 1;
	if (more > 0)
		raise(signo);
	depth = depth - 1;
}

static void handlers(void)
{
	handled = 0;
	for (int i = 0; i < OFTEN; i++) {
		set_to(SIGUSR1, on_signal, SA_RESETHAND);
		raise(SIGUSR1);
		expect(handled == i + 1 && now(SIGUSR1).handler == 0 && now(SIGUSR1).flags == (RESTORER | (uint64_t)(uint32_t)SA_RESETHAND));
		depth = deepest = 0;
		more = 3;
		set_to(SIGUSR2, nested, i % 2 ? SA_NODEFER : 0);
		raise(SIGUSR2);
		expect(deepest == (i % 2 ? 3 : 1));
	}
	verdict("flags of handlers");
}

/* A handler that changes actions, its own among them. */
static void on_alarm(int signo)
{
	struct action new = { any(), any() & KNOWN, any(), any() & ~UNBLOCKABLE };

	expect(change(40, &new, NULL, 8) == 0);
	expect(is_same(now(40), new));
	expect(now(signo).handler == (uint64_t)(uintptr_t)on_alarm);
	set_to(signo, on_alarm, handled % 2 ? SA_RESTART : 0);
	handled++;
}

static void interrupted(void)
{
	struct itimerval often = { { 0, 200 }, { 0, 200 } }, never = { { 0, 0 }, { 0, 0 } };

	handled = 0;
	set_to(SIGALRM, on_alarm, 0);
	setitimer(ITIMER_REAL, &often, NULL);
	while (handled < 100)
		changes(OFTEN);
	setitimer(ITIMER_REAL, &never, NULL);
	verdict("interrupted");
}

/* The handler that runs is the one that is set. */
static volatile int current, counts[2];

static void first(int signo)
{
	(void)signo;
	expect(current == 0 || current == 1);
	counts[0]++;
}

static void second(int signo)
{
	(void)signo;
	expect(current == 0 || current == 2);
	counts[1]++;
}

static void senders(void)
{
	pid_t parent = getpid(), child;
	int status = 0, tries = 0;

	counts[0] = counts[1] = 0;
	set_to(SIGUSR1, first, 0);
	child = fork();
	if (child == 0) {
		for (int i = 0; i < SENT; i++) {
			kill(parent, SIGUSR1);
			usleep(50);
		}
		_exit(0);
	}
	while (waitpid(child, &status, WNOHANG) == 0 || (counts[0] == 0 && tries++ < 1000)) {
		for (int i = 0; i < 50; i++) {
			set_to(SIGUSR1, second, 0);
			current = 2;
			expect(now(SIGUSR1).handler == (uint64_t)(uintptr_t)second);
			current = 0;
			set_to(SIGUSR1, first, SA_RESTART);
			current = 1;
			expect(now(SIGUSR1).handler == (uint64_t)(uintptr_t)first);
			current = 0;
		}
	}
	TRUE("some came", counts[0] + counts[1] > 0);
	verdict("sent by another");
}

/* Children that nobody waits for. */
static void reaped(void)
{
	for (int i = 0; i < 24; i++) {
		int kind = i % 3, status;
		pid_t child;

		for (int n = 0; n < 20; n++)
			set_to(SIGCHLD, SIG_DFL, 0);
		set_to(SIGCHLD, kind == 0 ? SIG_IGN : SIG_DFL, kind == 1 ? SA_NOCLDWAIT : 0);
		child = fork();
		if (child == 0)
			_exit(5);
		errno = 0;
		if (kind == 2)
			expect(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 5);
		else
			expect(waitpid(child, &status, 0) == -1 && errno == ECHILD);
	}
	set_to(SIGCHLD, SIG_DFL, 0);
	verdict("children that are waited for and others");
}

/* What is ignored and what is handled, as others see it. */
static void in_status(const char *who, uint64_t *ignored, uint64_t *caught)
{
	char path[64], line[128];
	FILE *file;

	snprintf(path, sizeof path, "/proc/%s/status", who);
	file = fopen(path, "r");
	while (fgets(line, sizeof line, file)) {
		if (strncmp(line, "SigIgn:", 7) == 0)
			*ignored = strtoul(line + 7, NULL, 16);
		if (strncmp(line, "SigCgt:", 7) == 0)
			*caught = strtoul(line + 7, NULL, 16);
	}
	fclose(file);
}

static void shown(void)
{
	for (int i = 0; i < OFTEN; i++) {
		uint64_t ignored = 0, caught = 0, ignored_now = 0, caught_now = 0;

		set_to(SIGHUP, i % 3 == 0 ? SIG_IGN : i % 3 == 1 ? SIG_DFL : on_signal, 0);
		for (int signo = 1; signo <= SIGNALS; signo++) {
			uint64_t handler = now(signo).handler;

			ignored_now |= handler == 1 ? BIT(signo) : 0;
			caught_now |= handler > 1 ? BIT(signo) : 0;
		}
		if (i % 10 == 0) {
			in_status("self", &ignored, &caught);
			expect(ignored == ignored_now && caught == caught_now);
		}
	}
	verdict("shown");
}

static int again(const char *wanted)
{
	uint64_t ignored = 0, caught = 0;

	in_status("self", &ignored, &caught);
	/* Those of the C library's own are as it likes. */
	return (ignored & ~(BIT(32) | BIT(33))) != strtoul(wanted, NULL, 16) || caught != 0;
}

static int end_of(pid_t child)
{
	int status;

	return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Programs that are started find the right actions, and their starting changes nothing. */
static void spawned(char *self)
{
	char wanted[32], *args[] = { self, wanted, NULL };
	posix_spawnattr_t attr;
	sigset_t defaults;

	sigemptyset(&defaults);
	sigaddset(&defaults, SIGQUIT);
	sigaddset(&defaults, SIGUSR2);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigdefault(&attr, &defaults);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
	set_to(SIGQUIT, SIG_IGN, 0);
	learn();
	for (int i = 0; i < SPAWNS; i++) {
		uint64_t ignored = 0, caught = 0;
		pid_t child;

		set_to(SIGUSR1, i % 2 ? SIG_IGN : on_signal, 0);
		set_to(SIGHUP, i % 3 ? SIG_IGN : on_signal, 0);
		in_status("self", &ignored, &caught);
		ignored &= ~(BIT(32) | BIT(33));
		if (i % 2)
			ignored &= ~(BIT(SIGQUIT) | BIT(SIGUSR2));
		snprintf(wanted, sizeof wanted, "%lx", ignored);
		expect(posix_spawn(&child, "/proc/self/exe", NULL, i % 2 ? &attr : NULL, args, environ) == 0);
		expect(end_of(child) == 0);
		expect(holds());
	}
	verdict("spawned");
}

/* A child in the same memory has actions of its own. */
static void vforked(void)
{
	static volatile int bad, i;

	for (i = 0; i < SPAWNS; i++) {
		pid_t child;

		learn();
		bad = 0;
		child = vfork();
		if (child == 0) {
			struct action new = { 0, RESTORER, 5, 6 };

			for (int signo = 1; signo <= SIGNALS; signo++)
				bad += change(signo, NULL, &new, 8) != 0 || !is_same(new, model[signo]);
			new = (struct action){ 0, RESTORER, 5, 6 };
			for (int signo = 1; signo <= SIGNALS; signo++)
				if (!(BIT(signo) & UNBLOCKABLE))
					bad += change(signo, &new, NULL, 8) != 0 || now(signo).restorer != 5;
			_exit(3);
		}
		expect(end_of(child) == 3 && bad == 0);
		expect(holds());
	}
	verdict("vforked");
}

/* The same from another place, which children in this memory and a thread beside them call often enough. */
static __attribute__((noinline)) long change_beside(long signo, const void *new, void *old)
{
	register long r10 __asm__("r10") = 8;
	long ret;

	__asm__ volatile("mov $13, %%eax\n\tsyscall"
			 : "=a"(ret) : "D"(signo), "S"(new), "d"(old), "r"(r10) : "rcx", "r11", "memory");
	return ret;
}

static int differs_beside(int signo, uint64_t i)
{
	struct action new = { i % 2, RESTORER, i, 0 }, old = { 1, 2, 3, 4 };

	return change_beside(signo, &new, NULL) != 0 || change_beside(signo, NULL, &old) != 0 || !is_same(old, new);
}

static atomic_int is_over;

static void *beside(void *unused)
{
	(void)unused;
	for (uint64_t i = 0; !is_over; i++)
		expect(!differs_beside(SIGQUIT, i));
	return NULL;
}

static void vforked_beside(void)
{
	static volatile int bad, i;
	pthread_t thread;

	MUST(pthread_create(&thread, NULL, beside, NULL) ? -1 : 0);
	for (i = 0; i < 4; i++) {
		pid_t child = vfork();

		if (child == 0) {
			for (uint64_t n = 0; n < 1000; n++)
				bad += differs_beside(SIGHUP, n);
			_exit(3);
		}
		expect(end_of(child) == 3 && bad == 0);
	}
	is_over = 1;
	pthread_join(thread, NULL);
	learn();
	verdict("vforked beside a thread");
}

static void forked(void)
{
	for (int i = 0; i < SPAWNS; i++) {
		pid_t child;

		changes(20);
		child = fork();
		if (child == 0) {
			int bad = !holds();

			changes(40);
			_exit(bad || wrong || !holds());
		}
		expect(end_of(child) == 0);
		expect(holds());
	}
	verdict("forked");
}

static char stack[65536] __attribute__((aligned(16)));

static int sets_hup(void *handler)
{
	for (int i = 0; i < 50; i++)
		set_to(SIGHUP, handler, 0);
	return 0;
}

/* A child that shares the actions, and one that shares only the memory. */
static void shared(int with_actions)
{
	int kinds = CLONE_VM | CLONE_VFORK | (with_actions ? CLONE_SIGHAND : 0) | SIGCHLD;

	for (int i = 0; i < SPAWNS; i++) {
		for (int n = 0; n < 20; n++)
			set_to(SIGHUP, on_signal, SA_RESTART);
		expect(end_of(clone(sets_hup, stack + sizeof stack, kinds, i % 2 ? SIG_IGN : SIG_DFL)) == 0);
		expect(now(SIGHUP).handler == (with_actions ? (uint64_t)(i % 2) : (uint64_t)(uintptr_t)on_signal));
	}
	learn();
	verdict(with_actions ? "shared actions" : "shared memory");
}

static atomic_int turn;

static void *other(void *unused)
{
	(void)unused;
	for (int i = 0; i < 20; i++) {
		while (turn != 1)
			sched_yield();
		expect(now(SIGHUP).handler == (uint64_t)(uintptr_t)on_signal);
		set_to(SIGHUP, i % 2 ? SIG_IGN : SIG_DFL, 0);
		turn = 0;
	}
	return NULL;
}

static void threads(void)
{
	for (int n = 0; n < 5; n++) {
		pthread_t thread;

		for (int i = 0; i < 50; i++)
			set_to(SIGHUP, on_signal, SA_RESTART);
		turn = 1;
		MUST(pthread_create(&thread, NULL, other, NULL) ? -1 : 0);
		for (int i = 0; i < 20; i++) {
			while (turn != 0)
				sched_yield();
			expect(now(SIGHUP).handler == (uint64_t)(i % 2));
			set_to(SIGHUP, on_signal, 0);
			turn = 1;
		}
		pthread_join(thread, NULL);
		learn();
		changes(50);
	}
	verdict("threads");
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return again(argv[1]);
	learn();
	changes(OFTEN);
	verdict("changes");
	edges();
	at_an_end();
	flags();
	pending();
	handlers();
	interrupted();
	senders();
	reaped();
	shown();
	for (int signo = 34; signo <= SIGNALS; signo++)
		set_to(signo, SIG_DFL, 0);
	spawned(argv[0]);
	vforked();
	vforked_beside();
	forked();
	shared(0);
	shared(1);
	threads();
	return 0;
}
