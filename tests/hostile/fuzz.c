/*
 * Random calls with random and hostile arguments, from several threads of several processes. They may die of it;
 * the sandbox may not. FUZZ_SECONDS (default 5) and FUZZ_SEED in the environment; the seed is printed to standard
 * error.
 *
 * expect fuzzed: exit 0
 * expect still alive: exit 0
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define THREADS 4
#define CALLS 20000

static char *area;
static uint64_t seed;

static uint64_t next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static const char *paths[] = {"/", "/tmp/fz", "/tmp/fz2", "/proc/self/maps", "/dev/null", "/dev/zero", "", ".", "..",
			      "/tmp/../tmp/./fz", "/proc/self/fd/0", "/dev/ptmx", "/proc/1/status"};

static uint64_t argument(uint64_t *state)
{
	uint64_t r = next(state);

	switch (r % 14) {
	case 0: return 0;
	case 1: return -1;
	case 2: return r >> 40;
	case 3: return next(state) % 12;
	case 4: return (uint64_t)area + next(state) % 65536;
	case 5: return (uint64_t)area + 65536 - next(state) % 64;
	case 6: return (uint64_t)paths[next(state) % (sizeof paths / sizeof *paths)];
	case 7: return 1ull << (next(state) % 64);
	case 8: return next(state);
	case 9: return 0xffff800000000000ull + next(state) % 4096;
	case 10: return next(state) % 4096;
	case 11: return (uint32_t)-(next(state) % 200);
	case 12: return 0x7fffffffffffffffull;
	default: return next(state) % 70000;
	}
}

/* What would only end or stop the fuzzer, or sleep, or write to its first process. */
static int is_left_out(long nr)
{
	static const long out[] = {SYS_exit, SYS_exit_group, SYS_pause, SYS_rt_sigsuspend, SYS_rt_sigtimedwait, SYS_kill,
				   SYS_tkill, SYS_tgkill, SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo, SYS_rt_sigreturn,
				   SYS_vfork, SYS_alarm, SYS_munmap, SYS_mprotect, SYS_mremap, SYS_brk, SYS_setrlimit,
				   SYS_prlimit64, SYS_arch_prctl, SYS_nanosleep, SYS_clock_nanosleep, SYS_setitimer,
				   SYS_timer_settime, SYS_process_vm_writev, 424};

	for (size_t i = 0; i < sizeof out / sizeof *out; i++)
		if (out[i] == nr)
			return 1;
	return 0;
}

static void *fuzz(void *arg)
{
	uint64_t state = seed * 2654435761u + (uintptr_t)arg + 1;

	for (int i = 0; i < CALLS; i++) {
		long nr = next(&state) % 470;

		if (is_left_out(nr))
			continue;
		if (i % 16 == 0)
			for (int k = 0; k < 64; k++)
				area[next(&state) % 65536] = next(&state);
		syscall(nr, argument(&state), argument(&state), argument(&state), argument(&state), argument(&state),
			argument(&state));
	}
	return 0;
}

static void fuzz_process(void)
{
	pthread_t t[THREADS];

	/* What it mounts over or takes away is only its own. */
	unshare(CLONE_NEWNS);
	mount(0, "/", 0, MS_REC | MS_PRIVATE, 0);
	for (int fd = 0; fd < 3; fd++)
		close(fd);
	open("/dev/null", O_RDWR);
	dup(0);
	dup(0);
	area = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (long i = 0; i < THREADS; i++)
		pthread_create(&t[i], 0, fuzz, (void *)(i + 1));
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], 0);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

int main(void)
{
	const char *s = getenv("FUZZ_SECONDS"), *given = getenv("FUZZ_SEED");
	double end = now() + (s ? atof(s) : 5);
	int status = 0;

	/* Grandchildren may be made children of this process and die with any signal to it. */
	struct { void *handler; unsigned long flags, restorer, mask; } ignore = {SIG_IGN, 0, 0, 0};
	for (int signo = 1; signo < 65; signo++)
		if (signo != SIGCHLD)
			syscall(SYS_rt_sigaction, signo, &ignore, 0, 8);
	/* What the host has by these names would be run, and as a second fuzzer it would kill the first. */
	unlink("/tmp/fz");
	unlink("/tmp/fz2");
	seed = given ? strtoull(given, 0, 0) : (uint64_t)time(0) * 1000 + getpid();
	fprintf(stderr, "FUZZ_SEED=%llu\n", (unsigned long long)seed);
	while (now() < end) {
		pid_t p = fork();

		if (p == 0) {
			setpgid(0, 0);
			fuzz_process();
			_exit(0);
		}
		/* It may block for ever; a second is enough. */
		for (int i = 0; i < 100; i++) {
			if (waitpid(p, &status, WNOHANG) == p)
				break;
			usleep(10000);
		}
		/* Whatever it has started goes too, wherever it went. */
		kill(-1, SIGKILL);
		waitpid(p, &status, 0);
		seed++;
	}
	while (waitpid(-1, &status, WNOHANG) > 0)
		;
	printf("fuzzed: exit 0\n");
	fflush(stdout);
	pid_t p = fork();
	if (p == 0) {
		execl("/bin/true", "true", (char *)0);
		_exit(1);
	}
	waitpid(p, &status, 0);
	printf("still alive: exit %d\n", WEXITSTATUS(status));
	return 0;
}
