/* poll(2), ppoll(2), select(2), pselect(2). */
#include "common.h"
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/resource.h>

static volatile int got;

static void on_signal(int sig)
{
	got = sig;
}

int main(void)
{
	int fd[2], n;
	MUST(pipe(fd));
	struct pollfd p[4] = {
		{ fd[0], POLLIN, 0x55 }, { fd[1], POLLOUT, 0x55 }, { -1, POLLIN, 0x55 }, { 999, POLLIN, 0x55 },
	};
	n = poll(p, 4, -1);
	printf("poll: %d %#x %#x %#x %#x\n", n, p[0].revents, p[1].revents, p[2].revents, p[3].revents);
	SHOW(poll(p, 1, 0));
	long start = now_ms();
	SHOW(poll(p, 1, 60));
	TRUE("waited about 60 ms", now_ms() - start >= 59 && now_ms() - start < 500);
	SHOW(poll(NULL, 0, 1));
	SHOW(poll((void *)8, 1, 0));
	struct rlimit limit;
	getrlimit(RLIMIT_NOFILE, &limit);
	SHOW(poll(p, limit.rlim_cur + 1, 0));
	int file = open("/etc/passwd", O_RDONLY);
	struct pollfd regular = { file, POLLIN | POLLOUT | POLLPRI, 0 };
	n = poll(&regular, 1, 0);
	printf("regular file: %d %#x\n", n, regular.revents);
	struct pollfd nothing = { fd[1], 0, 0 };
	SHOW(poll(&nothing, 1, 0));
	close(fd[0]);
	n = poll(&nothing, 1, 0);
	printf("error though not asked: %d %#x\n", n, nothing.revents);
	close(fd[1]);

	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	sigaction(SIGALRM, &sa, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	MUST(pipe(fd));
	p[0].fd = fd[0];
	ualarm(30000, 0);
	CHECK("poll is not restarted", poll(p, 1, 1000));
	struct timespec ts = { 1, 0 };
	ualarm(30000, 0);
	CHECK("ppoll is not restarted", ppoll(p, 1, &ts, NULL));
	ts = (struct timespec){ 0, 1000000000 };
	SHOW(ppoll(p, 1, &ts, NULL));
	ts = (struct timespec){ -1, 0 };
	SHOW(ppoll(p, 1, &ts, NULL));

	sigset_t all, none;
	sigfillset(&all);
	sigemptyset(&none);
	sigprocmask(SIG_BLOCK, &all, NULL);
	got = 0;
	raise(SIGUSR1);
	TRUE("blocked", got == 0);
	ts = (struct timespec){ 1, 0 };
	CHECK("ppoll unblocks", ppoll(p, 1, &ts, &none));
	TRUE("handled", got == SIGUSR1);
	sigset_t now;
	sigprocmask(SIG_SETMASK, NULL, &now);
	TRUE("mask restored", sigismember(&now, SIGUSR1));
	got = 0;
	raise(SIGUSR1);
	write(fd[1], "x", 1);
	ts = (struct timespec){ 1, 0 };
	CHECK("ready wins", ppoll(p, 1, &ts, &none));
	printf("handled meanwhile: %d\n", got == SIGUSR1);
	fd_set in, out, ex;
	FD_ZERO(&in);
	FD_SET(fd[0], &in);
	ts = (struct timespec){ 1, 0 };
	CHECK("pselect", pselect(fd[0] + 1, &in, NULL, NULL, &ts, &none));
	sigprocmask(SIG_UNBLOCK, &all, NULL);

	FD_ZERO(&in); FD_ZERO(&out); FD_ZERO(&ex);
	FD_SET(fd[0], &in); FD_SET(fd[1], &in); FD_SET(fd[0], &out); FD_SET(fd[1], &out); FD_SET(fd[0], &ex);
	struct timeval tv = { 1, 0 };
	CHECK("select", select(fd[1] + 1, &in, &out, &ex, &tv));
	printf("in %d %d out %d %d ex %d\n", !!FD_ISSET(fd[0], &in), !!FD_ISSET(fd[1], &in), !!FD_ISSET(fd[0], &out),
	       !!FD_ISSET(fd[1], &out), !!FD_ISSET(fd[0], &ex));
	TRUE("time left", tv.tv_sec == 0 && tv.tv_usec > 500000);
	SHOW(select(-1, NULL, NULL, NULL, NULL));
	FD_ZERO(&in);
	FD_SET(50, &in);
	CHECK("closed descriptor", select(51, &in, NULL, NULL, NULL));
	tv = (struct timeval){ 0, 30000 };
	CHECK("sleep", select(0, NULL, NULL, NULL, &tv));
	printf("left %ld %ld\n", (long)tv.tv_sec, (long)tv.tv_usec);
	tv = (struct timeval){ 0, -1 };
	CHECK("negative", select(0, NULL, NULL, NULL, &tv));
	tv = (struct timeval){ 0, 1500000 / 100 };
	CHECK("short", select(0, NULL, NULL, NULL, &tv));
	return 0;
}
