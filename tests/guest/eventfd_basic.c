/* eventfd(2). */
#include "common.h"
#include <poll.h>
#include <sys/eventfd.h>

static void show_poll(const char *name, int fd)
{
	struct pollfd p = { fd, POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM, 0 };
	int n = poll(&p, 1, 0);
	printf("%s: %d %#x\n", name, n, p.revents);
}

static long take(int fd)
{
	uint64_t value = 0;
	long n = read(fd, &value, 8);
	return n == 8 ? (long)value : n;
}

static long add(int fd, uint64_t value)
{
	return write(fd, &value, 8);
}

int main(void)
{
	char small[16];
	WORKS("bad flags", eventfd(0, 0x1234));
	int fd = eventfd(5, EFD_NONBLOCK | EFD_CLOEXEC);
	printf("flags %#x %d\n", fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
	show_poll("five", fd);
	SHOW(read(fd, small, 7));
	SHOW(write(fd, small, 7));
	SHOW(take(fd));
	SHOW(take(fd));
	show_poll("zero", fd);
	SHOW(add(fd, UINT64_MAX));
	SHOW(add(fd, UINT64_MAX - 1));
	show_poll("full", fd);
	SHOW(add(fd, 1));
	SHOW(add(fd, 0));
	SHOW(take(fd));
	memset(small, 1, sizeof small);
	SHOW(write(fd, small, 16));
	SHOW(read(fd, small, 16));
	SHOW(lseek(fd, 0, SEEK_SET));
	SHOW(pread(fd, small, 8, 0));
	int sem = eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK);
	SHOW(take(sem));
	SHOW(take(sem));
	SHOW(take(sem));
	int wait = eventfd(0, 0);
	pid_t pid = fork();
	if (pid == 0) {
		sleep_ms(30);
		add(wait, 42);
		_exit(0);
	}
	SHOW(take(wait));
	waitpid(pid, NULL, 0);
	return 0;
}
