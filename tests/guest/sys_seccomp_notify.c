/* seccomp_unotify(2): listeners that decide on calls, their errors, signals, descriptors given, and ends. */
#include "common.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif
#ifndef SECCOMP_ADDFD_FLAG_SEND
#define SECCOMP_ADDFD_FLAG_SEND (1UL << 1)
#endif
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif
#define LISTEN SECCOMP_FILTER_FLAG_NEW_LISTENER
#define NR offsetof(struct seccomp_data, nr)

static int seccomp(unsigned op, unsigned flags, void *args) { return syscall(SYS_seccomp, op, flags, args); }

/* A filter that has somebody asked about one call. */
static int filter_for(int nr, unsigned flags)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, NR),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { 4, code };

	return seccomp(SECCOMP_SET_MODE_FILTER, flags, &prog);
}

static void send_fd(int socket, int fd)
{
	char space[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { "x", 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	*c = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	MUST(sendmsg(socket, &msg, 0));
}

static int receive_fd(int socket)
{
	char space[CMSG_SPACE(sizeof(int))], byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space) };
	int fd = -1;

	MUST(recvmsg(socket, &msg, 0));
	if (CMSG_FIRSTHDR(&msg))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

/* What a child prints is shown at its end. */
static int output;

/* A child whose calls of one number its parent decides on; the listener is returned. */
static int listen_to(pid_t *child, int nr, unsigned flags, void (*body)(void))
{
	int pair[2], listener;

	fflush(stdout);
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	MUST(output = memfd_create("output", 0));
	MUST(*child = fork());
	if (*child == 0) {
		MUST(dup2(output, 1));
		MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
		MUST(listener = filter_for(nr, LISTEN | flags));
		send_fd(pair[1], listener);
		close(listener);
		close(pair[0]);
		close(pair[1]);
		body();
		fflush(stdout);
		_exit(0);
	}
	close(pair[1]);
	listener = receive_fd(pair[0]);
	close(pair[0]);
	return listener;
}

static struct seccomp_notif take(int listener)
{
	struct seccomp_notif notif = { 0 };

	MUST(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &notif));
	return notif;
}

static int reply(int listener, __u64 id, long val, int error, unsigned flags)
{
	struct seccomp_notif_resp resp = { .id = id, .val = val, .error = error, .flags = flags };

	return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &resp);
}

static void ended(const char *name, pid_t child)
{
	int status;

	MUST(waitpid(child, &status, 0));
	char text[1024];
	printf("%.*s", (int)pread(output, text, sizeof(text), 0), text);
	close(output);
	report_status(name, status);
}

static void flags_and_sizes(void)
{
	struct seccomp_notif_sizes sizes;
	unsigned action = SECCOMP_RET_USER_NOTIF;

	SHOW(seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &action));
	SHOW(seccomp(SECCOMP_GET_NOTIF_SIZES, 0, &sizes));
	printf("sizes %d %d %d\n", sizes.seccomp_notif, sizes.seccomp_notif_resp, sizes.seccomp_data);
	SHOW(seccomp(SECCOMP_GET_NOTIF_SIZES, 1, &sizes));
	SHOW(seccomp(SECCOMP_GET_NOTIF_SIZES, 0, (void *)8));
	SHOW(filter_for(SYS_getppid, LISTEN | SECCOMP_FILTER_FLAG_TSYNC));
	SHOW(filter_for(SYS_getppid, SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV));
	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	WORKS("unheard", filter_for(SYS_getpgrp, 0));
	CHECK("unheard call", syscall(SYS_getpgrp));
	int listener = filter_for(SYS_getppid, LISTEN | SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH);
	WORKS("listener", listener);
	CHECK("it closes on exec", fcntl(listener, F_GETFD));
	CHECK("flags", fcntl(listener, F_GETFL));
	char link[64], text[64] = { 0 };
	snprintf(link, sizeof(link), "/proc/self/fd/%d", listener);
	readlink(link, text, sizeof(text) - 1);
	puts(text);
	SHOW(filter_for(SYS_getppid, LISTEN));
	SHOW(read(listener, link, 8));
	SHOW(write(listener, link, 8));
	SHOW(lseek(listener, 0, SEEK_SET));
	SHOW(ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, 0));
	SHOW(ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, 1));
	SHOW(ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, 2));
	SHOW(ioctl(listener, 0x1234, 0));
	SHOW(ioctl(listener, TIOCGWINSZ, link));
	close(listener);
	CHECK("a call nobody decides on", syscall(SYS_getppid));
}

/* Who made the child. */
static pid_t parent;

static void asks(void)
{
	CHECK("a value", syscall(SYS_getppid));
	CHECK("an error", syscall(SYS_getppid));
	CHECK("made", syscall(SYS_getppid) == parent ? 0 : 1);
}

static void decisions(void)
{
	pid_t child;
	int listener = listen_to(&child, SYS_getppid, 0, asks);
	struct seccomp_notif odd = { .flags = 1 }, notif;
	struct pollfd p = { .fd = listener, .events = POLLIN | POLLOUT };
	__u64 none = 12345678901234ULL;

	CHECK("poll", poll(&p, 1, 5000));
	printf("events %#x\n", p.revents);
	SHOW(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &odd));
	SHOW(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, (void *)8));
	CHECK("too early", reply(listener, none, 0, 0, 0));
	notif = take(listener);
	printf("caller %d flags %u nr %d arch %#x\n", notif.pid == (unsigned)child, notif.flags, notif.data.nr, notif.data.arch);
	CHECK("poll", poll(&p, 1, 0));
	printf("events %#x\n", p.revents);
	CHECK("valid", ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &notif.id));
	CHECK("not valid", ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &none));
	CHECK("fault", ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, (void *)8));
	CHECK("bad flags", reply(listener, notif.id, 0, 0, 2));
	CHECK("going on with a value", reply(listener, notif.id, 1, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE));
	CHECK("going on with an error", reply(listener, notif.id, 0, -1, SECCOMP_USER_NOTIF_FLAG_CONTINUE));
	CHECK("fault", ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, (void *)8));
	CHECK("another", reply(listener, none, 0, 0, 0));
	CHECK("reply", reply(listener, notif.id, 77, 0, 0));
	notif = take(listener);
	CHECK("reply", reply(listener, notif.id, 5, -EXDEV, 0));
	notif = take(listener);
	CHECK("reply", reply(listener, notif.id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE));
	p.events = POLLIN;
	CHECK("poll at the end", poll(&p, 1, 5000));
	printf("events %#x\n", p.revents);
	CHECK("receive at the end", ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &(struct seccomp_notif){ 0 }));
	ended("child", child);
	CHECK("valid at the end", ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &notif.id));
	close(listener);
}

static void ignore(int signo) { (void)signo; }

static void asks_restarted(void)
{
	struct sigaction action = { .sa_handler = ignore };

	sigaction(SIGUSR1, &action, NULL);
	action.sa_flags = SA_RESTART;
	sigaction(SIGUSR2, &action, NULL);
	CHECK("interrupted", syscall(SYS_getppid));
	CHECK("restarted", syscall(SYS_getppid));
}

static void wait_until_invalid(int listener, __u64 id)
{
	while (ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0)
		sleep_ms(2);
}

static void signals(void)
{
	pid_t child;
	int listener = listen_to(&child, SYS_getppid, 0, asks_restarted);
	struct seccomp_notif notif = take(listener);

	kill(child, SIGUSR1);
	wait_until_invalid(listener, notif.id);
	CHECK("too late", reply(listener, notif.id, 1, 0, 0));
	notif = take(listener);
	kill(child, SIGUSR2);
	wait_until_invalid(listener, notif.id);
	__u64 first = notif.id;
	notif = take(listener);
	TRUE("another id", notif.id != first);
	CHECK("reply", reply(listener, notif.id, 4, 0, 0));
	ended("child", child);
	close(listener);
}

static void patience(void)
{
	pid_t child;
	int listener = listen_to(&child, SYS_getppid, SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, asks_restarted);
	struct seccomp_notif notif = take(listener);

	kill(child, SIGUSR1);
	sleep_ms(50);
	CHECK("still valid", ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &notif.id));
	CHECK("reply", reply(listener, notif.id, 8, 0, 0));
	notif = take(listener);
	kill(child, SIGKILL);
	ended("killed", child);
	CHECK("no longer valid", ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &notif.id));
	close(listener);
}

static void opens(void)
{
	char text[8] = { 0 };
	int fd = CHECK("given", syscall(SYS_getppid));

	CHECK("it closes on exec", fcntl(fd, F_GETFD));
	CHECK("read", read(fd, text, 4));
	puts(text);
	CHECK("the number asked for", fcntl(50, F_GETFD));
	CHECK("given and answered", syscall(SYS_getppid));
	CHECK("failed", syscall(SYS_getppid));
}

static int give(int listener, __u64 id, int fd, unsigned flags, unsigned newfd, unsigned newfd_flags)
{
	struct seccomp_notif_addfd addfd = { .id = id, .flags = flags, .srcfd = fd, .newfd = newfd, .newfd_flags = newfd_flags };

	return ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &addfd);
}

static void descriptors(void)
{
	pid_t child;
	int listener = listen_to(&child, SYS_getppid, 0, opens), pipefd[2], fd;
	char large[128] = { 0 };
	struct seccomp_notif notif = take(listener);

	MUST(pipe(pipefd));
	MUST(write(pipefd[1], "gift", 4));
	CHECK("bad flags", give(listener, notif.id, pipefd[0], 4, 0, 0));
	CHECK("bad newfd_flags", give(listener, notif.id, pipefd[0], 0, 0, O_NONBLOCK));
	CHECK("a number without SETFD", give(listener, notif.id, pipefd[0], 0, 9, 0));
	CHECK("bad srcfd", give(listener, notif.id, 999, 0, 0, 0));
	CHECK("bad id", give(listener, notif.id + 99, pipefd[0], 0, 0, 0));
	CHECK("short", ioctl(listener, _IOC(_IOC_WRITE, '!', 3, 16), large));
	memset(large, 1, sizeof(large));
	CHECK("unknown", ioctl(listener, _IOC(_IOC_WRITE, '!', 3, 32), large));
	CHECK("fault", ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, (void *)8));
	CHECK("high", give(listener, notif.id, pipefd[0], SECCOMP_ADDFD_FLAG_SETFD, 1 << 30, 0));
	fd = give(listener, notif.id, pipefd[0], 0, 0, O_CLOEXEC);
	TRUE("given", fd >= 0);
	CHECK("at a number", give(listener, notif.id, pipefd[0], SECCOMP_ADDFD_FLAG_SETFD, 50, 0));
	CHECK("reply", reply(listener, notif.id, fd, 0, 0));
	notif = take(listener);
	CHECK("given and answered", give(listener, notif.id, pipefd[0], SECCOMP_ADDFD_FLAG_SEND | SECCOMP_ADDFD_FLAG_SETFD, 60, 0));
	notif = take(listener);
	CHECK("the answer fails", give(listener, notif.id, pipefd[0], SECCOMP_ADDFD_FLAG_SEND | SECCOMP_ADDFD_FLAG_SETFD, 1 << 30, 0));
	CHECK("reply", reply(listener, notif.id, 0, -ENFILE, 0));
	ended("child", child);
	close(listener);
	close(pipefd[0]);
	close(pipefd[1]);
}

static void asks_once(void) { CHECK("the listener goes", syscall(SYS_getppid)); CHECK("none listens", syscall(SYS_getppid)); }

static void closing(void)
{
	pid_t child;
	int listener = listen_to(&child, SYS_getppid, 0, asks_once);

	take(listener);
	close(listener);
	ended("child", child);
}

static void *asks_in_thread(void *arg) { return (void *)(syscall(SYS_getppid, arg) - (long)arg); }

static void asks_from_threads(void)
{
	pthread_t threads[8];
	long sum = 0;

	for (long i = 0; i < 8; i++)
		MUST(-pthread_create(&threads[i], NULL, asks_in_thread, (void *)i));
	for (int i = 0; i < 8; i++) {
		void *difference;
		pthread_join(threads[i], &difference);
		sum += (long)difference;
	}
	CHECK("sum", sum);
}

/* All ask before the first is answered, and the last to ask is answered first. */
static void threads(void)
{
	pid_t child;
	int listener = listen_to(&child, SYS_getppid, 0, asks_from_threads);
	struct seccomp_notif notifs[8];

	for (int i = 0; i < 8; i++)
		notifs[i] = take(listener);
	for (int i = 7; i >= 0; i--)
		MUST(reply(listener, notifs[i].id, notifs[i].data.args[0] + 100, 0, 0));
	ended("child", child);
	close(listener);
}

static int alarmed_listener;

static void interrupted_receiver(void)
{
	pid_t child;
	struct sigaction action = { .sa_handler = ignore };
	struct seccomp_notif notif = { 0 };

	sigaction(SIGALRM, &action, NULL);
	alarmed_listener = listen_to(&child, SYS_getppid, 0, (void (*)(void))pause);
	ualarm(30000, 0);
	CHECK("receive", ioctl(alarmed_listener, SECCOMP_IOCTL_NOTIF_RECV, &notif));
	kill(child, SIGKILL);
	ended("child", child);
	close(alarmed_listener);
}

int main(void)
{
	parent = getpid();
	IN_CHILD("flags and sizes", flags_and_sizes());
	decisions();
	signals();
	patience();
	descriptors();
	closing();
	threads();
	interrupted_receiver();
	return 0;
}
