/* Asynchronous I/O: io_setup and kin. */
#include "common.h"
#include <linux/aio_abi.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

static long io_setup(unsigned n, aio_context_t *c) { return syscall(SYS_io_setup, n, c); }
static long io_destroy(aio_context_t c) { return syscall(SYS_io_destroy, c); }
static long io_submit(aio_context_t c, long n, struct iocb **p) { return syscall(SYS_io_submit, c, n, p); }
static long io_cancel(aio_context_t c, struct iocb *p, struct io_event *e) { return syscall(SYS_io_cancel, c, p, e); }

static long io_getevents(aio_context_t c, long min, long n, struct io_event *e, struct timespec *ts)
{
	return syscall(SYS_io_getevents, c, min, n, e, ts);
}

static aio_context_t context;
static struct timespec none, shortly = { 0, 30000000 };

static long submit(struct iocb *one)
{
	return io_submit(context, 1, &one);
}

/* Submits one request, waits for its event and prints it. */
static void request(const char *name, struct iocb iocb)
{
	static struct iocb kept;
	struct io_event event = { 0 };
	struct timespec second = { 1, 0 };

	kept = iocb;
	kept.aio_data = 77;
	if (CHECK(name, submit(&kept)) != 1)
		return;
	long n = io_getevents(context, 1, 1, &event, &second);
	printf("  %ld: data %lld own %d res %lld res2 %lld\n", n, event.data, event.obj == (uintptr_t)&kept, event.res,
	       event.res2);
}

static void setups(void)
{
	aio_context_t c = 0;

	SHOW(io_setup(0, &c));
	SHOW(io_setup(1, NULL));
	SHOW(io_setup(1, (void *)8));
	c = 1;
	SHOW(io_setup(1, &c));
	c = 0;
	SHOW(io_setup(0x7fffffff, &c));
	SHOW(io_setup(1000000, &c));
	SHOW(io_setup(128, &c));
	TRUE("a name", c != 0);
	SHOW(io_destroy(c));
	SHOW(io_destroy(c));
	SHOW(io_destroy(0));
	SHOW(io_destroy(-1));
	SHOW(io_submit(c, 1, NULL));
	SHOW(io_getevents(c, 0, 1, NULL, NULL));
	static const char *text = "x";
	c = (aio_context_t)text;
	SHOW(io_submit(c, 0, NULL));
}

static void reads_and_writes(int fd)
{
	static char buf[64], page[8192];
	struct iovec iov[2] = { { buf, 3 }, { buf + 10, 5 } }, bad[1] = { { buf, -1 } };
	int rd = open("file", O_RDONLY), wr = open("file", O_WRONLY | O_APPEND), dir = open(".", O_RDONLY);

	memcpy(buf, "hello, world", 12);
	request("write", (struct iocb){ .aio_lio_opcode = IOCB_CMD_PWRITE, .aio_fildes = fd, .aio_buf = (uintptr_t)buf, .aio_nbytes = 12 });
	memset(buf, 0, sizeof(buf));
	request("read", (struct iocb){ .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = fd, .aio_buf = (uintptr_t)buf, .aio_nbytes = 64, .aio_offset = 7 });
	printf("%.5s\n", buf);
	request("read at the end", (struct iocb){ .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = fd, .aio_buf = (uintptr_t)buf, .aio_nbytes = 64, .aio_offset = 700 });
	request("readv", (struct iocb){ .aio_lio_opcode = IOCB_CMD_PREADV, .aio_fildes = fd, .aio_buf = (uintptr_t)iov, .aio_nbytes = 2 });
	printf("%.3s %.5s\n", buf, buf + 10);
	request("writev", (struct iocb){ .aio_lio_opcode = IOCB_CMD_PWRITEV, .aio_fildes = fd, .aio_buf = (uintptr_t)iov, .aio_nbytes = 2, .aio_offset = 20 });
	request("append", (struct iocb){ .aio_lio_opcode = IOCB_CMD_PWRITE, .aio_fildes = wr, .aio_buf = (uintptr_t)buf, .aio_nbytes = 4 });
	struct stat st;
	fstat(fd, &st);
	printf("size %ld, position %ld\n", (long)st.st_size, (long)lseek(fd, 0, SEEK_CUR));
	request("bad vector", (struct iocb){ .aio_lio_opcode = IOCB_CMD_PREADV, .aio_fildes = fd, .aio_buf = (uintptr_t)bad, .aio_nbytes = 1 });
	request("vector nowhere", (struct iocb){ .aio_lio_opcode = IOCB_CMD_PREADV, .aio_fildes = fd, .aio_buf = 8, .aio_nbytes = 1 });
	request("long vector", (struct iocb){ .aio_lio_opcode = IOCB_CMD_PREADV, .aio_fildes = fd, .aio_buf = (uintptr_t)iov, .aio_nbytes = 5000 });
	request("buffer nowhere", (struct iocb){ .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = fd, .aio_buf = 8, .aio_nbytes = 4 });
	request("buffer in the kernel", (struct iocb){ .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = fd, .aio_buf = -4096ul, .aio_nbytes = 4 });
	request("negative offset", (struct iocb){ .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = fd, .aio_buf = (uintptr_t)buf, .aio_nbytes = 4, .aio_offset = -1 });
	request("negative size", (struct iocb){ .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = fd, .aio_buf = (uintptr_t)buf, .aio_nbytes = -1ul });
	request("no descriptor", (struct iocb){ .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = 999, .aio_buf = (uintptr_t)buf });
	request("write to a reader", (struct iocb){ .aio_lio_opcode = IOCB_CMD_PWRITE, .aio_fildes = rd, .aio_buf = (uintptr_t)buf, .aio_nbytes = 1 });
	request("read from a writer", (struct iocb){ .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = wr, .aio_buf = (uintptr_t)buf, .aio_nbytes = 1 });
	request("read a directory", (struct iocb){ .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = dir, .aio_buf = (uintptr_t)buf, .aio_nbytes = 1 });
	request("reserved", (struct iocb){ .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = fd, .aio_buf = (uintptr_t)buf, .aio_reserved2 = 1 });
	request("unknown flags", (struct iocb){ .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = fd, .aio_buf = (uintptr_t)buf, .aio_rw_flags = 0x4000000 });
	request("nowait", (struct iocb){ .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = fd, .aio_buf = (uintptr_t)buf, .aio_nbytes = 4, .aio_rw_flags = RWF_HIPRI });
	request("unknown operation", (struct iocb){ .aio_lio_opcode = 60, .aio_fildes = fd });
	request("noop", (struct iocb){ .aio_lio_opcode = IOCB_CMD_NOOP, .aio_fildes = fd });
	request("priority", (struct iocb){ .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = fd, .aio_buf = (uintptr_t)buf, .aio_flags = 2, .aio_reqprio = 7 << 13 });
	request("sync", (struct iocb){ .aio_lio_opcode = IOCB_CMD_FSYNC, .aio_fildes = fd });
	request("data sync", (struct iocb){ .aio_lio_opcode = IOCB_CMD_FDSYNC, .aio_fildes = rd });
	request("sync with a buffer", (struct iocb){ .aio_lio_opcode = IOCB_CMD_FSYNC, .aio_fildes = fd, .aio_buf = 1 });
	int p[2];
	MUST(pipe2(p, O_NONBLOCK));
	request("sync a pipe", (struct iocb){ .aio_lio_opcode = IOCB_CMD_FSYNC, .aio_fildes = p[0] });
	request("empty pipe", (struct iocb){ .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = p[0], .aio_buf = (uintptr_t)buf, .aio_nbytes = 1 });
	request("pipe", (struct iocb){ .aio_lio_opcode = IOCB_CMD_PWRITE, .aio_fildes = p[1], .aio_buf = (uintptr_t)page, .aio_nbytes = 8192, .aio_offset = 5 });
	request("pipe", (struct iocb){ .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = p[0], .aio_buf = (uintptr_t)page, .aio_nbytes = 100 });
	close(p[0]);
	signal(SIGPIPE, SIG_IGN);
	request("broken pipe", (struct iocb){ .aio_lio_opcode = IOCB_CMD_PWRITE, .aio_fildes = p[1], .aio_buf = (uintptr_t)page, .aio_nbytes = 1 });
	close(p[1]), close(rd), close(wr), close(dir);
}

static void *write_soon(void *arg)
{
	sleep_ms(30);
	if (write(*(int *)arg, "x", 1) != 1)
		exit(1);
	return arg;
}

static void polls(void)
{
	int p[2], file = open("file", O_RDONLY);
	pthread_t thread;
	struct io_event event;
	static struct iocb waiting, other;

	MUST(pipe(p));
	request("poll a writer", (struct iocb){ .aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = p[1], .aio_buf = POLLOUT });
	request("poll a file", (struct iocb){ .aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = file, .aio_buf = POLLIN });
	request("poll a file for nothing", (struct iocb){ .aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = file, .aio_buf = 0 });
	request("poll too much", (struct iocb){ .aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = p[0], .aio_buf = 1 << 16 });
	request("poll with a size", (struct iocb){ .aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = p[0], .aio_nbytes = 1 });
	pthread_create(&thread, NULL, write_soon, &p[1]);
	waiting = (struct iocb){ .aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = p[0], .aio_buf = POLLIN };
	SHOW(submit(&waiting));
	SHOW(io_getevents(context, 1, 1, &event, NULL));
	/* Linux may add what else came with it. */
	printf("res %lld\n", event.res & POLLIN);
	pthread_join(thread, NULL);
	char c;
	MUST(read(p[0], &c, 1));

	waiting = (struct iocb){ .aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = p[0], .aio_buf = POLLIN, .aio_key = 5 };
	SHOW(submit(&waiting));
	printf("key %u\n", waiting.aio_key);
	SHOW(io_getevents(context, 1, 1, &event, &shortly));
	SHOW(io_cancel(context, NULL, &event));
	SHOW(io_cancel(context, &other, &event));
	other.aio_key = 9;
	SHOW(io_cancel(context, &other, &event));
	SHOW(io_cancel(0, &waiting, &event));
	SHOW(io_cancel(context, &waiting, &event));
	SHOW(io_getevents(context, 1, 1, &event, &shortly));
	printf("own %d res %lld\n", event.obj == (uintptr_t)&waiting, event.res);
	SHOW(io_cancel(context, &waiting, &event));
	/* A descriptor that is closed meanwhile is still waited for. */
	SHOW(submit(&waiting));
	close(p[0]);
	close(p[1]);
	SHOW(io_getevents(context, 1, 1, &event, &shortly));
	printf("res %lld\n", event.res);
	close(file);
}

static void notifies(int fd)
{
	int counter = eventfd(0, EFD_NONBLOCK);
	eventfd_t value;
	struct iocb sync = { .aio_lio_opcode = IOCB_CMD_FSYNC, .aio_fildes = fd, .aio_flags = IOCB_FLAG_RESFD, .aio_resfd = counter };

	request("with a counter", sync);
	request("again", sync);
	SHOW(eventfd_read(counter, &value));
	printf("%ld\n", (long)value);
	sync.aio_resfd = fd;
	request("no counter", sync);
	sync.aio_resfd = 999;
	request("no descriptor", sync);
	close(counter);
}

static void handler(int signo)
{
	(void)signo;
}

static void *kill_soon(void *arg)
{
	sleep_ms(30);
	pthread_kill(*(pthread_t *)arg, SIGUSR1);
	return NULL;
}

static void *destroy_soon(void *arg)
{
	sleep_ms(30);
	return (void *)io_destroy(*(aio_context_t *)arg);
}

static void gets(int fd)
{
	struct io_event events[8];
	struct iocb many[4], *list[5] = { 0 };
	pthread_t self = pthread_self(), thread;
	struct timespec second = { 1, 0 };
	sigset_t all;
	struct { const sigset_t *set; size_t size; } mask = { &all, 8 };

	SHOW(io_getevents(context, 0, 0, NULL, NULL));
	SHOW(io_getevents(context, 0, 1, events, NULL));
	SHOW(io_getevents(context, -1, 1, events, &none));
	SHOW(io_getevents(context, 2, 1, events, &none));
	SHOW(io_getevents(context, 1, 1, events, (void *)8));
	SHOW(io_getevents(context, 1, 1, events, &none));
	long start = now_ms();
	SHOW(io_getevents(context, 1, 1, events, &shortly));
	TRUE("waited", now_ms() - start >= 25);
	for (int n = 0; n < 4; n++) {
		many[n] = (struct iocb){ .aio_lio_opcode = IOCB_CMD_FSYNC, .aio_fildes = fd, .aio_data = n };
		list[n] = &many[n];
	}
	SHOW(io_submit(context, -1, list));
	SHOW(io_submit(context, 0, NULL));
	SHOW(io_submit(context, 1, NULL));
	SHOW(io_submit(context, 4, list));
	many[2].aio_fildes = 999;
	SHOW(io_submit(context, 4, list));
	sleep_ms(20);
	SHOW(io_getevents(context, 1, 3, events, NULL));
	SHOW(io_getevents(context, 1, 8, (void *)8, NULL));
	SHOW(io_getevents(context, 1, 8, events, NULL));
	many[2].aio_fildes = fd;
	SHOW(io_submit(context, 5, list));
	sleep_ms(20);
	SHOW(io_getevents(context, 1, 8, events, &shortly));
	struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_RESTART };
	sigaction(SIGUSR1, &sa, NULL);
	pthread_create(&thread, NULL, kill_soon, &self);
	SHOW(io_getevents(context, 1, 1, events, &second));
	pthread_join(thread, NULL);
	sigfillset(&all);
	pthread_create(&thread, NULL, kill_soon, &self);
	CHECK("masked", syscall(SYS_io_pgetevents, context, 1, 1, events, &(struct timespec){ 0, 80000000 }, &mask));
	pthread_join(thread, NULL);
	mask.size = 4;
	CHECK("mask of another size", syscall(SYS_io_pgetevents, context, 1, 1, events, &none, &mask));
	mask.size = 8, mask.set = (void *)8;
	CHECK("mask nowhere", syscall(SYS_io_pgetevents, context, 1, 1, events, &none, &mask));
	CHECK("masks nowhere", syscall(SYS_io_pgetevents, context, 1, 1, events, &none, 8));
	CHECK("no mask", syscall(SYS_io_pgetevents, context, 1, 1, events, &none, NULL));
	aio_context_t other = 0;
	MUST(io_setup(1, &other));
	pthread_create(&thread, NULL, destroy_soon, &other);
	SHOW(io_getevents(other, 1, 1, events, &second));
	void *destroyed;
	pthread_join(thread, &destroyed);
	printf("destroyed under a waiter: %ld\n", (long)destroyed);
}

int main(void)
{
	int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);

	setups();
	SHOW(io_setup(8, &context));
	reads_and_writes(fd);
	polls();
	notifies(fd);
	gets(fd);
	IN_CHILD("a child has none", { SHOW(io_submit(context, 0, NULL)); SHOW(io_destroy(context)); });
	SHOW(io_submit(context, 0, NULL));
	return 0;
}
