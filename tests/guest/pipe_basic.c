/* pipe(2): capacity, atomicity, ends, packets, F_SETPIPE_SZ, poll bits. */
#include "common.h"
#include <poll.h>
#include <sys/ioctl.h>

static char buf[1 << 17];

static void show_poll(const char *name, int fd)
{
	struct pollfd p = { fd, POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM | POLLRDHUP | POLLPRI, 0 };
	int n = poll(&p, 1, 0);
	printf("%s: %d %#x\n", name, n, p.revents);
}

static void ends(void)
{
	int fd[2];
	MUST(pipe(fd));
	show_poll("fresh reader", fd[0]);
	show_poll("fresh writer", fd[1]);
	CHECK("write to the reader", write(fd[0], "x", 1));
	CHECK("read from the writer", read(fd[1], buf, 1));
	SHOW(lseek(fd[0], 0, SEEK_CUR));
	SHOW(write(fd[1], "hello", 5));
	int n = 0;
	SHOW(ioctl(fd[0], FIONREAD, &n));
	printf("FIONREAD says %d\n", n);
	SHOW(read(fd[0], buf, 0));
	SHOW(read(fd[0], buf, 2));
	close(fd[1]);
	show_poll("reader after close", fd[0]);
	SHOW(read(fd[0], buf, 100));
	SHOW(read(fd[0], buf, 100));
	show_poll("reader at end", fd[0]);
	close(fd[0]);
	MUST(pipe(fd));
	close(fd[0]);
	show_poll("writer without reader", fd[1]);
	IN_CHILD("write without reader", write(fd[1], "x", 1));
	signal(SIGPIPE, SIG_IGN);
	SHOW(write(fd[1], "x", 1));
	SHOW(write(fd[1], "x", 0));
	close(fd[1]);
}

static void capacity(void)
{
	int fd[2];
	MUST(pipe2(fd, O_NONBLOCK));
	SHOW(fcntl(fd[0], F_GETPIPE_SZ));
	SHOW(read(fd[0], buf, 1));
	SHOW(write(fd[1], buf, sizeof buf));
	SHOW(write(fd[1], buf, 1));
	show_poll("full writer", fd[1]);
	SHOW(read(fd[0], buf, 4095));
	show_poll("one byte of a page left", fd[1]);
	SHOW(write(fd[1], buf, 1));
	SHOW(read(fd[0], buf, 1));
	show_poll("a page free", fd[1]);
	SHOW(write(fd[1], buf, 4096));
	SHOW(read(fd[0], buf, sizeof buf));
	int total = 0;
	while (write(fd[1], buf, 3000) > 0)
		total++;
	printf("writes of 3000 that fit: %d\n", total);
	SHOW(read(fd[0], buf, sizeof buf));
	SHOW(fcntl(fd[0], F_SETPIPE_SZ, 1));
	SHOW(fcntl(fd[0], F_SETPIPE_SZ, 5000));
	SHOW(write(fd[1], buf, sizeof buf));
	SHOW(fcntl(fd[0], F_SETPIPE_SZ, 4096));
	SHOW(fcntl(fd[0], F_SETPIPE_SZ, 1 << 20));
	SHOW(fcntl(fd[0], F_SETPIPE_SZ, 0xffffffffu));
	SHOW(fcntl(fd[0], F_GETPIPE_SZ));
	close(fd[0]);
	close(fd[1]);
}

static void packets(void)
{
	int fd[2];
	MUST(pipe2(fd, O_DIRECT | O_NONBLOCK));
	SHOW(write(fd[1], "first", 5));
	SHOW(write(fd[1], "second", 6));
	SHOW(write(fd[1], buf, 5000));
	SHOW(read(fd[0], buf, 3));
	SHOW(read(fd[0], buf, 100));
	SHOW(read(fd[0], buf, sizeof buf));
	SHOW(read(fd[0], buf, sizeof buf));
	SHOW(read(fd[0], buf, sizeof buf));
	close(fd[0]);
	close(fd[1]);
}

static volatile int got;

static void on_alarm(int sig)
{
	got = sig;
}

static void blocking(void)
{
	int fd[2], status;
	MUST(pipe(fd));
	pid_t pid = fork();
	if (pid == 0) {
		close(fd[1]);
		sleep_ms(50);
		long total = 0, n;
		while ((n = read(fd[0], buf, 1000)) > 0)
			total += n;
		_exit(total == 100000 ? 7 : 1);
	}
	close(fd[0]);
	SHOW(write(fd[1], buf, 100000));
	close(fd[1]);
	waitpid(pid, &status, 0);
	report_status("reader of a large write", status);

	MUST(pipe(fd));
	struct sigaction sa = { .sa_handler = on_alarm };
	sigaction(SIGALRM, &sa, NULL);
	ualarm(30000, 0);
	CHECK("read until a signal", read(fd[0], buf, 1));
	ualarm(30000, 0);
	CHECK("partial write until a signal", write(fd[1], buf, 100000));
	sa.sa_flags = SA_RESTART;
	sigaction(SIGALRM, &sa, NULL);
	pid = fork();
	if (pid == 0) {
		sleep_ms(100);
		read(fd[0], buf, sizeof buf);
		_exit(0);
	}
	ualarm(30000, 0);
	CHECK("write restarted", write(fd[1], buf, 4096));
	waitpid(pid, &status, 0);
}

int main(void)
{
	int fd[2];
	SHOW(pipe2(fd, 0x40000000));
	CHECK("pipe to nowhere", pipe((int *)8));
	ends();
	capacity();
	packets();
	blocking();
	struct stat st;
	MUST(pipe(fd));
	SHOW(fstat(fd[0], &st));
	printf("mode %o nlink %d size %ld\n", st.st_mode, (int)st.st_nlink, (long)st.st_size);
	printf("flags %#x %#x\n", fcntl(fd[0], F_GETFL), fcntl(fd[1], F_GETFL));
	return 0;
}
