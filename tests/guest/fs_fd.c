/* dup, fcntl, close_range: descriptors. */
#include "common.h"
#include <linux/close_range.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

int main(void)
{
	struct rlimit limit = { 64, 64 };
	int value = 1;

	MUST(open("/dev/null", O_RDWR));
	CHECK("dup lowest", dup(0));
	CHECK("dup2 same", dup2(3, 3));
	CHECK("dup2 bad same", dup2(50, 50));
	CHECK("dup2", dup2(3, 10));
	CHECK("dup3", dup3(3, 11, O_CLOEXEC));
	CHECK("dup3 same", dup3(3, 3, 0));
	CHECK("dup3 flags", dup3(3, 12, O_NONBLOCK));
	CHECK("cloexec", fcntl(11, F_GETFD));
	CHECK("dupfd", fcntl(3, F_DUPFD, 20));
	CHECK("dupfd cloexec", fcntl(3, F_DUPFD_CLOEXEC, 20));
	CHECK("its flag", fcntl(21, F_GETFD));
	CHECK("setfd", fcntl(21, F_SETFD, 0));
	CHECK("flag off", fcntl(21, F_GETFD));
	CHECK("fioclex", ioctl(21, FIOCLEX));
	CHECK("flag on", fcntl(21, F_GETFD));
	CHECK("fionbio", ioctl(21, FIONBIO, &value));
	CHECK("shared flags", (fcntl(3, F_GETFL) & O_NONBLOCK) != 0);
	CHECK("setfl", fcntl(3, F_SETFL, O_APPEND));
	CHECK("getfl", fcntl(3, F_GETFL) & ~0100000);
	CHECK("setfl ignores", fcntl(3, F_SETFL, O_RDONLY | O_CREAT | O_EXCL));
	CHECK("getfl", fcntl(3, F_GETFL) & ~0100000);
	CHECK("bad command", fcntl(3, 9999));
	CHECK("bad fd", fcntl(99, F_GETFD));
	CHECK("bad ioctl", ioctl(3, 0x1234));
	CHECK("lowest again", dup(3));
	CHECK("close", close(5));
	CHECK("close again", close(5));
	CHECK("close_range", syscall(SYS_close_range, 10, 20, 0));
	CHECK("closed", fcntl(10, F_GETFD));
	CHECK("kept", fcntl(21, F_GETFD));
	CHECK("close_range cloexec", syscall(SYS_close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC));
	CHECK("marked", fcntl(3, F_GETFD));
	CHECK("close_range wrong", syscall(SYS_close_range, 9, 3, 0));
	CHECK("close_range flags", syscall(SYS_close_range, 3, 9, 99));
	setrlimit(RLIMIT_NOFILE, &limit);
	CHECK("dup2 above limit", dup2(3, 64));
	CHECK("dupfd above limit", fcntl(3, F_DUPFD, 64));
	while (dup(3) >= 0)
		;
	CHECK("no more", dup(3));
	CHECK("open no more", open("/", O_RDONLY));
	return 0;
}
