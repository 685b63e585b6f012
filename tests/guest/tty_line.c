/* Pseudo-terminals: canonical mode, echo, editing, signals, raw mode, packet mode, hang-up. */
#include "common.h"
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

static int master, slave;

#define PATIENCE_MS 10000

/* Waits until `cond` holds: natively a kernel thread takes along what is written, sooner or later. */
#define AWAIT(cond) \
	do { \
		for (long end_ = now_ms() + PATIENCE_MS; !(cond) && now_ms() < end_;) \
			sleep_ms(1); \
	} while (0)

static short ready(int fd, short events)
{
	struct pollfd p = { fd, events, 0 };

	return poll(&p, 1, 0) > 0 ? p.revents : 0;
}

static int queued(int fd)
{
	int n = 0;

	return ioctl(fd, FIONREAD, &n) < 0 ? -1 : n;
}

/* What the other side shows once so many bytes are there, with control characters made visible. */
static void show(const char *name, int fd, int want)
{
	char buf[256];
	ssize_t len;

	AWAIT(ready(fd, POLLIN) && (want == 0 || queued(fd) >= want));
	len = read(fd, buf, sizeof buf);
	if (len < 0) {
		printf("%s: %s\n", name, strerrorname_np(errno));
		return;
	}
	printf("%s: %zd \"", name, len);
	for (ssize_t i = 0; i < len; i++)
		printf(buf[i] >= 32 && buf[i] < 127 ? "%c" : "<%02x>", (unsigned char)buf[i]);
	printf("\"\n");
}

static void show_nothing(const char *name, int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };

	printf("%s: %s\n", name, poll(&p, 1, 200) == 0 ? "nothing" : "SOMETHING");
}

static void type(const char *text)
{
	if (write(master, text, strlen(text)) < 0)
		printf("type: %s\n", strerrorname_np(errno));
}

static void modes(tcflag_t lflag, cc_t min, cc_t time)
{
	struct termios t;

	MUST(tcgetattr(slave, &t));
	t.c_lflag = lflag;
	t.c_cc[VMIN] = min;
	t.c_cc[VTIME] = time;
	MUST(tcsetattr(slave, TCSANOW, &t));
}

static volatile sig_atomic_t got;
static void on_signal(int signo) { got = signo; }

static void in_session(void)
{
	pid_t pid;
	int status;

	MUST(openpty(&master, &slave, NULL, NULL, NULL));
	SHOW(ioctl(slave, TIOCSCTTY, 0));
	TRUE("own group is in front", tcgetpgrp(slave) == getpid());
	TRUE("session", tcgetsid(slave) == getpid());
	signal(SIGINT, on_signal);
	signal(SIGWINCH, on_signal);
	type("\x03");
	AWAIT(got == SIGINT);
	printf("got %d\n", got);
	struct winsize w = { 10, 20, 0, 0 };
	SHOW(ioctl(master, TIOCSWINSZ, &w));
	AWAIT(got == SIGWINCH);
	printf("got %d\n", got);
	TRUE("/dev/tty opens", open("/dev/tty", O_RDWR) >= 0);

	/* A child in the background is stopped when it reads, and may write. */
	pid = fork();
	if (!pid) {
		char c;
		setpgid(0, 0);
		if (write(slave, "bg\n", 3) == 3 && read(slave, &c, 1) == 1)
			_exit(c);
		_exit(99);
	}
	setpgid(pid, pid);
	MUST(waitpid(pid, &status, WUNTRACED));
	printf("stopped %d by %d\n", WIFSTOPPED(status), WSTOPSIG(status));
	SHOW(tcsetpgrp(slave, pid));
	type("A\n");
	MUST(kill(pid, SIGCONT));
	MUST(waitpid(pid, &status, 0));
	report_status("background child", status);
	signal(SIGTTOU, SIG_IGN);
	SHOW(tcsetpgrp(slave, getpid()));
	SHOW(tcsetpgrp(slave, 999999));

	/* The master's end hangs the session up. */
	signal(SIGHUP, on_signal);
	close(master);
	AWAIT(got == SIGHUP);
	printf("got %d\n", got);
	char c;
	SHOW(read(slave, &c, 1));
	SHOW(write(slave, &c, 1));
	TRUE("/dev/tty is gone", open("/dev/tty", O_RDWR) < 0 && errno == ENXIO);
}

int main(void)
{
	char name[64];
	int n;

	MUST(openpty(&master, &slave, name, NULL, NULL));
	TRUE("name", !strncmp(name, "/dev/pts/", 9) && isatty(slave));
	type("abc");
	show_nothing("incomplete", slave);
	type("\x7f" "d\r");
	show("line", slave, 4);
	show("echo", master, 9);
	type("one two\x17" "x\x15y\n");
	show("edited", slave, 2);
	show("echo", master, 35);
	type("end\x04");
	show("end of file", slave, 3);
	type("\x04");
	show("end of file", slave, 0);
	type("l\x16\x03\n");
	show("literal", slave, 3);
	show("echo", master, 10);
	MUST(write(slave, "a\tb\n", 4));
	show("output", master, 5);
	type("1\n22\n");
	AWAIT(queued(slave) == 5);
	SHOW(ioctl(slave, FIONREAD, &n));
	printf("waiting %d\n", n);
	show("one line", slave, 2);
	SHOW(tcflush(slave, TCIFLUSH));
	show_nothing("flushed", slave);
	show("echo", master, 7);

	modes(0, 3, 0);
	type("ab");
	show_nothing("less than VMIN", slave);
	type("c\x03");
	show("raw", slave, 4);
	modes(0, 0, 2);
	long start = now_ms();
	char c;
	SHOW(read(slave, &c, 1));
	TRUE("VTIME", now_ms() - start >= 150);
	modes(0, 0, 0);
	SHOW(read(slave, &c, 1));
	modes(ICANON | ECHO | ECHOE | ECHOCTL | ISIG | IEXTEN, 1, 0);

	type("\x13");
	AWAIT(!ready(slave, POLLOUT));
	SHOW(fcntl(slave, F_SETFL, O_NONBLOCK));
	SHOW(write(slave, "x", 1));
	type("\x11");
	AWAIT(ready(slave, POLLOUT));
	SHOW(write(slave, "x", 1));
	SHOW(read(slave, &c, 1));
	SHOW(fcntl(slave, F_SETFL, 0));
	show("after stop", master, 1);

	n = 1;
	SHOW(ioctl(master, TIOCPKT, &n));
	MUST(write(slave, "p", 1));
	show("packet", master, 1);
	SHOW(tcflush(slave, TCOFLUSH));
	show("packet", master, 0);
	n = 0;
	SHOW(ioctl(master, TIOCPKT, &n));
	SHOW(ioctl(slave, TIOCGPTN, &n));
	SHOW(ioctl(slave, TIOCGPGRP, &n));
	SHOW(tcgetpgrp(slave));

	IN_CHILD("session", { setsid(); in_session(); });
	close(slave);
	show("slave is closed", master, 0);
	return 0;
}
