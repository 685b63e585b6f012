/* O_ASYNC, F_SETOWN, F_SETSIG: signals when a descriptor becomes ready; ETXTBSY; what linkat does to the dead. */
#include "common.h"
#include <sys/socket.h>

static volatile int got, code, fd_of, band;

static void on_signal(int signo, siginfo_t *info, void *context)
{
	(void)context;
	got = signo;
	code = info->si_code;
	fd_of = info->si_fd;
	band = info->si_band;
}

static void show(const char *when, int fd)
{
	for (int i = 0; i < 100 && !got; i++)
		sleep_ms(1);
	printf("%s: %s", when, got ? sigabbrev_np(got) ? sigabbrev_np(got) : "RT" : "none");
	if (got && got != SIGIO)
		printf(" code %d fd %d band %#x", code, fd_of == fd, band);
	printf("\n");
	fflush(stdout);
	got = 0;
}

static void asynchronous(void)
{
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
	struct f_owner_ex { int type; pid_t pid; } owner;
	int fds[2], pair[2];
	char byte;

	sigaction(SIGIO, &action, NULL);
	sigaction(SIGRTMIN, &action, NULL);
	MUST(pipe(fds));
	CHECK("owner", fcntl(fds[0], F_GETOWN));
	CHECK("set owner", fcntl(fds[0], F_SETOWN, getpid()));
	TRUE("owner", fcntl(fds[0], F_GETOWN) == getpid());
	CHECK("async", fcntl(fds[0], F_SETFL, O_ASYNC));
	CHECK("flags", fcntl(fds[0], F_GETFL));
	MUST(write(fds[1], "x", 1));
	show("pipe", fds[0]);
	MUST(read(fds[0], &byte, 1));
	CHECK("set signal", fcntl(fds[0], F_SETSIG, SIGRTMIN));
	TRUE("signal", fcntl(fds[0], F_GETSIG) == SIGRTMIN);
	MUST(write(fds[1], "x", 1));
	show("pipe by its own signal", fds[0]);
	CHECK("off", fcntl(fds[0], F_SETFL, 0));
	MUST(read(fds[0], &byte, 1));
	MUST(write(fds[1], "x", 1));
	show("off", fds[0]);
	CHECK("bad signal", fcntl(fds[0], F_SETSIG, 65));
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	owner.type = 2;
	owner.pid = getpgrp();
	CHECK("group", fcntl(pair[0], 15 /* F_SETOWN_EX */, &owner));
	TRUE("negative", fcntl(pair[0], F_GETOWN) == -getpgrp() || errno == 0);
	owner.type = 7;
	CHECK("bad type", fcntl(pair[0], 15, &owner));
}

static void busy(void)
{
	int from = open("/proc/self/exe", O_RDONLY), to = open("copy", O_CREAT | O_WRONLY, 0755), n;
	char buf[4096];
	pid_t pid;

	while ((n = read(from, buf, sizeof(buf))) > 0)
		MUST(write(to, buf, n));
	IN_CHILD("exec while written", {
		execl("./copy", "copy", "sleep", NULL);
		printf("%s\n", strerrorname_np(errno));
		fflush(stdout);
	});
	close(to);
	pid = fork();
	if (pid == 0) {
		execl("./copy", "copy", "sleep", NULL);
		_exit(1);
	}
	sleep_ms(100);
	CHECK("write running", open("copy", O_WRONLY));
	CHECK("truncate running", truncate("copy", 0));
	WORKS("read running", open("copy", O_RDONLY));
	CHECK("unlink running", unlink("copy"));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void dead(void)
{
	char path[64];
	int fd = open("f", O_CREAT | O_RDWR, 0644);

	MUST(unlink("f"));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CHECK("link the dead", linkat(AT_FDCWD, path, AT_FDCWD, "again", AT_SYMLINK_FOLLOW));
	fd = open(".", O_TMPFILE | O_RDWR | O_EXCL, 0644);
	CHECK("link exclusive", linkat(fd, "", AT_FDCWD, "again", AT_EMPTY_PATH));
	fd = open(".", O_TMPFILE | O_RDWR, 0644);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CHECK("link by proc", linkat(AT_FDCWD, path, AT_FDCWD, "again", AT_SYMLINK_FOLLOW));
	MUST(unlink("again"));
	CHECK("not twice", linkat(fd, "", AT_FDCWD, "again", AT_EMPTY_PATH));
}

int main(int argc, char **argv)
{
	char dir[] = "fs_async.XXXXXX";

	if (argc > 1 && !strcmp(argv[1], "sleep")) {
		sleep_ms(1500);
		return 0;
	}
	MUST(mkdtemp(dir) ? 0 : -1);
	MUST(chdir(dir));
	asynchronous();
	busy();
	dead();
	return 0;
}
