/* Attacks on signal actions that a guest may change itself: another process in its memory writes to the table, and to the
 * words about it, what it likes, while the guest changes actions, gets signals, is looked at, forks and starts programs.
 * How that ends is its own affair; that it ends, and that the witness has its own actions all the time, is not.
 *
 * expect any signal action at any time: over
 * expect any signal action while programs are started: over
 * expect death in the midst of a rewriting: exit 0
 * expect witness: exit 0
 */
#define _GNU_SOURCE
#include "common.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

#define CHANNELS ((char *)0x180000)
#define END ((char *)0x200000)
#define OFTEN 2000

static uint64_t seed = 88172645463325252ull;

static uint64_t any(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static volatile int stop;

/* Tables of signal actions, and what a channel has about them: the address of one, and a new action. */
#define TABLES ((volatile uint64_t *)(END - 8 * 2048))
#define TABLE_OF(c) (*(volatile uint32_t *)((c) + 2240))
#define ACTION_OF(c) ((volatile uint64_t *)((c) + 2248))

static __attribute__((noinline)) long act(int signo, const uint64_t *new, uint64_t *old)
{
	register long r10 __asm__("r10") = 8;
	long ret;

	__asm__ volatile("mov $13, %%eax\n\tsyscall"
			 : "=a"(ret) : "D"((long)signo), "S"(new), "d"(old), "r"(r10) : "rcx", "r11", "memory");
	return ret;
}

void restorer(void);
__asm__(".text\nrestorer:\n\tmov $15, %eax\n\tsyscall\n");

static void on_signal(int signo)
{
	(void)signo;
}

/* Often one that lets the attack go on. */
static uint64_t word_of_action(void)
{
	switch (any() % 16) {
	case 0:
		return any();
	case 1:
		return 0;
	case 2:
		return 1;
	case 3:
	case 4:
		return 0x4000000;
	case 5:
		return (uintptr_t)restorer;
	default:
		return (uintptr_t)on_signal;
	}
}

static void any_action(char *c)
{
	uintptr_t table = (uintptr_t)TABLES + any() % 9 * 2048;

	switch (any() % 4) {
	case 0:
		TABLE_OF(c) = any() % 8 ? (uint32_t)(table | (any() % 2 ? any() % 128 : 0)) : any() % 2 ? 0 : (uint32_t)any();
		break;
	case 1:
		ACTION_OF(c)[any() % 4] = word_of_action();
		break;
	default:
		TABLES[any() % (8 * 256)] = word_of_action();
	}
}

/* Its own action, at least, is in order. */
static int changes_actions(int rounds)
{
	uint64_t own[4] = { (uintptr_t)on_signal, 0x4000000, (uintptr_t)restorer, 0 }, old[4];
	int bad = 0;

	for (int i = 0; i < rounds; i++) {
		own[3] = (uint64_t)i << 40;
		bad += act(SIGUSR1, own, NULL) != 0 || act(SIGUSR1, NULL, old) != 0 || memcmp(own, old, sizeof own) != 0;
	}
	return !bad;
}

static pid_t attacked;

/* A process in the memory of another. */
static int scribbles(void *mine)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(2);
	for (int i = 0; !stop; i++) {
		any_action(i % 4 ? mine : CHANNELS + i % 8 * 4096);
		if (i % 512 == 0)
			kill(attacked, SIGUSR1);
		if (i % 8192 == 0)
			kill(attacked, SIGCHLD);
	}
	return 0;
}

static void beside_scribbler(void (*attack)(void))
{
	static char stack[65536] __attribute__((aligned(16)));
	char *gs;

	changes_actions(OFTEN);
	__asm__("rdgsbase %0" : "=r"(gs));
	attacked = getpid();
	if (gs < CHANNELS || gs >= END || clone(scribbles, stack + sizeof stack, CLONE_VM | SIGCHLD, gs) < 0)
		_exit(0);
	attack();
	stop = 1;
	execl("/bin/true", "true", (char *)NULL);
}

static void takes_actions(void)
{
	char line[64];

	for (int i = 0; i < 400; i++) {
		sigset_t usr1;
		pid_t p;
		int status;

		changes_actions(20);
		sigemptyset(&usr1);
		sigaddset(&usr1, SIGUSR1);
		sigprocmask(i % 2 ? SIG_BLOCK : SIG_UNBLOCK, &usr1, NULL);
		status = open("/proc/self/status", O_RDONLY);
		while (read(status, line, sizeof line) > 0)
			;
		close(status);
		if (i % 20 == 0 && (p = fork()) >= 0) {
			if (p == 0)
				_exit(0);
			waitpid(p, NULL, 0);
		}
	}
}

static void actions(void)
{
	beside_scribbler(takes_actions);
}

static void starts_programs(void)
{
	for (int i = 0; i < 60; i++) {
		pid_t p = vfork();

		if (p == 0) {
			changes_actions(60);
			execl("/bin/true", "true", (char *)NULL);
			_exit(0);
		}
		waitpid(p, NULL, 0);
	}
}

static void actions_of_children(void)
{
	beside_scribbler(starts_programs);
}

/* Kills who leaves its id at `victim`, some time after. */
static void kills(volatile pid_t *victim, int after_us)
{
	struct timespec from, now;

	while (!*victim)
		;
	clock_gettime(CLOCK_MONOTONIC, &from);
	do
		clock_gettime(CLOCK_MONOTONIC, &now);
	while ((now.tv_sec - from.tv_sec) * 1000000 + (now.tv_nsec - from.tv_nsec) / 1000 < after_us);
	kill(*victim, SIGKILL);
}

/* A child in its parent's memory dies while it has a site rewritten there; the parent goes on with what is left. */
static void half_rewritten(void)
{
	volatile pid_t *victim = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	for (int i = 0; i < 120; i++) {
		pid_t parent, killer;
		int status;

		*victim = 0;
		killer = fork();
		if (killer == 0) {
			alarm(5);
			kills(victim, 100 + i * 8);
			_exit(0);
		}
		parent = fork();
		if (parent == 0) {
			pid_t p;

			alarm(5);
			p = vfork();
			if (p == 0) {
				*victim = getpid();
				changes_actions(OFTEN);
				_exit(0);
			}
			waitpid(p, NULL, 0);
			_exit(!changes_actions(100));
		}
		waitpid(killer, NULL, 0);
		waitpid(parent, &status, 0);
		if (status != 0)
			_exit(1);
	}
}

static int done_file[2];

static void over(const char *name, void (*attack)(void))
{
	pid_t p = fork();

	if (p == 0) {
		alarm(10);
		/* Nor is it known what it leaves behind. */
		close(done_file[1]);
		attack();
		_exit(0);
	}
	waitpid(p, NULL, 0);
	printf("%s: over\n", name);
	fflush(stdout);
}

static void witness(void)
{
	char c;

	fcntl(done_file[0], F_SETFL, O_NONBLOCK);
	close(done_file[1]);
	while (read(done_file[0], &c, 1) < 0)
		if (errno != EAGAIN || !changes_actions(OFTEN))
			_exit(1);
}

int main(void)
{
	if (pipe(done_file))
		return 1;
	pid_t p = start_witness(witness);
	over("any signal action at any time", actions);
	over("any signal action while programs are started", actions_of_children);
	in_child("death in the midst of a rewriting", half_rewritten, EXACT);
	close(done_file[1]);
	end_witness(p);
	return 0;
}
