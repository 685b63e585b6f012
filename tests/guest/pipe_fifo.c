/* fifo(7): how opening waits, and hang-ups. */
#include "common.h"
#include <poll.h>

static char path[64];

static void show_poll(const char *name, int fd)
{
	struct pollfd p = { fd, POLLIN | POLLOUT, 0 };
	int n = poll(&p, 1, 0);
	printf("%s: %d %#x\n", name, n, p.revents);
}

int main(void)
{
	char buf[16];
	int status;
	snprintf(path, sizeof path, "/tmp/fifo-%d", getpid());
	SHOW(mkfifo(path, 0600) );
	SHOW(mkfifo(path, 0600));
	WORKS("writer without reader", open(path, O_WRONLY | O_NONBLOCK));
	int r = open(path, O_RDONLY | O_NONBLOCK);
	TRUE("reader opens", r >= 0);
	show_poll("no writer yet", r);
	CHECK("read without writer", read(r, buf, 1));
	int w = open(path, O_WRONLY | O_NONBLOCK);
	TRUE("writer opens", w >= 0);
	CHECK("read with writer", read(r, buf, 1));
	SHOW(write(w, "abc", 3));
	show_poll("data", r);
	close(w);
	show_poll("data and no writer", r);
	SHOW(read(r, buf, 16));
	show_poll("writer came and left", r);
	SHOW(read(r, buf, 16));
	close(r);

	pid_t pid = fork();
	if (pid == 0) {
		sleep_ms(50);
		int fd = open(path, O_WRONLY);
		write(fd, "late", 4);
		_exit(3);
	}
	int fd = open(path, O_RDONLY);
	TRUE("blocking reader met its writer", fd >= 0);
	SHOW(read(fd, buf, 16));
	waitpid(pid, &status, 0);
	report_status("writer", status);
	close(fd);

	pid = fork();
	if (pid == 0) {
		sleep_ms(50);
		int in = open(path, O_RDONLY);
		_exit(read(in, buf, 16));
	}
	fd = open(path, O_WRONLY);
	TRUE("blocking writer met its reader", fd >= 0);
	SHOW(write(fd, "12345", 5));
	waitpid(pid, &status, 0);
	report_status("reader", status);
	close(fd);

	fd = open(path, O_RDWR);
	TRUE("both at once do not wait", fd >= 0);
	SHOW(write(fd, "self", 4));
	SHOW(read(fd, buf, 16));
	show_poll("both", fd);
	struct stat st;
	SHOW(fstat(fd, &st));
	printf("mode %o\n", st.st_mode);
	SHOW(unlink(path));
	return 0;
}
