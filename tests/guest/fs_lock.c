/* flock, POSIX locks and OFD locks: conflicts, splits, waits, deadlock, release. */
#include "common.h"
#include <sys/file.h>

static int lock(int fd, int cmd, int type, long start, long len)
{
	struct flock fl = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };

	return fcntl(fd, cmd, &fl);
}

static void query(const char *name, int fd, int cmd, int type, long start, long len)
{
	struct flock fl = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };
	int result = fcntl(fd, cmd, &fl);

	printf("%s: %d type %d %ld+%ld %s\n", name, result, fl.l_type, fl.l_start, fl.l_len,
	       fl.l_type == F_UNLCK ? "" : fl.l_pid == getppid() ? "parent" : fl.l_pid == -1 ? "none" : "other");
}

static void posix(int fd)
{
	SHOW(lock(fd, F_SETLK, F_WRLCK, 10, 20));
	SHOW(lock(fd, F_SETLK, F_UNLCK, 15, 5));
	IN_CHILD("child", {
		query("whole", fd, F_GETLK, F_WRLCK, 0, 0);
		query("gap", fd, F_GETLK, F_RDLCK, 15, 5);
		query("second", fd, F_GETLK, F_RDLCK, 18, 10);
		SHOW(lock(fd, F_SETLK, F_WRLCK, 12, 1));
		SHOW(lock(fd, F_SETLK, F_WRLCK, 15, 5));
	});
	SHOW(lock(fd, F_SETLK, F_RDLCK, 0, 0));
	IN_CHILD("readers", {
		SHOW(lock(fd, F_SETLK, F_RDLCK, 0, 0));
		SHOW(lock(fd, F_SETLK, F_WRLCK, 100, 1));
	});
	SHOW(close(dup(fd)));
	IN_CHILD("released by close", SHOW(lock(fd, F_SETLK, F_WRLCK, 0, 0)));
	SHOW(lock(fd, F_SETLK, 7, 0, 0));
	SHOW(lock(fd, F_SETLK, F_WRLCK, -1, 0));
	SHOW(lock(open("lock", O_RDONLY), F_SETLK, F_WRLCK, 0, 0));
	SHOW(lock(open("lock", O_WRONLY), F_SETLK, F_RDLCK, 0, 0));
}

static void waits(int fd)
{
	int start[2];
	char byte;

	MUST(pipe(start));
	SHOW(lock(fd, F_SETLK, F_WRLCK, 0, 1));
	fflush(stdout);
	if (fork() == 0) {
		MUST(lock(fd, F_SETLK, F_WRLCK, 1, 1));
		MUST(write(start[1], "x", 1));
		_exit(lock(fd, F_SETLKW, F_WRLCK, 0, 1) ? 1 : 0);
	}
	MUST(read(start[0], &byte, 1));
	sleep_ms(50);
	CHECK("deadlock", lock(fd, F_SETLKW, F_WRLCK, 1, 1));
	SHOW(lock(fd, F_SETLK, F_UNLCK, 0, 1));
	int status;
	MUST(wait(&status));
	report_status("waiter", status);
}

static void on_alarm(int signo)
{
	(void)signo;
}

static void flocks(void)
{
	struct sigaction action = { .sa_handler = on_alarm };
	int a = open("lock", O_RDWR), b = open("lock", O_RDONLY);

	SHOW(flock(a, LOCK_EX));
	SHOW(flock(b, LOCK_EX | LOCK_NB));
	SHOW(flock(b, LOCK_SH | LOCK_NB));
	SHOW(flock(dup(a), LOCK_SH));
	SHOW(flock(b, LOCK_SH | LOCK_NB));
	SHOW(flock(a, LOCK_EX | LOCK_NB));
	SHOW(flock(b, 99));
	sigaction(SIGALRM, &action, NULL);
	struct timespec soon = { 0, 50000000 };
	timer_t timer;
	struct itimerspec spec = { .it_value = soon };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM };
	MUST(timer_create(CLOCK_MONOTONIC, &event, &timer));
	MUST(timer_settime(timer, 0, &spec, NULL));
	CHECK("interrupted", flock(a, LOCK_EX));
	close(b);
	SHOW(flock(a, LOCK_EX | LOCK_NB));
}

static void ofd(void)
{
	int a = open("lock", O_RDWR), b = open("lock", O_RDWR);

	SHOW(lock(a, F_OFD_SETLK, F_WRLCK, 0, 10));
	SHOW(lock(b, F_OFD_SETLK, F_WRLCK, 5, 10));
	query("ofd", b, F_OFD_GETLK, F_WRLCK, 5, 10);
	query("posix sees", b, F_GETLK, F_WRLCK, 5, 10);
	close(a);
	SHOW(lock(b, F_OFD_SETLK, F_WRLCK, 5, 10));
}

int main(void)
{
	char dir[] = "fs_lock.XXXXXX";
	int fd;

	MUST(mkdtemp(dir) ? 0 : -1);
	MUST(chdir(dir));
	fd = open("lock", O_CREAT | O_RDWR, 0644);
	MUST(fd);
	posix(fd);
	waits(fd);
	flocks();
	ofd();
	return 0;
}
