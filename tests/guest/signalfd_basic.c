/* signalfd(2). */
#include "common.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

static void show(int fd, int room)
{
	struct signalfd_siginfo info[4];
	errno = 0;
	long n = read(fd, info, room);
	printf("read: %ld %s", n, n < 0 ? strerrorname_np(errno) : "-");
	for (int i = 0; i < n / (int)sizeof info[0]; i++)
		printf(" [%d code %d own %d status %d int %d]", info[i].ssi_signo, info[i].ssi_code,
		       info[i].ssi_pid == (unsigned)getpid(), info[i].ssi_status, info[i].ssi_int);
	printf("\n");
}

int main(void)
{
	sigset_t set, more;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGKILL);
	sigprocmask(SIG_BLOCK, &set, NULL);
	WORKS("bad flags", signalfd(-1, &set, 1));
	CHECK("not one", signalfd(1, &set, 0));
	int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	show(fd, 128);
	show(fd, 127);
	struct pollfd p = { fd, POLLIN | POLLOUT, 0 };
	SHOW(poll(&p, 1, 0));
	raise(SIGUSR1);
	kill(getpid(), SIGUSR1);
	SHOW(poll(&p, 1, 0));
	printf("revents %#x\n", p.revents);
	show(fd, 512);
	SHOW(poll(&p, 1, 0));
	union sigval value = { .sival_int = 42 };
	sigqueue(getpid(), SIGUSR1, value);
	show(fd, 512);
	pid_t pid = fork();
	if (pid == 0)
		_exit(9);
	SHOW(poll(&p, 1, 2000));
	show(fd, 512);
	waitpid(pid, NULL, 0);
	int ep = epoll_create1(0);
	struct epoll_event e = { .events = EPOLLIN };
	SHOW(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
	SHOW(epoll_wait(ep, &e, 1, 0));
	raise(SIGUSR1);
	SHOW(epoll_wait(ep, &e, 1, 0));
	show(fd, 512);
	SHOW(epoll_wait(ep, &e, 1, 0));
	sigemptyset(&more);
	sigaddset(&more, SIGUSR2);
	sigprocmask(SIG_BLOCK, &more, NULL);
	raise(SIGUSR2);
	show(fd, 512);
	TRUE("changed in place", signalfd(fd, &more, 0) == fd);
	show(fd, 512);
	int wait = signalfd(-1, &set, 0);
	pid = fork();
	if (pid == 0) {
		sleep_ms(30);
		kill(getppid(), SIGUSR1);
		_exit(0);
	}
	struct signalfd_siginfo info;
	SHOW(read(wait, &info, sizeof info));
	TRUE("from the child", info.ssi_pid == (unsigned)pid);
	waitpid(pid, NULL, 0);
	return 0;
}
