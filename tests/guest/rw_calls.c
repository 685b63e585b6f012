/* Reading, writing and moving data: errors of each call, by descriptors, offsets, pointers, flags. */
#include "common.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/random.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>

static char buf[8192];

static void of(const char *name, int fd)
{
	struct iovec v[2] = { { buf, 10 }, { buf + 10, 10 } }, huge = { buf, -1 };

	printf("-- %s\n", name);
	SHOW(pread(fd, buf, 1, -1));
	SHOW(pwrite(fd, buf, 1, -1));
	SHOW(syscall(SYS_preadv2, fd, v, 2, 0, 0, 0x8000));
	SHOW(syscall(SYS_preadv2, fd, v, 2, -2, -1, 0));
	SHOW(syscall(SYS_pwritev2, fd, v, 2, 0, 0, 0x8000));
	SHOW(readv(fd, v, -1));
	SHOW(readv(fd, v, 1025));
	SHOW(readv(fd, v, 0));
	SHOW(writev(fd, &huge, 1));
	SHOW(writev(fd, (void *)8, 1));
	SHOW(preadv(fd, v, 2, -1));
	SHOW(pwritev(fd, v, 2, -1));
	SHOW(lseek(fd, 0, 99));
	SHOW(lseek(fd, -1, SEEK_SET));
	SHOW(lseek(fd, 1 << 20, SEEK_DATA));
	SHOW(lseek(fd, -1, SEEK_HOLE));
	SHOW(posix_fadvise(fd, 0, 0, 99));
	SHOW(posix_fadvise(fd, 0, -1, POSIX_FADV_NORMAL));
	SHOW(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	SHOW(readahead(fd, 0, 100));
	SHOW(sync_file_range(fd, 0, 0, 99));
	SHOW(sync_file_range(fd, -1, 0, 0));
	SHOW(sync_file_range(fd, 0, -1, 0));
	SHOW(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE));
	SHOW(fallocate(fd, 0, 0, 0));
	SHOW(fallocate(fd, 0, -1, 1));
	SHOW(fallocate(fd, 0x100, 0, 1));
	SHOW(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 1));
	SHOW(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 10));
	SHOW(ftruncate(fd, -1));
	SHOW(fdatasync(fd));
	SHOW(syncfs(fd));
	SHOW(flock(fd, 99));
	SHOW(fchdir(fd));
}

static void moves(int rd, int wr, int append, int dir)
{
	int p[2], q[2], s[2];
	off_t off = 0, minus = -1;
	loff_t in = 0;

	MUST(pipe(p));
	MUST(pipe(q));
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	puts("-- moves");
	SHOW(sendfile(wr, -1, NULL, 1));
	SHOW(sendfile(-1, rd, NULL, 1));
	SHOW(sendfile(wr, wr, NULL, 1));
	SHOW(sendfile(rd, rd, NULL, 1));
	SHOW(sendfile(wr, rd, (void *)8, 1));
	SHOW(sendfile(wr, rd, &minus, 1));
	SHOW(sendfile(wr, p[0], NULL, 1));
	SHOW(sendfile(append, rd, &off, 1));
	SHOW(sendfile(s[0], rd, &off, 10));
	SHOW(copy_file_range(rd, NULL, rd, NULL, 1, 0));
	SHOW(copy_file_range(wr, NULL, wr, NULL, 1, 0));
	SHOW(copy_file_range(rd, NULL, append, NULL, 1, 0));
	SHOW(copy_file_range(rd, NULL, wr, NULL, 1, 1));
	SHOW(copy_file_range(dir, NULL, wr, NULL, 1, 0));
	SHOW(copy_file_range(p[0], NULL, wr, NULL, 1, 0));
	SHOW(copy_file_range(rd, (void *)8, wr, NULL, 1, 0));
	SHOW(splice(rd, NULL, wr, NULL, 1, 0));
	SHOW(splice(rd, NULL, p[1], NULL, 1, 99));
	SHOW(splice(p[0], &in, wr, NULL, 1, 0));
	SHOW(splice(rd, NULL, p[0], NULL, 1, 0));
	SHOW(splice(p[0], NULL, p[1], NULL, 1, SPLICE_F_NONBLOCK));
	SHOW(splice(p[0], NULL, q[1], NULL, 1, SPLICE_F_NONBLOCK));
	SHOW(splice(rd, &minus, p[1], NULL, 1, 0));
	SHOW(splice(p[0], NULL, append, NULL, 1, SPLICE_F_NONBLOCK));
	SHOW(splice(-1, NULL, p[1], NULL, 1, 0));
	SHOW(splice(p[0], NULL, wr, NULL, 0, 99));
	SHOW(tee(p[0], p[1], 1, 0));
	SHOW(tee(p[0], q[1], 1, SPLICE_F_NONBLOCK));
	SHOW(tee(p[0], q[1], 1, 99));
	SHOW(tee(rd, q[1], 1, 0));
	SHOW(tee(p[1], q[1], 1, 0));
	struct iovec v = { (void *)8, 10 };
	SHOW(vmsplice(p[1], &v, 1, 0));
	SHOW(vmsplice(p[1], &v, 1025, 0));
	SHOW(vmsplice(p[1], &v, 1, 99));
	SHOW(vmsplice(rd, &v, 1, 0));
}

static void events(int file)
{
	struct epoll_event ev = { EPOLLIN, { 0 } }, excl = { EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT, { 0 } };
	int ep = epoll_create1(0), p[2], ep2 = epoll_create1(0);
	struct timespec bad = { 0, 1000000000 }, zero = { 0, 0 };
	struct itimerspec it = { { 0, 0 }, { 0, 1000000000 } };
	uint64_t value = -1;

	MUST(pipe(p));
	puts("-- events");
	SHOW(epoll_create(0));
	SHOW(epoll_create(-1));
	SHOW(epoll_create1(1));
	SHOW(epoll_ctl(-1, EPOLL_CTL_ADD, p[0], &ev));
	SHOW(epoll_ctl(ep, EPOLL_CTL_ADD, -1, &ev));
	SHOW(epoll_ctl(p[0], EPOLL_CTL_ADD, p[1], &ev));
	SHOW(epoll_ctl(ep, EPOLL_CTL_ADD, ep, &ev));
	SHOW(epoll_ctl(ep, EPOLL_CTL_ADD, file, &ev));
	SHOW(epoll_ctl(ep, 99, p[0], &ev));
	SHOW(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], (void *)8));
	SHOW(epoll_ctl(ep, EPOLL_CTL_MOD, p[0], &ev));
	SHOW(epoll_ctl(ep, EPOLL_CTL_DEL, p[0], NULL));
	SHOW(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &excl));
	SHOW(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &ev));
	SHOW(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &ev));
	SHOW(epoll_ctl(ep, EPOLL_CTL_ADD, ep2, &ev));
	SHOW(epoll_ctl(ep2, EPOLL_CTL_ADD, ep, &ev));
	SHOW(epoll_wait(ep, &ev, 0, 0));
	SHOW(epoll_wait(ep, &ev, -1, 0));
	SHOW(epoll_wait(ep, &ev, INT32_MAX, 0));
	SHOW(epoll_wait(p[0], &ev, 1, 0));
	SHOW(epoll_wait(-1, &ev, 1, 0));
	SHOW(syscall(SYS_epoll_pwait, ep, &ev, 1, 0, &value, 4));
	SHOW(syscall(SYS_epoll_pwait2, ep, &ev, 1, &bad, NULL, 8));
	MUST(write(p[1], "x", 1));
	SHOW(epoll_wait(ep, (void *)8, 1, 0));
	SHOW(poll(NULL, 1, 0));
	SHOW(poll((void *)8, 1, 0));
	SHOW(poll(NULL, 0, 0));
	SHOW(syscall(SYS_poll, NULL, 1u << 31, 0));
	SHOW(ppoll(NULL, 0, &bad, NULL));
	SHOW(syscall(SYS_ppoll, NULL, 0, &zero, &value, 4));
	fd_set set;
	FD_ZERO(&set);
	FD_SET(40, &set);
	struct timeval tv = { 0, 0 }, negative = { -1, 0 };
	SHOW(select(-1, NULL, NULL, NULL, &tv));
	SHOW(select(41, &set, NULL, NULL, &tv));
	SHOW(select(1, (void *)8, NULL, NULL, &tv));
	SHOW(select(0, NULL, NULL, NULL, &negative));
	SHOW(select(0, NULL, NULL, NULL, (void *)8));
	SHOW(eventfd(0, 99));
	int e = eventfd(1, EFD_NONBLOCK);
	SHOW(write(e, &value, 8));
	SHOW(write(e, &value, 7));
	SHOW(read(e, &value, 7));
	SHOW(read(e, &value, 8));
	SHOW(read(e, &value, 8));
	value = -2;
	SHOW(write(e, &value, 8));
	value = 1;
	SHOW(write(e, &value, 8));
	SHOW(write(e, (void *)8, 8));
	SHOW(read(e, (void *)8, 8));
	SHOW(timerfd_create(99, 0));
	SHOW(timerfd_create(CLOCK_MONOTONIC, 99));
	SHOW(timerfd_create(CLOCK_PROCESS_CPUTIME_ID, 0));
	int t = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	SHOW(timerfd_settime(t, 0, &it, NULL));
	SHOW(timerfd_settime(t, 99, &it, NULL));
	SHOW(timerfd_settime(p[0], 0, &it, NULL));
	SHOW(timerfd_settime(-1, 0, &it, NULL));
	SHOW(timerfd_settime(t, 0, (void *)8, NULL));
	SHOW(timerfd_gettime(t, (void *)8));
	SHOW(timerfd_gettime(p[0], &it));
	SHOW(read(t, &value, 8));
	SHOW(read(t, &value, 4));
	SHOW(write(t, &value, 8));
	sigset_t mask;
	sigemptyset(&mask);
	SHOW(syscall(SYS_signalfd4, -1, &mask, 4, 0));
	SHOW(syscall(SYS_signalfd4, -1, &mask, 8, 99));
	SHOW(syscall(SYS_signalfd4, p[0], &mask, 8, 0));
	SHOW(syscall(SYS_signalfd4, 999, &mask, 8, 0));
	SHOW(syscall(SYS_signalfd4, -1, 8, 8, 0));
	SHOW(inotify_init1(99));
	int in = inotify_init1(IN_NONBLOCK);
	SHOW(inotify_add_watch(in, ".", 0));
	SHOW(inotify_add_watch(in, "nowhere", IN_OPEN));
	SHOW(inotify_add_watch(p[0], ".", IN_OPEN));
	SHOW(inotify_add_watch(-1, ".", IN_OPEN));
	SHOW(inotify_add_watch(in, (void *)8, IN_OPEN));
	SHOW(inotify_add_watch(in, ".", IN_MASK_ADD | IN_MASK_CREATE | IN_OPEN));
	SHOW(inotify_add_watch(in, "f", IN_ONLYDIR | IN_OPEN));
	SHOW(inotify_rm_watch(in, 99));
	SHOW(inotify_rm_watch(p[0], 1));
	SHOW(read(in, buf, 4));
	SHOW(read(in, buf, 100));
	SHOW(syscall(SYS_getrandom, buf, 10, 99));
	SHOW(syscall(SYS_getrandom, 8, 10, 0));
	SHOW(syscall(SYS_getrandom, buf, 10, GRND_RANDOM | GRND_INSECURE));
	SHOW(syscall(SYS_getrandom, buf, 0, 0));
}

int main(void)
{
	int rw = open("f", O_RDWR | O_CREAT, 0600), rd, wr, append, dir = open(".", O_RDONLY), p[2], s[2];

	MUST(write(rw, buf, sizeof buf));
	rd = open("f", O_RDONLY);
	wr = open("g", O_WRONLY | O_CREAT, 0600);
	append = open("h", O_WRONLY | O_CREAT | O_APPEND, 0600);
	MUST(pipe(p));
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	fcntl(p[0], F_SETFL, O_NONBLOCK);
	fcntl(s[0], F_SETFL, O_NONBLOCK);
	of("read and write", rw);
	of("read", rd);
	of("write", wr);
	of("directory", dir);
	of("path", open("f", O_PATH));
	of("pipe", p[0]);
	of("other end", p[1]);
	of("socket", s[0]);
	of("none", -1);
	of("null", open("/dev/null", O_RDWR));
	of("zero", open("/dev/zero", O_RDWR));
	of("eventfd", eventfd(0, EFD_NONBLOCK));
	moves(rd, wr, append, dir);
	events(rd);
	return 0;
}
