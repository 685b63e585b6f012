/* Whose terminal it is: opened by leaders of sessions, asked for, refused, taken away from others, given up. */
#include "common.h"
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

enum { NOBODY = 65534 };

static int master, slave;
static const char *name;

static void show(const char *what, int result)
{
	printf("%s: %s\n", what, result < 0 ? strerrorname_np(errno) : "ok");
	fflush(stdout);
}

/* Runs in a child, which leads a session of its own, and waits for its end. */
static void in_session(void (*run)(void))
{
	pid_t child = fork();

	if (child == 0) {
		setsid();
		run();
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

static void in_child(void (*run)(void))
{
	pid_t child = fork();

	if (child == 0) {
		run();
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

/* Whose terminal the caller thinks it is. */
static void whose(const char *what)
{
	pid_t group = tcgetpgrp(slave);
	const char *has = group == getpgrp() ? "own" : group < 0 ? strerrorname_np(errno) : group == 0 ? "none" : "another";
	int own = open("/dev/tty", O_RDWR | O_NOCTTY);

	printf("%s: group %s, /dev/tty %s\n", what, has, own < 0 ? strerrorname_np(errno) : "ok");
	fflush(stdout);
	if (own >= 0)
		close(own);
}

static void no_leader(void)
{
	show("another process of the session", ioctl(slave, TIOCSCTTY, 0));
	show("another process of the session, by force", ioctl(slave, TIOCSCTTY, 1));
}

static void opens(void)
{
	int other, no_ctty = open(name, O_RDWR | O_NOCTTY);

	whose("before anything");
	show("not to be its own", no_ctty);
	whose("after O_NOCTTY");
	close(no_ctty);
	close(open(name, O_WRONLY));
	whose("opened for writing");
	close(open(name, O_RDWR));
	whose("opened");
	show("once more", ioctl(slave, TIOCSCTTY, 0));
	show("once more, by force", ioctl(slave, TIOCSCTTY, 1));
	in_child(no_leader);
	openpty(&(int){ 0 }, &other, NULL, NULL, NULL);
	show("a second one", ioctl(other, TIOCSCTTY, 0));
	show("a second one, by force", ioctl(other, TIOCSCTTY, 1));
	signal(SIGHUP, SIG_IGN);
	show("given up", ioctl(slave, TIOCNOTTY));
	whose("after that");
	show("given up again", ioctl(slave, TIOCNOTTY));
	show("the second one now", ioctl(other, TIOCSCTTY, 0));
}

/* Who tries to get a terminal that another session has. */
static void as_nobody(void)
{
	if (setresuid(NOBODY, NOBODY, NOBODY) < 0)
		show("setresuid", -1);
	show("another's, by force, without a right to", ioctl(slave, TIOCSCTTY, 1));
	whose("without a right to");
}

static void takes(void)
{
	show("another's", ioctl(slave, TIOCSCTTY, 0));
	show("another's, with an argument that is not 1", ioctl(slave, TIOCSCTTY, 2));
	whose("as long as it is another's");
	show("another's, by force", ioctl(slave, TIOCSCTTY, 1));
	whose("taken");
}

static void hung_up(int signo)
{
	static const char text[] = "SIGHUP\n";

	(void)signo;
	if (write(1, text, sizeof text - 1) < 0)
		_exit(1);
}

static void loses(void)
{
	signal(SIGHUP, hung_up);
	show("asked for", ioctl(slave, TIOCSCTTY, 0));
	whose("asked for");
	in_session(as_nobody);
	whose("kept");
	in_session(takes);
	whose("taken by a session that has ended");
	show("asked for again", ioctl(slave, TIOCSCTTY, 0));
}

static void by_master(void)
{
	show("by its master", ioctl(master, TIOCSCTTY, 0));
	whose("by its master");
}

static void written_only(void)
{
	int only = open(name, O_WRONLY | O_NOCTTY);

	show("for writing only", ioctl(only, TIOCSCTTY, 0));
	whose("for writing only");
}

static void written_only_by_nobody(void)
{
	int only = open(name, O_WRONLY | O_NOCTTY);

	if (setresuid(NOBODY, NOBODY, NOBODY) < 0)
		show("setresuid", -1);
	show("for writing only, without a right to", ioctl(only, TIOCSCTTY, 0));
	show("for reading, without a right to", ioctl(slave, TIOCSCTTY, 0));
	whose("without a right to");
}

static void each(const char *what, void (*run)(void))
{
	printf("-- %s\n", what);
	fflush(stdout);
	if (openpty(&master, &slave, NULL, NULL, NULL) < 0)
		show("openpty", -1);
	name = ttyname(slave);
	in_session(run);
	close(slave);
	close(master);
}

int main(void)
{
	/* Nobody may ask for what root has made otherwise. */
	umask(0);
	each("opens", opens);
	each("loses", loses);
	each("by its master", by_master);
	each("for writing only", written_only);
	each("for writing only, by nobody", written_only_by_nobody);
	return 0;
}
