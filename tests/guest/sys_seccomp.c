/* seccomp(2): checks of programs, actions, inheritance, threads, and calls that need no kernel of their own. */
#include "common.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>

#define NR offsetof(struct seccomp_data, nr)
#define ARG(n) offsetof(struct seccomp_data, args[n])
#define LOAD(at) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at)
#define RET(k) BPF_STMT(BPF_RET | BPF_K, k)
#define IS(k, t, f) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, t, f)
#define LEN(a) (sizeof(a) / sizeof((a)[0]))

static long seccomp(unsigned op, unsigned flags, void *args) { return syscall(SYS_seccomp, op, flags, args); }

static long install(struct sock_filter *code, unsigned short len, unsigned flags) {
    struct sock_fprog prog = { len, code };
    return seccomp(SECCOMP_SET_MODE_FILTER, flags, &prog);
}

static void show(const char *name, long result) {
    if (result < 0)
        printf("%s: %ld %s\n", name, result, strerrorname_np(errno));
    else
        printf("%s: %ld\n", name, result);
}

/* Refuses one call with an answer. */
static long refuse(int nr, unsigned answer, unsigned flags) {
    struct sock_filter code[] = { LOAD(NR), IS(nr, 0, 1), RET(answer), RET(SECCOMP_RET_ALLOW) };
    return install(code, LEN(code), flags);
}

static void child(const char *name, void (*body)(void)) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        body();
        fflush(stdout);
        _exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status))
        printf("%s: killed by %d\n", name, WTERMSIG(status));
    else
        printf("%s: exited %d\n", name, WEXITSTATUS(status));
}

static void status_line(const char *name) {
    FILE *f = fopen("/proc/thread-self/status", "r");
    char line[256];
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, "Seccomp", 7))
            printf("%s %s", name, line);
    if (f)
        fclose(f);
}

static void arguments(void) {
    struct sock_filter ok[] = { RET(SECCOMP_RET_ALLOW) };
    struct sock_filter no_ret[] = { LOAD(NR) };
    struct sock_filter bad_load[] = { LOAD(2), RET(0) };
    struct sock_filter far_load[] = { LOAD(64), RET(0) };
    struct sock_filter far_jump[] = { IS(1, 0, 1), RET(0) };
    struct sock_filter unset[] = { BPF_STMT(BPF_LD | BPF_MEM, 0), RET(0) };
    struct sock_filter modulo[] = { BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, 3), RET(0) };
    unsigned action = SECCOMP_RET_KILL_PROCESS, odd = 0x12340000;
    show("mode", prctl(PR_GET_SECCOMP));
    show("bad op", seccomp(77, 0, NULL));
    show("strict flags", seccomp(SECCOMP_SET_MODE_STRICT, 1, NULL));
    show("strict args", seccomp(SECCOMP_SET_MODE_STRICT, 0, &action));
    show("filter null", seccomp(SECCOMP_SET_MODE_FILTER, 0, NULL));
    show("filter flags", install(ok, 1, 1u << 20));
    show("empty", install(ok, 0, 0));
    show("too long", install(ok, 4097, 0));
    show("no ret", install(no_ret, LEN(no_ret), 0));
    show("bad load", install(bad_load, LEN(bad_load), 0));
    show("far load", install(far_load, LEN(far_load), 0));
    show("far jump", install(far_jump, LEN(far_jump), 0));
    show("unset word", install(unset, LEN(unset), 0));
    show("modulo", install(modulo, LEN(modulo), 0));
    show("bad pointer", install((void *)8, 1, 0));
    show("prctl mode", prctl(PR_SET_SECCOMP, 9, NULL));
    show("action", seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &action));
    show("odd action", seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &odd));
    show("action flags", seccomp(SECCOMP_GET_ACTION_AVAIL, 1, &action));
    status_line("before");
}

static void answers(void) {
    show("install", refuse(SYS_getppid, SECCOMP_RET_ERRNO | 77, 0));
    show("errno", syscall(SYS_getppid));
    show("newer errno", refuse(SYS_getppid, SECCOMP_RET_ERRNO | 5, 0));
    show("newest wins", syscall(SYS_getppid));
    show("stricter", refuse(SYS_getppid, SECCOMP_RET_TRACE, 0));
    show("strictest wins", syscall(SYS_getppid));
    show("zero", refuse(SYS_getuid, SECCOMP_RET_ERRNO, 0));
    show("getuid", syscall(SYS_getuid) == 0 ? 0 : -1);
    show("large", refuse(SYS_getgid, SECCOMP_RET_ERRNO | 0xffff, 0));
    printf("raw %ld\n", syscall(SYS_getgid) == -1 ? (long)errno : 0L);
    show("mode", prctl(PR_GET_SECCOMP));
    status_line("after");
    show("strict now", prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
    pid_t pid = fork();
    if (pid == 0) {
        errno = 0;
        _exit(syscall(SYS_getppid) == -1 ? errno : 0);
    }
    int status;
    waitpid(pid, &status, 0);
    printf("inherited: %d\n", WEXITSTATUS(status));
}

static void by_argument(void) {
    struct sock_filter code[] = {
        LOAD(NR), IS(SYS_lseek, 0, 4), LOAD(ARG(1) + 4), IS(1, 0, 2), LOAD(ARG(1)), IS(5, 1, 0),
        RET(SECCOMP_RET_ALLOW), RET(SECCOMP_RET_ERRNO | 99),
    };
    show("install", install(code, LEN(code), 0));
    show("other", lseek(1000, 5, SEEK_SET));
    show("match", lseek(1000, (1L << 32) + 5, SEEK_SET));
}

static void kill_process(void) {
    refuse(SYS_getppid, SECCOMP_RET_KILL_PROCESS, 0);
    syscall(SYS_getppid);
    printf("still here\n");
}

static void kill_thread_single(void) {
    refuse(SYS_getppid, SECCOMP_RET_KILL_THREAD, 0);
    syscall(SYS_getppid);
    printf("still here\n");
}

static void *doomed(void *arg) {
    refuse(SYS_getppid, SECCOMP_RET_KILL_THREAD, 0);
    syscall(SYS_getppid);
    printf("thread lives\n");
    return arg;
}

static void kill_thread(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, doomed, NULL);
    pthread_join(thread, NULL);
    printf("the other lives\n");
}

static volatile sig_atomic_t trapped;

static void on_trap(int sig, siginfo_t *info, void *context) {
    ucontext_t *uc = context;
    trapped = sig;
    printf("trap: code %d errno %d nr %d arch %x rax %lld\n", info->si_code, info->si_errno, info->si_syscall == SYS_getppid,
           info->si_arch, (long long)uc->uc_mcontext.gregs[REG_RAX] == SYS_getppid ? 1LL : 0LL);
    uc->uc_mcontext.gregs[REG_RAX] = 4242;
}

static void trap(void) {
    struct sigaction sa = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };
    sigaction(SIGSYS, &sa, NULL);
    refuse(SYS_getppid, SECCOMP_RET_TRAP | 33, 0);
    show("emulated", syscall(SYS_getppid));
    printf("signal %d\n", trapped == SIGSYS);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGSYS);
    sigprocmask(SIG_BLOCK, &set, NULL);
    fflush(stdout);
    syscall(SYS_getppid);
    printf("still here\n");
}

static void strict(void) {
    fflush(stdout);
    show("strict", prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
    fflush(stdout);
    (void)!write(1, "written\n", 8);
    syscall(SYS_getppid);
    (void)!write(1, "still here\n", 11);
}

static void strict_exit(void) {
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
    syscall(SYS_exit, 7);
}

/* Calls that need not reach anything but the memory of the process. */
static void memory(void) {
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct sock_filter code[] = {
        LOAD(NR), IS(SYS_mprotect, 0, 4), LOAD(ARG(2)), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1),
        RET(SECCOMP_RET_ERRNO | EACCES), RET(SECCOMP_RET_ALLOW), RET(SECCOMP_RET_ALLOW),
    };
    show("install", install(code, LEN(code), 0));
    show("plain", mprotect(page, 4096, PROT_READ));
    show("executable", mprotect(page, 4096, PROT_READ | PROT_EXEC));
    show("forbid brk", refuse(SYS_sched_yield, SECCOMP_RET_ERRNO | 44, 0));
    show("sched_yield", syscall(SYS_sched_yield));
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        _exit(mprotect(page, 4096, PROT_READ | PROT_EXEC) == -1 ? errno : 0);
    int status;
    waitpid(pid, &status, 0);
    printf("inherited %d\n", WEXITSTATUS(status) == EACCES);
}

static void memory_kill(void) {
    refuse(SYS_sched_yield, SECCOMP_RET_KILL_PROCESS, 0);
    syscall(SYS_sched_yield);
    printf("still here\n");
}

static void *waits(void *arg) {
    while (!__atomic_load_n((int *)arg, __ATOMIC_ACQUIRE))
        usleep(1000);
    errno = 0;
    return (void *)(syscall(SYS_getppid) == -1 ? (long)errno : 0L);
}

static void threads(void) {
    int go = 0;
    pthread_t thread;
    void *result;
    pthread_create(&thread, NULL, waits, &go);
    show("all", refuse(SYS_getppid, SECCOMP_RET_ERRNO | 61, SECCOMP_FILTER_FLAG_TSYNC));
    __atomic_store_n(&go, 1, __ATOMIC_RELEASE);
    pthread_join(thread, &result);
    printf("other thread: %ld\n", (long)result);
    go = 0;
    pthread_create(&thread, NULL, waits, &go);
    show("alone", refuse(SYS_getppid, SECCOMP_RET_ERRNO | 62, 0));
    __atomic_store_n(&go, 1, __ATOMIC_RELEASE);
    pthread_join(thread, &result);
    printf("other thread: %ld\n", (long)result);
}

static void *own_filter(void *arg) {
    refuse(SYS_getuid, SECCOMP_RET_ERRNO | 9, 0);
    __atomic_store_n((int *)arg, 1, __ATOMIC_RELEASE);
    while (__atomic_load_n((int *)arg, __ATOMIC_ACQUIRE) != 2)
        usleep(1000);
    return NULL;
}

static void strangers(void) {
    int go = 0;
    pthread_t thread;
    pthread_create(&thread, NULL, own_filter, &go);
    while (!__atomic_load_n(&go, __ATOMIC_ACQUIRE))
        usleep(1000);
    long tid = refuse(SYS_getppid, SECCOMP_RET_ERRNO | 61, SECCOMP_FILTER_FLAG_TSYNC);
    printf("a thread is in the way: %d\n", tid > 0 && tid != gettid());
    show("as error", refuse(SYS_getppid, SECCOMP_RET_ERRNO, SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH));
    __atomic_store_n(&go, 2, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
}

static const char *self;

static void over_exec(void) {
    refuse(SYS_getppid, SECCOMP_RET_ERRNO | 71, 0);
    refuse(SYS_sched_yield, SECCOMP_RET_ERRNO | 72, 0);
    execl(self, self, "again", NULL);
}

static void unprivileged(void) {
    struct sock_filter ok[] = { RET(SECCOMP_RET_ALLOW) };
    show("setuid", setresuid(1234, 1234, 1234));
    show("without", install(ok, 1, 0));
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    show("with", install(ok, 1, 0));
}

int main(int argc, char **argv) {
    self = argv[0];
    if (argc > 1) {
        show("after exec", syscall(SYS_getppid));
        show("natively", syscall(SYS_sched_yield));
        status_line("after exec");
        return 0;
    }
    child("arguments", arguments);
    child("answers", answers);
    child("by argument", by_argument);
    child("kill process", kill_process);
    child("kill single thread", kill_thread_single);
    child("kill thread", kill_thread);
    child("trap", trap);
    child("strict", strict);
    child("strict exit", strict_exit);
    child("memory", memory);
    child("memory kill", memory_kill);
    child("threads", threads);
    child("strangers", strangers);
    child("exec", over_exec);
    child("unprivileged", unprivileged);
    return 0;
}
