/*
 * Calls that fail each time, and some that mostly do, made often enough that their sites are rewritten; ioctl, ppoll and
 * connections by the C library's own sites, with signals in the middle, in one thread and in two. And in a process that
 * has forbidden that any memory becomes executable, and in one that sets the protection of its code all the time.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define TIMES 3000

static volatile sig_atomic_t alarms;
static int file, ends[2], listener;
static struct sockaddr_un here = { .sun_family = AF_UNIX };
static socklen_t here_len;
static char *volatile bad = (char *)8;

/* Whether `call` fails with `error` each time. */
#define FAILS(name, error, call) do { \
	int wrong_ = 0; \
	for (int i_ = 0; i_ < TIMES; i_++) { \
		errno = 0; \
		if ((call) != -1 || errno != (error)) \
			wrong_++; \
	} \
	printf("%s: %s\n", name, wrong_ ? "WRONG" : "fails"); \
	fflush(stdout); \
} while (0)

static void check(const char *name, int ok)
{
	printf("%s: %s\n", name, ok ? "ok" : "WRONG");
	fflush(stdout);
}

static void on_alarm(int signo)
{
	struct termios t;
	int before = errno;

	(void)signo;
	alarms++;
	/* The same site as that of who was interrupted. */
	tcgetattr(file, &t);
	errno = before;
}

static void ticking(int on)
{
	struct itimerval every = { { 0, on ? 300 : 0 }, { 0, on ? 300 : 0 } };

	setitimer(ITIMER_REAL, &every, NULL);
}

static void refused(void)
{
	struct termios t;
	struct stat st;
	char byte;

	FAILS("tcgetattr", ENOTTY, tcgetattr(file, &t));
	FAILS("ioctl", ENOTTY, ioctl(file, TIOCGWINSZ, &t));
	FAILS("ioctl of a bad address", EFAULT, ioctl(ends[0], FIONREAD, bad));
	FAILS("read", EBADF, read(-1, &byte, 1));
	FAILS("read into a bad address", EFAULT, read(file, bad, 1));
	FAILS("lseek", ESPIPE, lseek(ends[0], 0, SEEK_SET));
	FAILS("open", ENOENT, open("/tmp/is/not/there", O_RDONLY));
	FAILS("stat", ENOENT, stat("/tmp/is/not/there", &st));
	FAILS("unlink", ENOENT, unlink("/tmp/is/not/there"));
	FAILS("access", EINVAL, access("/", 100));
	FAILS("recv", EAGAIN, recv(ends[0], &byte, 1, MSG_DONTWAIT));
	FAILS("accept", EAGAIN, accept(listener, NULL, NULL));
	FAILS("socket", EAFNOSUPPORT, socket(4000, SOCK_STREAM, 0));
	FAILS("connect", EBADF, connect(-1, (void *)&here, here_len));
	FAILS("shutdown", ENOTSOCK, shutdown(file, SHUT_RDWR));
	FAILS("ppoll", EINVAL, ppoll(NULL, 0, &(struct timespec){ 0, -1 }, NULL));
	FAILS("close", EBADF, close(-1));
}

/* Values that come back in between. */
static void mixed(void)
{
	int wrong = 0, waiting;

	for (int i = 0; i < TIMES; i++) {
		char bytes[7];
		size_t len = 1 + (size_t)i % 6;
		struct pollfd one = { .fd = ends[0], .events = POLLIN | POLLOUT };
		struct timespec none = { 0, 0 };

		wrong += ioctl(ends[0], FIONREAD, &waiting) != 0 || waiting != 0;
		wrong += ppoll(&one, 1, &none, NULL) != 1 || one.revents != POLLOUT;
		wrong += send(ends[1], "abcdef", len, 0) != (ssize_t)len;
		wrong += ioctl(ends[0], FIONREAD, &waiting) != 0 || waiting != (int)len;
		wrong += ppoll(&one, 1, &none, NULL) != 1 || one.revents != (POLLIN | POLLOUT);
		wrong += recv(ends[0], bytes, sizeof bytes, MSG_DONTWAIT) != (ssize_t)len || memcmp(bytes, "abcdef", len);
		wrong += recv(ends[0], bytes, sizeof bytes, MSG_DONTWAIT) != -1 || errno != EAGAIN;
	}
	check("values in between", !wrong);
}

static void connections(void)
{
	int wrong = 0;

	for (int i = 0; i < TIMES / 10; i++) {
		int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), server;
		char byte = 0;

		wrong += connect(client, (void *)&here, here_len) != 0;
		server = accept(listener, NULL, NULL);
		wrong += server < 0 || send(client, "x", 1, 0) != 1 || recv(server, &byte, 1, 0) != 1 || byte != 'x';
		wrong += shutdown(client, SHUT_WR) != 0 || recv(server, &byte, 1, 0) != 0;
		wrong += close(server) != 0 || close(client) != 0;
	}
	check("connections", !wrong);
}

/* ppoll with another mask: what is pending is delivered in it, and the old mask is back. */
static void masks(void)
{
	sigset_t alarm_only, none, now;
	int wrong = 0;

	sigemptyset(&none);
	sigemptyset(&alarm_only);
	sigaddset(&alarm_only, SIGALRM);
	for (int i = 0; i < TIMES / 10; i++) {
		int before;

		sigprocmask(SIG_BLOCK, &alarm_only, NULL);
		before = alarms;
		raise(SIGALRM);
		wrong += alarms != before;
		wrong += ppoll(NULL, 0, &(struct timespec){ 1, 0 }, &none) != -1 || errno != EINTR || alarms != before + 1;
		sigprocmask(SIG_UNBLOCK, &alarm_only, &now);
		wrong += !sigismember(&now, SIGALRM);
	}
	check("masks", !wrong);
}

/* PR_SET_MDWE, of Linux 6.3, and PR_MDWE_REFUSE_EXEC_GAIN. */
static void denied(void)
{
	int status;
	pid_t p = fork();

	if (p == 0) {
		char byte;
		int wrong = prctl(65, 1, 0, 0, 0) != 0;

		for (int i = 0; i < TIMES; i++)
			wrong += pread(file, &byte, 1, 0) != 1 || byte != 'x' || write(-1, &byte, 1) != -1;
		_exit(wrong ? 1 : 0);
	}
	waitpid(p, &status, 0);
	check("nothing becomes executable", WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Ten places that call getpid, in a page of their own. */
long places(void);
__asm__("	.text\n"
	"	.p2align 12\n"
	"places:\n"
	"	.rept 10\n"
	"	.p2align 5\n"
	"	mov $39, %eax\n"
	"	syscall\n"
	"	ret\n"
	"	.endr\n"
	"	.p2align 12\n");

static volatile int is_over;

static void *protects(void *pause)
{
	while (!is_over) {
		mprotect((void *)(uintptr_t)places, 4096, PROT_READ | PROT_EXEC);
		if (pause)
			usleep(100);
	}
	return NULL;
}

static void protected(void *pause)
{
	int status;
	pid_t p = fork();

	if (p == 0) {
		pthread_t t;
		int wrong = pthread_create(&t, NULL, protects, pause) != 0;

		for (int i = 0; i < 10; i++) {
			long (*place)(void) = (long (*)(void))((uintptr_t)places + 32 * (uintptr_t)i);

			for (int n = 0; n < TIMES; n++)
				wrong += place() != getpid();
		}
		is_over = 1;
		pthread_join(t, NULL);
		_exit(wrong ? 1 : 0);
	}
	waitpid(p, &status, 0);
	check(pause ? "protected now and then" : "protected all the time", WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void *other(void *arg)
{
	mixed();
	return arg;
}

int main(void)
{
	char path[] = "/tmp/fastpath_refused.XXXXXX";
	struct sigaction act = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	pthread_t t;

	file = mkstemp(path);
	unlink(path);
	pwrite(file, "x", 1, 0);
	socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	/* An abstract name of its own. */
	here_len = (socklen_t)(sizeof here.sun_family + 1 +
			       snprintf(here.sun_path + 1, sizeof here.sun_path - 1, "refused.%d.%d", getpid(), getuid()));
	bind(listener, (void *)&here, here_len);
	listen(listener, 10);
	sigaction(SIGALRM, &act, NULL);
	denied();
	protected(NULL);
	protected("");
	refused();
	mixed();
	connections();
	masks();
	ticking(1);
	refused();
	mixed();
	connections();
	ticking(0);
	check("alarms", alarms > 0);
	pthread_create(&t, NULL, other, NULL);
	pthread_join(t, NULL);
	refused();
	return 0;
}
