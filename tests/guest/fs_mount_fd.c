/* Mounting by descriptors: fsopen, fsconfig, fsmount, fspick, open_tree, move_mount, mount_setattr. */
#include "common.h"
#include <dirent.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x200000
#endif

static int fsopen_(const char *type, unsigned flags) { return syscall(SYS_fsopen, type, flags); }
static int fsconfig_(int fd, unsigned cmd, const char *key, const void *value, int aux)
{
	return syscall(SYS_fsconfig, fd, cmd, key, value, aux);
}
static int fsmount_(int fd, unsigned flags, unsigned attr) { return syscall(SYS_fsmount, fd, flags, attr); }
static int fspick_(int dir, const char *path, unsigned flags) { return syscall(SYS_fspick, dir, path, flags); }
static int open_tree_(int dir, const char *path, unsigned flags) { return syscall(SYS_open_tree, dir, path, flags); }
static int move_mount_(int from, const char *fp, int to, const char *tp, unsigned flags)
{
	return syscall(SYS_move_mount, from, fp, to, tp, flags);
}
static int setattr_(int dir, const char *path, unsigned flags, struct mount_attr *attr, size_t size)
{
	return syscall(SYS_mount_setattr, dir, path, flags, attr, size);
}

/* What statvfs says of a place, and what is in it. */
static void look(const char *name, const char *path)
{
	struct statvfs st;
	struct dirent *entry;
	DIR *dir = opendir(path);
	int files = 0;

	if (!dir || statvfs(path, &st)) {
		printf("%s: %s\n", name, strerrorname_np(errno));
		return;
	}
	while ((entry = readdir(dir)))
		files += entry->d_name[0] != '.';
	closedir(dir);
	printf("%s: %d files,%s%s%s%s%s%s%s\n", name, files, st.f_flag & ST_RDONLY ? " ro" : "", st.f_flag & ST_NOSUID ? " nosuid" : "",
	       st.f_flag & ST_NODEV ? " nodev" : "", st.f_flag & ST_NOEXEC ? " noexec" : "", st.f_flag & ST_NOATIME ? " noatime" : "",
	       st.f_flag & ST_NODIRATIME ? " nodiratime" : "", st.f_flag & ST_RELATIME ? " relatime" : "");
}

static void touch(const char *path) { close(open(path, O_WRONLY | O_CREAT, 0600)); }

static void errors(void)
{
	int plain = open(".", O_RDONLY), fd, mnt;

	SHOW(fsopen_("tmpfs", 2));
	SHOW(fsopen_(NULL, 0));
	SHOW(fsopen_("nosuchfs", 0));
	WORKS("fsopen", fd = fsopen_("tmpfs", FSOPEN_CLOEXEC));
	TRUE("cloexec", fcntl(fd, F_GETFD) == FD_CLOEXEC);
	char message[64];
	SHOW(read(fd, message, sizeof message));
	SHOW(fsconfig_(-1, FSCONFIG_SET_FLAG, "rw", NULL, 0));
	SHOW(fsconfig_(999, FSCONFIG_SET_FLAG, "rw", NULL, 0));
	SHOW(fsconfig_(plain, FSCONFIG_SET_FLAG, "rw", NULL, 0));
	SHOW(fsconfig_(fd, 99, "rw", NULL, 0));
	SHOW(fsconfig_(fd, FSCONFIG_SET_FLAG, NULL, NULL, 0));
	SHOW(fsconfig_(fd, FSCONFIG_SET_FLAG, "rw", "x", 0));
	SHOW(fsconfig_(fd, FSCONFIG_SET_FLAG, "rw", NULL, 1));
	SHOW(fsconfig_(fd, FSCONFIG_SET_STRING, "size", NULL, 0));
	SHOW(fsconfig_(fd, FSCONFIG_SET_STRING, (void *)8, "x", 0));
	SHOW(fsconfig_(fd, FSCONFIG_SET_STRING, "nosuchkey", "x", 0));
	SHOW(fsconfig_(fd, FSCONFIG_SET_STRING, "size", "many", 0));
	SHOW(fsconfig_(fd, FSCONFIG_SET_BINARY, "size", "x", 0));
	SHOW(fsconfig_(fd, FSCONFIG_SET_FD, "size", NULL, -1));
	SHOW(fsconfig_(fd, FSCONFIG_SET_FD, "size", NULL, 999));
	SHOW(fsconfig_(fd, FSCONFIG_SET_PATH, "size", "/", -7));
	SHOW(fsconfig_(fd, FSCONFIG_CMD_CREATE, "x", NULL, 0));
	SHOW(fsconfig_(fd, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0));
	SHOW(fsconfig_(fd, FSCONFIG_SET_STRING, "source", "one", 0));
	SHOW(fsconfig_(fd, FSCONFIG_SET_STRING, "source", "two", 0));
	SHOW(fsmount_(fd, 0, 0));
	SHOW(fsconfig_(fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
	SHOW(fsconfig_(fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
	SHOW(fsconfig_(fd, FSCONFIG_SET_FLAG, "ro", NULL, 0));
	SHOW(fsmount_(fd, 2, 0));
	SHOW(fsmount_(fd, 0, 0x100));
	SHOW(fsmount_(fd, 0, 0x30));
	SHOW(fsmount_(plain, 0, 0));
	SHOW(fsmount_(-1, 0, 0));
	WORKS("fsmount", mnt = fsmount_(fd, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOEXEC));
	SHOW(fsmount_(fd, 0, 0));
	char c;
	SHOW(read(mnt, &c, 1));
	SHOW(move_mount_(mnt, "", AT_FDCWD, "a", 0));
	SHOW(move_mount_(mnt, "", AT_FDCWD, "a", 0x400));
	SHOW(move_mount_(mnt, "", AT_FDCWD, "nowhere", MOVE_MOUNT_F_EMPTY_PATH));
	SHOW(move_mount_(mnt, "", AT_FDCWD, "file", MOVE_MOUNT_F_EMPTY_PATH));
	SHOW(move_mount_(-1, "", AT_FDCWD, "a", MOVE_MOUNT_F_EMPTY_PATH));
	SHOW(move_mount_(plain, "", AT_FDCWD, "a", MOVE_MOUNT_F_EMPTY_PATH));
	close(mnt);
	close(fd);
	close(plain);
	SHOW(fspick_(AT_FDCWD, "b", 0));
	SHOW(fspick_(AT_FDCWD, "nowhere", 0));
	SHOW(fspick_(AT_FDCWD, "a", 0x100));
	SHOW(open_tree_(AT_FDCWD, "a", AT_RECURSIVE));
	SHOW(open_tree_(AT_FDCWD, "a", 0x40000));
	SHOW(open_tree_(AT_FDCWD, "nowhere", 0));
	SHOW(open_tree_(-1, "", AT_EMPTY_PATH));
}

static void makes(void)
{
	int fd = fsopen_("tmpfs", 0), mnt;

	SHOW(fsconfig_(fd, FSCONFIG_SET_STRING, "size", "1M", 0));
	SHOW(fsconfig_(fd, FSCONFIG_SET_STRING, "mode", "0711", 0));
	SHOW(fsconfig_(fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
	mnt = fsmount_(fd, 0, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOATIME);
	struct stat st;
	MUST(fstat(mnt, &st));
	printf("mode %o\n", st.st_mode);
	WORKS("a file in what stands nowhere", close(openat(mnt, "inside", O_CREAT | O_WRONLY, 0600)));
	look("before", "a");
	SHOW(move_mount_(mnt, "", AT_FDCWD, "a", MOVE_MOUNT_F_EMPTY_PATH));
	look("after", "a");
	SHOW(move_mount_(mnt, "", AT_FDCWD, "b", MOVE_MOUNT_F_EMPTY_PATH));
	look("moved on, a", "a");
	look("moved on, b", "b");
	SHOW(umount2("b", 0));
	close(mnt);
	SHOW(fsconfig_(fd, FSCONFIG_SET_FLAG, "ro", NULL, 0));
	SHOW(fsconfig_(fd, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0));
	close(fd);
	look("read-only", "b");
	fd = fspick_(AT_FDCWD, "b", 0);
	SHOW(fsconfig_(fd, FSCONFIG_SET_FLAG, "rw", NULL, 0));
	SHOW(fsconfig_(fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
	SHOW(fsconfig_(fd, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0));
	close(fd);
	look("read and write", "b");
	SHOW(umount2("b", 0));
	look("gone", "b");
}

static void trees(void)
{
	int tree, top;

	MUST(mount("none", "a", "tmpfs", 0, NULL));
	touch("a/one");
	MUST(mkdir("a/sub", 0755));
	MUST(mount("none", "a/sub", "tmpfs", 0, NULL));
	touch("a/sub/two");
	touch("a/sub/three");
	WORKS("open_tree", top = open_tree_(AT_FDCWD, "a", OPEN_TREE_CLOEXEC));
	TRUE("it is a path", fcntl(top, F_GETFL) & O_PATH);
	close(top);
	WORKS("clone of the top", top = open_tree_(AT_FDCWD, "a", OPEN_TREE_CLONE));
	WORKS("clone of all", tree = open_tree_(AT_FDCWD, "a", OPEN_TREE_CLONE | AT_RECURSIVE));
	SHOW(move_mount_(top, "", AT_FDCWD, "b", MOVE_MOUNT_F_EMPTY_PATH));
	look("top", "b");
	look("top's directory", "b/sub");
	MUST(umount2("b", MNT_DETACH));
	SHOW(move_mount_(tree, "sub", AT_FDCWD, "b", 0));
	SHOW(move_mount_(tree, "", AT_FDCWD, "b", MOVE_MOUNT_F_EMPTY_PATH));
	look("tree", "b");
	look("tree's directory", "b/sub");
	SHOW(move_mount_(AT_FDCWD, "b", AT_FDCWD, "b/sub", 0));
	close(top);
	close(tree);
	MUST(umount2("b", MNT_DETACH));
	/* What is not put anywhere goes with its descriptor. */
	tree = open_tree_(AT_FDCWD, "a", OPEN_TREE_CLONE | AT_RECURSIVE);
	SHOW(umount2("a/sub", 0));
	close(tree);
	SHOW(umount2("a", 0));
}

static void attributes(void)
{
	struct mount_attr attr = { 0 }, big[2] = { { 0 }, { 0 } };

	MUST(mount("none", "a", "tmpfs", 0, NULL));
	MUST(mkdir("a/sub", 0755));
	MUST(mount("none", "a/sub", "tmpfs", 0, NULL));
	SHOW(setattr_(AT_FDCWD, "a", 0, &attr, sizeof attr));
	SHOW(setattr_(AT_FDCWD, "nowhere", 0, &attr, sizeof attr));
	SHOW(setattr_(AT_FDCWD, "a", 0, &attr, 8));
	SHOW(setattr_(AT_FDCWD, "a", 0, &attr, 5000));
	SHOW(setattr_(AT_FDCWD, "a", 0, NULL, sizeof attr));
	SHOW(setattr_(AT_FDCWD, "a", 0x10, &attr, sizeof attr));
	SHOW(setattr_(AT_FDCWD, "a", 0, big, sizeof big));
	big[1].attr_set = 1;
	SHOW(setattr_(AT_FDCWD, "a", 0, big, sizeof big));
	attr.attr_set = 0x100;
	SHOW(setattr_(AT_FDCWD, "a", 0, &attr, sizeof attr));
	attr.attr_set = MOUNT_ATTR_NOATIME;
	SHOW(setattr_(AT_FDCWD, "a", 0, &attr, sizeof attr));
	attr.attr_clr = MOUNT_ATTR_NOATIME;
	SHOW(setattr_(AT_FDCWD, "a", 0, &attr, sizeof attr));
	attr.attr_clr = MOUNT_ATTR__ATIME;
	SHOW(setattr_(AT_FDCWD, "a", 0, &attr, sizeof attr));
	look("no access times", "a");
	attr = (struct mount_attr){ .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC };
	SHOW(setattr_(AT_FDCWD, "a", AT_RECURSIVE, &attr, sizeof attr));
	look("all read-only", "a");
	look("all read-only", "a/sub");
	SHOW(open("a/x", O_CREAT | O_WRONLY, 0600));
	attr = (struct mount_attr){ .attr_clr = MOUNT_ATTR_RDONLY, .attr_set = MOUNT_ATTR_NODIRATIME };
	SHOW(setattr_(AT_FDCWD, "a", 0, &attr, sizeof attr));
	look("the first writable", "a");
	look("the other not", "a/sub");
	attr = (struct mount_attr){ .propagation = MS_SHARED | MS_PRIVATE };
	SHOW(setattr_(AT_FDCWD, "a", 0, &attr, sizeof attr));
	attr.propagation = MS_SHARED;
	SHOW(setattr_(AT_FDCWD, "a", 0, &attr, sizeof attr));
	attr.propagation = MS_UNBINDABLE;
	SHOW(setattr_(AT_FDCWD, "a", 0, &attr, sizeof attr));
	SHOW(open_tree_(AT_FDCWD, "a", OPEN_TREE_CLONE));
	attr = (struct mount_attr){ .attr_set = MOUNT_ATTR_RDONLY };
	SHOW(setattr_(AT_FDCWD, "b", 0, &attr, sizeof attr));
	int dir = open("a/sub", O_PATH);
	attr = (struct mount_attr){ .attr_clr = MOUNT_ATTR_RDONLY };
	SHOW(setattr_(dir, "", AT_EMPTY_PATH, &attr, sizeof attr));
	look("by descriptor", "a/sub");
	close(dir);
	MUST(umount2("a", MNT_DETACH));
}

static void unprivileged(void)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };

	MUST(setresuid(1000, 1000, 1000));
	SHOW(fsopen_("tmpfs", 0));
	SHOW(fsopen_(NULL, 9));
	SHOW(fsmount_(-1, 9, 0));
	SHOW(fspick_(AT_FDCWD, "nowhere", 0x1000));
	SHOW(move_mount_(-1, NULL, -1, NULL, 0x1000));
	SHOW(open_tree_(AT_FDCWD, "nowhere", OPEN_TREE_CLONE));
	SHOW(open_tree_(AT_FDCWD, "nowhere", 0));
	SHOW(setattr_(AT_FDCWD, "nowhere", 0, &attr, sizeof attr));
	SHOW(setattr_(AT_FDCWD, "nowhere", 0, &attr, 8));
	SHOW(setattr_(AT_FDCWD, "nowhere", 0x10, &attr, 5000));
}

int main(void)
{
	if (geteuid() != 0)
		return 0;
	MUST(unshare(CLONE_NEWNS));
	MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	MUST(mkdir("a", 0755));
	MUST(mkdir("b", 0755));
	touch("file");
	errors();
	makes();
	trees();
	attributes();
	IN_CHILD("unprivileged", unprivileged());
	return 0;
}
