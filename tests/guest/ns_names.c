/* Namespaces: links, unshare, clone and setns of machine names and mounts. */
#include "common.h"
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/utsname.h>

static void show_name(const char *what)
{
	struct utsname u;

	uname(&u);
	printf("%s: %s\n", what, u.nodename);
	fflush(stdout);
}

static ino_t number(const char *path)
{
	struct stat st;

	return stat(path, &st) ? 0 : st.st_ino;
}

static void links(void)
{
	static const char *const names[] = { "cgroup", "ipc", "mnt", "net", "pid", "user", "uts" };
	char path[64], text[64], want[64];

	for (size_t n = 0; n < sizeof(names) / sizeof(*names); n++) {
		snprintf(path, sizeof(path), "/proc/self/ns/%s", names[n]);
		ssize_t len = readlink(path, text, sizeof(text) - 1);
		text[len < 0 ? 0 : len] = 0;
		snprintf(want, sizeof(want), "%s:[%lu]", names[n], (unsigned long)number(path));
		TRUE(names[n], strcmp(text, want) == 0);
		int fd = open(path, O_RDONLY);
		printf("%s type %x parent %d\n", names[n], ioctl(fd, NS_GET_NSTYPE), ioctl(fd, NS_GET_PARENT));
		CHECK("write", open(path, O_WRONLY));
		CHECK("read", read(fd, text, 1));
		close(fd);
	}
	struct statfs fs;
	SHOW(statfs("/proc/self/ns/uts", &fs));
	SHOW(fs.f_type);
	CHECK("missing", open("/proc/self/ns/none", O_RDONLY));
}

static int in_clone(void *arg)
{
	(void)arg;
	show_name("cloned");
	SHOW(sethostname("third", 5));
	show_name("cloned renamed");
	return 0;
}

static void names(void)
{
	static char stack[65536];
	int first = open("/proc/self/ns/uts", O_RDONLY), status;
	ino_t before = number("/proc/self/ns/uts");

	SHOW(unshare(CLONE_NEWUTS));
	TRUE("another", before != number("/proc/self/ns/uts"));
	SHOW(sethostname("second", 6));
	show_name("here");
	int second = open("/proc/self/ns/uts", O_RDONLY);
	pid_t child = clone(in_clone, stack + sizeof(stack), CLONE_NEWUTS | SIGCHLD, NULL);
	MUST(child);
	MUST(waitpid(child, &status, 0));
	show_name("here still");
	SHOW(setns(first, CLONE_NEWNS));
	SHOW(setns(first, CLONE_NEWUTS));
	TRUE("back", before == number("/proc/self/ns/uts"));
	SHOW(setns(second, 0));
	show_name("again");
	SHOW(setns(-1, 0));
	int other = open("/dev/null", O_RDONLY);
	CHECK("no namespace", setns(other, 0));
	int user = open("/proc/self/ns/user", O_RDONLY);
	CHECK("own user namespace", setns(user, 0));
	IN_CHILD("file", {
		char text[64] = "";
		int fd = open("/proc/sys/kernel/hostname", O_RDWR);
		read(fd, text, sizeof(text));
		printf("%s", text);
		fflush(stdout);
	});

	/* Those of another process. */
	int ready[2];
	MUST(pipe(ready));
	child = fork();
	if (child == 0) {
		unshare(CLONE_NEWUTS | CLONE_NEWNS);
		sethostname("fourth", 6);
		write(ready[1], "x", 1);
		pause();
	}
	char c;
	read(ready[0], &c, 1);
	int pidfd = syscall(SYS_pidfd_open, child, 0);
	CHECK("none", setns(pidfd, 0));
	CHECK("no kind", setns(pidfd, CLONE_FILES));
	CHECK("pidfd", setns(pidfd, CLONE_NEWUTS | CLONE_NEWNS));
	show_name("its");
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	CHECK("dead", setns(pidfd, CLONE_NEWUTS));
}

static void mounts(void)
{
	int status;

	SHOW(unshare(CLONE_NEWNS));
	mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	MUST(mkdir("/tmp/ns_names", 0755));
	int before = open("/proc/self/ns/mnt", O_RDONLY);
	pid_t child = syscall(SYS_clone, CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0);
	if (child == 0) {
		SHOW(mount("none", "/tmp/ns_names", "tmpfs", 0, NULL));
		MUST(mkdir("/tmp/ns_names/inner", 0755));
		CHECK("inside", access("/tmp/ns_names/inner", F_OK));
		SHOW(setns(before, CLONE_NEWNS));
		CHECK("outside again", access("/tmp/ns_names/inner", F_OK));
		_exit(0);
	}
	MUST(child);
	waitpid(child, &status, 0);
	CHECK("outside", access("/tmp/ns_names/inner", F_OK));
	CHECK("with CLONE_FS", syscall(SYS_clone, CLONE_NEWNS | CLONE_FS | SIGCHLD, 0, 0, 0, 0));
	rmdir("/tmp/ns_names");
}

static void unprivileged(void)
{
	int uts = open("/proc/self/ns/uts", O_RDONLY);

	MUST(setresuid(1000, 1000, 1000));
	SHOW(unshare(CLONE_NEWUTS));
	SHOW(unshare(CLONE_NEWNS));
	SHOW(unshare(CLONE_FS | CLONE_FILES));
	CHECK("clone", syscall(SYS_clone, CLONE_NEWUTS | SIGCHLD, 0, 0, 0, 0));
	SHOW(setns(uts, 0));
	SHOW(sethostname("x", 1));
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/ns/uts", getppid());
	CHECK("other's", readlink(path, (char[8]){ 0 }, 8));
}

int main(void)
{
	links();
	SHOW(unshare(1));
	/* The tests have one root directory: nothing of this may reach the machine's own names. */
	MUST(unshare(CLONE_NEWUTS));
	MUST(sethostname("first", 5));
	IN_CHILD("names", names());
	show_name("parent's");
	IN_CHILD("mounts", mounts());
	IN_CHILD("unprivileged", unprivileged());
	return 0;
}
