/* timerfd_create(2). */
#include "common.h"
#include <poll.h>
#include <sys/timerfd.h>

static long take(int fd)
{
	uint64_t value = 0;
	long n = read(fd, &value, 8);
	return n == 8 ? (long)value : n;
}

static int set(int fd, int flags, long first_ms, long every_ms)
{
	struct itimerspec it = {
		{ every_ms / 1000, every_ms % 1000 * 1000000 }, { first_ms / 1000, first_ms % 1000 * 1000000 },
	};
	return timerfd_settime(fd, flags, &it, NULL);
}

int main(void)
{
	char small[8];
	struct itimerspec it, old;
	WORKS("bad clock", timerfd_create(99, 0));
	WORKS("cpu clock", timerfd_create(CLOCK_PROCESS_CPUTIME_ID, 0));
	WORKS("bad flags", timerfd_create(CLOCK_MONOTONIC, 1));
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	SHOW(take(fd));
	SHOW(read(fd, small, 7));
	CHECK("bad flags", set(fd, 99, 1, 0));
	it = (struct itimerspec){ { 0, 0 }, { 0, 1000000000 } };
	SHOW(timerfd_settime(fd, 0, &it, NULL));
	SHOW(timerfd_settime(1, 0, &it, NULL));
	SHOW(set(fd, 0, 20, 0));
	struct pollfd p = { fd, POLLIN | POLLOUT, 0 };
	SHOW(poll(&p, 1, 1000));
	printf("revents %#x\n", p.revents);
	SHOW(take(fd));
	SHOW(take(fd));
	SHOW(timerfd_gettime(fd, &it));
	printf("after: %ld %ld %ld %ld\n", it.it_value.tv_sec, it.it_value.tv_nsec, it.it_interval.tv_sec, it.it_interval.tv_nsec);
	SHOW(set(fd, 0, 10, 10));
	sleep_ms(105);
	long n = take(fd);
	TRUE("about ten ticks", n >= 9 && n <= 12);
	timerfd_gettime(fd, &it);
	TRUE("less than the interval left", it.it_value.tv_nsec > 0 && it.it_value.tv_nsec <= 10000000);
	it = (struct itimerspec){ { 0, 0 }, { 0, 0 } };
	SHOW(timerfd_settime(fd, 0, &it, &old));
	printf("old interval %ld\n", old.it_interval.tv_nsec);
	SHOW(take(fd));
	int block = timerfd_create(CLOCK_REALTIME, 0);
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	it = (struct itimerspec){ { 0, 0 }, { now.tv_sec, now.tv_nsec } };
	SHOW(timerfd_settime(block, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &it, NULL));
	SHOW(take(block));
	int boot = timerfd_create(CLOCK_BOOTTIME, 0);
	SHOW(set(boot, 0, 30, 0));
	long start = now_ms();
	SHOW(take(boot));
	TRUE("blocked", now_ms() - start >= 25);
	return 0;
}
