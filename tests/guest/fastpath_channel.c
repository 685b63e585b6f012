/* Calls that are made so often that they may come to the sandbox through shared memory: results, registers, signals at
 * any instruction, forks, threads, filters. */
#define _GNU_SOURCE
#include "common.h"
#include <asm/prctl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define OFTEN 3000

static int file;

static void check(const char *name, int ok)
{
	printf("%s: %s\n", name, ok ? "ok" : "WRONG");
	fflush(stdout);
}

/* The file holds at each offset of 4 bytes that offset. */
static int right(int n)
{
	int at = n % 1000, value = -1;

	return pread(file, &value, 4, at * 4) == 4 && value == at;
}

static int many(int rounds)
{
	int bad = 0;

	for (int i = 0; i < rounds; i++)
		bad += !right(i);
	return !bad;
}

/* The first thing that happens: the place that closes becomes one of many calls while files that it closes are mapped. */
static void closes(void)
{
	int bad = 0;

	for (int i = 0; i < 300; i++) {
		int fd = open("data", O_RDONLY);
		void *page = mmap(NULL, 4000, PROT_READ, MAP_PRIVATE, fd, 0);
		for (int j = 0; j < 40; j++)
			bad += lseek(fd, j, SEEK_SET) != j;
		bad += close(fd) || access("data", F_OK) || munmap(page, 4000);
	}
	check("closes of mapped files", !bad);
}

static void results(void)
{
	struct stat st;
	char b[16], *volatile nowhere = (char *)8;
	int bad = 0;

	check("pread", many(OFTEN));
	for (int i = 0; i < OFTEN; i++)
		bad += lseek(file, i % 4000, SEEK_SET) != i % 4000 || fstat(file, &st) || st.st_size != 4000;
	check("lseek and fstat", !bad);
	for (int i = 0; i < OFTEN; i++) {
		errno = 0;
		bad += read(-1, b, 1) != -1 || errno != EBADF;
		errno = 0;
		bad += pread(file, nowhere, 4, 0) != -1 || errno != EFAULT;
		errno = 0;
		bad += lseek(file, -1, SEEK_SET) != -1 || errno != EINVAL;
		bad += pread(file, b, 4, 4000) != 0;
	}
	check("errors", !bad);
	for (int i = 0; i < OFTEN; i++) {
		int fd = open("data", O_RDONLY);
		bad += fd < 0 || read(fd, b, 4) != 4 || close(fd) || close(fd) != -1;
	}
	check("open, read, close", !bad);
}

/* A site of our own: rax, then every register, the flags' direction bit and the red zone. */
struct seen {
	uint64_t rax, rcx, behind, rdx, rsi, rdi, r8, r9, r10, rbx, rbp, r12, r13, r14, r15, red;
};

__asm__(".text\n"
	".globl own_lseek\n"
	"own_lseek:\n"
	"push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rsi\n"
	"mov $0x1111, %ebx; mov $0x2222, %ebp; mov $0x3333, %r12d; mov $0x4444, %r13d\n"
	"mov $0x5555, %r14d; mov $0x6666, %r15d; mov $0x7777, %r8d; mov $0x8888, %r9d\n"
	"mov $0x9999, %r10d; xor %esi, %esi; mov $1, %edx; movq $0x1234, -64(%rsp)\n"
	"mov $8, %eax\n"
	"syscall\n"
	"behind_lseek:\n"
	"cmp $-4096, %rax\n"
	"push %rax\n" /* Not the red zone's eight bytes at -64. */
	"mov 8(%rsp), %rax\n"
	"mov %rcx, 8(%rax); mov %rdx, 24(%rax); mov %rsi, 32(%rax); mov %rdi, 40(%rax)\n"
	"mov %r8, 48(%rax); mov %r9, 56(%rax); mov %r10, 64(%rax); mov %rbx, 72(%rax)\n"
	"mov %rbp, 80(%rax); mov %r12, 88(%rax); mov %r13, 96(%rax); mov %r14, 104(%rax)\n"
	"mov %r15, 112(%rax)\n"
	"mov -56(%rsp), %rcx; mov %rcx, 120(%rax)\n"
	"lea behind_lseek(%rip), %rcx; mov %rcx, 16(%rax)\n"
	"mov %rax, %rdx; pop %rax; mov %rax, (%rdx)\n"
	"pop %rsi; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"ret\n");
void own_lseek(int fd, struct seen *seen);

static int registers_once(void)
{
	struct seen s;

	own_lseek(file, &s);
	return s.rax == 42 && s.rcx == s.behind && s.rdx == 1 && s.rsi == 0 && s.rdi == (uint64_t)file &&
	       s.r8 == 0x7777 && s.r9 == 0x8888 && s.r10 == 0x9999 && s.rbx == 0x1111 && s.rbp == 0x2222 &&
	       s.r12 == 0x3333 && s.r13 == 0x4444 && s.r14 == 0x5555 && s.r15 == 0x6666 && s.red == 0x1234;
}

static int registers_many(void)
{
	int bad = 0;

	lseek(file, 42, SEEK_SET);
	for (int i = 0; i < OFTEN; i++)
		bad += !registers_once();
	return !bad;
}

static volatile int alarms, wrong_in_handler;

static void on_alarm(int sig)
{
	(void)sig;
	int saved = errno;
	alarms++;
	wrong_in_handler += !right(alarms);
	errno = saved;
}

static void every(int us, int flags)
{
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = flags };
	struct itimerval it = { { 0, us }, { 0, us } };

	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &it, NULL);
}

/* Until so many signals have come in the midst of calls. */
static int with_alarms(int (*some)(void), int wanted)
{
	int ok = 1;

	alarms = wrong_in_handler = 0;
	while (alarms < wanted)
		ok &= some();
	return ok && !wrong_in_handler;
}

static int some_calls(void)
{
	return many(50);
}

static int some_registers(void)
{
	int ok = 1;

	for (int i = 0; i < 50; i++)
		ok &= registers_once();
	return ok;
}

static sigjmp_buf back;
static volatile int jumps;

static void jump_away(int sig)
{
	(void)sig;
	jumps++;
	siglongjmp(back, 1);
}

static void signals(void)
{
	every(300, 0);
	check("calls between signals", with_alarms(some_calls, 300));
	every(300, SA_RESTART);
	check("with SA_RESTART", with_alarms(some_calls, 300));
	lseek(file, 42, SEEK_SET);
	check("registers between signals", with_alarms(some_registers, 300));
	every(0, 0);

	struct sigaction sa = { .sa_handler = jump_away };
	struct itimerval it = { { 0, 500 }, { 0, 500 } };
	int ok = 1;
	sigaction(SIGALRM, &sa, NULL);
	/* A jump out of sigsetjmp itself would leave the signal blocked. */
	if (sigsetjmp(back, 1) == 0)
		setitimer(ITIMER_REAL, &it, NULL);
	while (jumps < 200)
		ok &= right(jumps);
	every(0, 0);
	check("jumps out of calls", ok && many(OFTEN));

	sigset_t usr1, none;
	sigemptyset(&none);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	signal(SIGUSR1, on_alarm);
	ok = 1;
	for (int i = 0; i < 500; i++) {
		int before = alarms;
		ok &= right(i);
		kill(getpid(), SIGUSR1);
		ok &= alarms == before + 1 && right(i);
		sigprocmask(SIG_BLOCK, &usr1, NULL);
		kill(getpid(), SIGUSR1);
		ok &= right(i) && alarms == before + 1;
		sigprocmask(SIG_SETMASK, &none, NULL);
		ok &= alarms == before + 2;
	}
	check("signals to oneself are there at once", ok);
}

static int there[2], back_again[2];

static void echo(void)
{
	char c;

	while (read(there[0], &c, 1) == 1)
		if (write(back_again[1], &c, 1) != 1)
			break;
}

static void *echo_thread(void *arg)
{
	echo();
	return arg;
}

static int exchange(int rounds, int *interrupted)
{
	int ok = 1;

	for (int i = 0; i < rounds; i++) {
		char c = (char)i, d = 0;
		ssize_t n;
		while ((n = write(there[1], &c, 1)) < 0 && errno == EINTR)
			;
		ok &= n == 1;
		while ((n = read(back_again[0], &d, 1)) < 0 && errno == EINTR)
			++*interrupted;
		ok &= n == 1 && c == d;
	}
	return ok;
}

static void pipes(void)
{
	int interrupted = 0, status;
	pthread_t thread;

	if (pipe(there) || pipe(back_again))
		return;
	pid_t pid = fork();
	if (!pid) {
		close(there[1]);
		echo();
		_exit(7);
	}
	check("exchange between processes", exchange(OFTEN, &interrupted));
	every(400, SA_RESTART);
	check("with signals that restart", exchange(OFTEN, &interrupted) && !interrupted);
	every(400, 0);
	check("with signals that do not", exchange(OFTEN, &interrupted));
	every(0, 0);
	close(there[1]);
	check("its end", waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 7);
	close(there[0]);
	if (pipe(there))
		return;
	pthread_create(&thread, NULL, echo_thread, NULL);
	check("exchange between threads", exchange(OFTEN, &interrupted));
	every(400, SA_RESTART);
	check("threads and signals", exchange(OFTEN, &interrupted));
	every(0, 0);
	close(there[1]);
	pthread_join(thread, NULL);
	/* A call that blocks long, in the middle of many. */
	struct timespec ms = { 0, 30000000 };
	struct pollfd none = { .fd = back_again[0], .events = POLLIN };
	int ok = many(OFTEN);
	ok &= poll(&none, 1, 20) == 0 && many(OFTEN) && ppoll(&none, 1, &ms, NULL) == 0 && many(OFTEN);
	check("calls that wait", ok);
}

static void *many_in_thread(void *arg)
{
	return many(OFTEN) ? arg : NULL;
}

static void processes(void)
{
	int status, bad = 0;
	pthread_t threads[6];

	many(OFTEN);
	for (int i = 0; i < 20; i++) {
		pid_t pid = fork();
		if (!pid)
			_exit(many(i % 2 ? OFTEN : 10) ? 3 : 4);
		bad += !many(200) || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 3;
	}
	check("forks", !bad);
	for (int i = 0; i < 10; i++) {
		pid_t pid = vfork();
		if (!pid) {
			many(100);
			execl("/proc/self/exe", "again", "again", NULL);
			_exit(9);
		}
		bad += !many(200) || waitpid(pid, &status, 0) != pid || WEXITSTATUS(status) != 5;
	}
	check("vfork and exec", !bad);
	for (int i = 0; i < 6; i++)
		bad += pthread_create(&threads[i], NULL, many_in_thread, threads) != 0;
	bad += !many(OFTEN);
	for (int i = 0; i < 6; i++) {
		void *result = NULL;
		pthread_join(threads[i], &result);
		bad += result != threads;
	}
	check("threads", !bad);
	pid_t pid = fork();
	if (!pid) {
		pthread_t thread;
		pthread_create(&thread, NULL, many_in_thread, NULL);
		many(50);
		raise(SIGKILL);
	}
	check("killed in the midst", waitpid(pid, &status, 0) == pid && WTERMSIG(status) == SIGKILL);
}

static void surroundings(void)
{
	unsigned long gs = 1;
	cpu_set_t before, after;
	int bad = 0;

	sched_getaffinity(0, sizeof before, &before);
	many(OFTEN);
	sched_getaffinity(0, sizeof after, &after);
	check("affinity", CPU_EQUAL(&before, &after));
	many(OFTEN);
	check("gs", syscall(SYS_arch_prctl, ARCH_GET_GS, &gs) == 0 && gs == 0);
	for (int i = 0; i < 1000; i++) {
		if (i == 500)
			every(200, SA_RESTART);
		void *page = mmap(NULL, 4000, PROT_READ, MAP_SHARED, file, 0);
		int fd = open("data", O_RDONLY);
		void *other = mmap(NULL, 4000, PROT_READ, MAP_PRIVATE, fd, 0);
		bad += page == MAP_FAILED || other == MAP_FAILED || ((int *)page)[3] != 3 || ((int *)other)[5] != 5;
		/* What follows the close of a mapped file is a call like any other. */
		bad += close(fd) || access("data", F_OK) || chmod("data", 0600);
		bad += !many(20) || munmap(page, 4000) || munmap(other, 4000);
	}
	every(0, 0);
	check("mappings between calls", !bad);

	pid_t pid = fork();
	if (!pid) {
		unsigned long own = 0x12345678, now = 0;
		many(OFTEN);
		syscall(SYS_arch_prctl, ARCH_SET_GS, own);
		int ok = many(OFTEN);
		syscall(SYS_arch_prctl, ARCH_GET_GS, &now);
		if (!fork()) {
			unsigned long child = 0;
			ok &= many(OFTEN);
			syscall(SYS_arch_prctl, ARCH_GET_GS, &child);
			_exit(ok && child == own ? 0 : 1);
		}
		int status = 1;
		wait(&status);
		_exit(ok && now == own && status == 0 ? 3 : 4);
	}
	int status;
	waitpid(pid, &status, 0);
	check("a GS of one's own", WEXITSTATUS(status) == 3);

	pid = fork();
	if (!pid) {
		struct sock_filter code[] = {
			BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
			BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pread64, 0, 1),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 77),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		};
		struct sock_fprog prog = { 4, code };
		int ok = many(OFTEN), n = 0;
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
		for (int i = 0; i < OFTEN; i++) {
			errno = 0;
			ok &= pread(file, &n, 4, 0) == -1 && errno == 77;
			ok &= lseek(file, 4, SEEK_SET) == 4;
		}
		_exit(ok ? 3 : 4);
	}
	waitpid(pid, &status, 0);
	check("a filter after many calls", WEXITSTATUS(status) == 3);
}

int main(int argc, char **argv)
{
	file = open("data", O_RDWR | O_CREAT, 0600);
	for (int i = 0; i < 1000; i++)
		if (pwrite(file, &i, 4, i * 4) != 4)
			return 1;
	if (argc > 1 && !strcmp(argv[1], "again"))
		return many(OFTEN / 4) ? 5 : 6;
	closes();
	results();
	check("registers", registers_many());
	signals();
	pipes();
	processes();
	surroundings();
	return 0;
}
