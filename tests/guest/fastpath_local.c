/* Calls that are made so often from one place that the sandbox may answer them without leaving the process. */
#define _GNU_SOURCE
#include "common.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define OFTEN 600

static void check(const char *name, int ok)
{
	printf("%s: %s\n", name, ok ? "ok" : "WRONG");
	fflush(stdout);
}

static int always(pid_t (*call)(void))
{
	pid_t first = call();

	for (int i = 0; i < OFTEN; i++)
		if (call() != first)
			return 0;
	return 1;
}

static long by_number(long nr)
{
	long first = syscall(nr);

	for (int i = 0; i < OFTEN; i++)
		if (syscall(nr) != first)
			return -1;
	return first;
}

static void numbers(void)
{
	check("getpid", always(getpid));
	check("getppid", always(getppid));
	check("getuid", always((pid_t (*)(void))getuid));
	check("geteuid", always((pid_t (*)(void))geteuid));
	check("getgid", always((pid_t (*)(void))getgid));
	check("getegid", always((pid_t (*)(void))getegid));
	check("gettid", always(gettid));
	check("syscall getpid", by_number(SYS_getpid) == getpid());
	check("syscall getppid", by_number(SYS_getppid) == getppid());
	check("syscall gettid", by_number(SYS_gettid) == getpid());
	check("syscall getuid", by_number(SYS_getuid) == getuid());
	/* The same place makes other calls. */
	check("syscall getpgid", syscall(SYS_getpgid, 0) == getpgrp());
	errno = 0;
	check("syscall close", syscall(SYS_close, -1) == -1 && errno == EBADF);
	errno = 0;
	check("syscall none", syscall(5000) == -1 && errno == ENOSYS);
	int fds[2];
	check("syscall pipe2", syscall(SYS_pipe2, fds, 0) == 0);
	check("syscall write", syscall(SYS_write, fds[1], "abc", 3) == 3);
	char b[4] = "";
	check("syscall read", syscall(SYS_read, fds[0], b, 3) == 3 && !strcmp(b, "abc"));
}

static pid_t own_group(void)
{
	return getpgid(0);
}

static pid_t own_session(void)
{
	return getsid(0);
}

/* Groups and sessions that the process itself, or its parent, changes. */
static void groups(void)
{
	int gate[2], ok = 1;
	pid_t parent = getpid(), child;

	check("getpgrp", always(getpgrp) && getpgrp() == getpgid(parent));
	check("getpgid", always(own_group) && own_group() == getpgrp());
	check("getsid", always(own_session) && own_session() == getsid(parent));
	for (int i = 0; i < OFTEN; i++) {
		errno = 0;
		ok &= getpgid(-1) == -1 && errno == ESRCH && getsid(-1) == -1 && errno == ESRCH && getpgid(1) != -1;
	}
	check("of others", ok);
	pipe(gate);
	child = fork();
	if (child == 0) {
		pid_t before = getpgrp();

		ok = always(own_group) && before == getpgid(parent);
		write(gate[1], "a", 1);
		while (own_group() == before)
			;
		ok &= getpgrp() == getpid() && own_group() == getpid() && getsid(0) == getsid(parent);
		ok &= setpgid(0, before) == 0 && own_group() == before && getpgrp() == before;
		ok &= setsid() == getpid() && getsid(0) == getpid() && getpgrp() == getpid() && own_group() == getpid();
		ok &= always(own_session) && always(getpgrp);
		child = fork();
		if (child == 0)
			_exit(getsid(0) == getppid() && setsid() == getpid() && own_session() == getpid() ? 1 : 0);
		ok &= waitpid(child, &(int){ 0 }, 0) == child && own_session() == getpid();
		_exit(ok);
	}
	ok = read(gate[0], &(char){ 0 }, 1) == 1 && setpgid(child, child) == 0;
	ok &= waitpid(child, &gate[0], 0) == child && WEXITSTATUS(gate[0]) == 1;
	check("groups that change", ok);
}

/* getpid from a site of our own; every other register, the flags and the red zone stay as they are. */
struct seen {
	uint64_t rax, rcx, behind, rdx, rsi, rdi, r8, r9, r10, rbx, rbp, r12, r13, r14, r15, flags, red;
};

__asm__(".text\n"
	".globl own_site\n"
	"own_site:\n"
	"push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rdi\n"
	"mov $1,%ebx; mov $2,%ebp; mov $3,%r12d; mov $4,%r13d; mov $5,%r14d; mov $6,%r15d\n"
	"mov $7,%edx; mov $8,%esi; mov $9,%edi; mov $10,%r8d; mov $11,%r9d; mov $12,%r10d\n"
	"movq $13,-8(%rsp); movq $14,-128(%rsp)\n"
	"std; stc\n"
	".globl own_head\n"
	"own_head: mov $39,%eax\n"
	".globl own_call\n"
	"own_call: syscall\n"
	"own_behind:\n"
	"mov (%rsp),%r11\n"
	"mov %rcx,8(%r11); lea own_behind(%rip),%rcx; mov %rcx,16(%r11)\n"
	"mov %rax,0(%r11); mov %rdx,24(%r11); mov %rsi,32(%r11); mov %rdi,40(%r11); mov %r8,48(%r11)\n"
	"mov %r9,56(%r11); mov %r10,64(%r11); mov %rbx,72(%r11); mov %rbp,80(%r11); mov %r12,88(%r11)\n"
	"mov %r13,96(%r11); mov %r14,104(%r11); mov %r15,112(%r11)\n"
	"mov -8(%rsp),%rax; mov -128(%rsp),%rdx; lea (%rax,%rdx),%rax; mov %rax,128(%r11)\n"
	"pushfq; pop %rax; mov %rax,120(%r11); cld\n"
	"pop %rdi; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"ret\n"
	/* The same call by a jump into the middle of the site, with another number. */
	".globl own_middle\n"
	"own_middle:\n"
	"push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rdi\n"
	"mov %esi,%eax; jmp own_call\n");
void own_site(struct seen *);
void own_middle(struct seen *, int nr);
extern char own_head[];

static int good(const struct seen *s, long rax)
{
	return s->rax == rax && s->rcx == s->behind && s->rdx == 7 && s->rsi == 8 && s->rdi == 9 && s->r8 == 10 &&
	       s->r9 == 11 && s->r10 == 12 && s->rbx == 1 && s->rbp == 2 && s->r12 == 3 && s->r13 == 4 && s->r14 == 5 &&
	       s->r15 == 6 && (s->flags & 0x401) == 0x401 && s->red == 27;
}

static void registers(void)
{
	struct seen s;
	int ok = 1;
	pid_t pid = getpid();

	for (int i = 0; i < OFTEN; i++) {
		memset(&s, 0xff, sizeof s);
		own_site(&s);
		ok &= good(&s, pid);
	}
	check("registers, flags, red zone", ok);
	for (int i = 0; i < 20; i++) {
		own_middle(&s, SYS_getppid);
		ok &= (pid_t)s.rax == getppid();
		own_middle(&s, SYS_getpgid);
		own_middle(&s, SYS_getpid);
		ok &= (pid_t)s.rax == pid;
	}
	check("jumps into the middle", ok);
}

static volatile long signals, strange;
static volatile pid_t main_pid;

static void on_signal(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	uint64_t rip = uc->uc_mcontext.gregs[REG_RIP];

	(void)signo;
	(void)info;
	signals++;
	if (rip < 0x200000 || getpid() != main_pid)
		strange++;
}

/* Signals come at any instruction; none shows where a call is really answered, and nothing is lost. */
static void storm(void)
{
	struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
	struct itimerval often = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
	struct seen s;
	int ok = 1;

	main_pid = getpid();
	sigaction(SIGALRM, &sa, 0);
	sigaction(SIGUSR1, &sa, 0);
	pid_t p = fork();
	if (p == 0) {
		for (int i = 0; i < 400; i++) {
			kill(main_pid, SIGUSR1);
			usleep(100);
		}
		_exit(0);
	}
	setitimer(ITIMER_REAL, &often, 0);
	for (long i = 0; signals < 400 && i < 200000000; i++) {
		own_site(&s);
		ok &= good(&s, main_pid);
		ok &= getpid() == main_pid && syscall(SYS_getpid) == main_pid;
	}
	setitimer(ITIMER_REAL, &never, 0);
	while (waitpid(p, 0, 0) < 0)
		;
	check("signals seen", signals >= 400);
	check("signals at strange places", strange == 0);
	check("calls between signals", ok);
	signal(SIGALRM, SIG_IGN);
	signal(SIGUSR1, SIG_IGN);
}

static void forks(void)
{
	int fds[2];
	pid_t me = getpid(), told = 0;

	pipe(fds);
	pid_t p = fork();
	if (p == 0) {
		read(fds[0], &told, sizeof told);
		check("child's getpid", getpid() == told && syscall(SYS_getpid) == told && always(getpid));
		check("child's getppid", getppid() == me && syscall(SYS_getppid) == me);
		check("child's gettid", gettid() == told);
		pid_t q = fork();
		if (q == 0)
			_exit(getppid() == told && getpid() != told ? 0 : 1);
		int status;
		waitpid(q, &status, 0);
		check("grandchild", status == 0);
		_exit(0);
	}
	write(fds[1], &p, sizeof p);
	waitpid(p, 0, 0);
	check("still itself", getpid() == me);
}

static void orphans(void)
{
	int status;
	pid_t me = getpid();

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	pid_t p = fork();
	if (p == 0) {
		pid_t parent = getpid();
		if (fork() == 0) {
			int ok = always(getppid) && getppid() == parent;
			kill(parent, SIGKILL);
			while (getppid() == parent)
				usleep(1000);
			_exit(ok && getppid() == me && syscall(SYS_getppid) == me ? 3 : 4);
		}
		for (;;)
			pause();
	}
	waitpid(p, &status, 0);
	check("parent killed", WIFSIGNALED(status));
	wait(&status);
	check("orphan's getppid", WIFEXITED(status) && WEXITSTATUS(status) == 3);
}

static void owners(void)
{
	int status;
	pid_t p = fork();

	if (p == 0) {
		int ok = always((pid_t (*)(void))getuid);
		ok &= setresgid(1234, 1235, 1236) == 0 && setresuid(2234, 2235, 2236) == 0;
		ok &= getuid() == 2234 && geteuid() == 2235 && getgid() == 1234 && getegid() == 1235;
		ok &= syscall(SYS_getuid) == 2234 && always((pid_t (*)(void))getuid);
		_exit(ok);
	}
	waitpid(p, &status, 0);
	check("other owner", WEXITSTATUS(status) == (getuid() == 0));
}

static void filtered(void)
{
	int status;
	pid_t p = fork();

	if (p == 0) {
		struct sock_filter code[] = {
			BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
			BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		};
		struct sock_fprog program = {4, code};
		int ok = always(getppid);
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		ok &= prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
		for (int i = 0; i < OFTEN; i++) {
			errno = 0;
			ok &= syscall(SYS_getppid) == -1 && errno == EXDEV;
		}
		_exit(ok);
	}
	waitpid(p, &status, 0);
	check("filtered", WEXITSTATUS(status) == 1);
}

static pid_t seen_pid;

static void shared_memory(void)
{
	pid_t me = getpid();
	pid_t p = vfork();

	if (p == 0) {
		seen_pid = getpid();
		_exit(0);
	}
	waitpid(p, 0, 0);
	check("vfork's getpid", seen_pid == p && getpid() == me && me != p);
}

static void *tid(void *arg)
{
	(void)arg;
	int ok = 1;
	pid_t mine = gettid();

	for (int i = 0; i < OFTEN; i++)
		ok &= gettid() == mine && syscall(SYS_gettid) == mine && mine != getpid() && getpid() == main_pid;
	ok &= by_number(SYS_getppid) == getppid() && by_number(SYS_gettid) == mine;
	pid_t p = fork();
	if (!p)
		_exit(by_number(SYS_gettid) == getpid() && gettid() == getpid() && by_number(SYS_getpid) == getpid());
	int status;
	ok &= waitpid(p, &status, 0) == p && WIFEXITED(status) && WEXITSTATUS(status) == 1;
	return (void *)(intptr_t)ok;
}

static void threads(void)
{
	pthread_t t[4];
	int ok = always(gettid);
	void *result;

	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], 0, tid, 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], &result);
		ok &= result != 0;
	}
	check("threads", ok && gettid() == getpid() && by_number(SYS_gettid) == getpid());
}

/* How many mappings there are that can be run. */
static int texts(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];
	int count = 0;

	while (maps && fgets(line, sizeof line, maps))
		count += strstr(line, " r-xp ") != NULL;
	if (maps)
		fclose(maps);
	return count;
}

int main(void)
{
	int before = texts();

	numbers();
	check("mappings are what they were", texts() == before);
	groups();
	registers();
	storm();
	forks();
	orphans();
	owners();
	filtered();
	shared_memory();
	threads();
	numbers();
	return 0;
}
