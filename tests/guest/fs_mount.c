/* mount, umount2, pivot_root, propagation. Natively in a mount namespace of its own. */
#include "common.h"
#include <sched.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>

static void touch(const char *name)
{
	int fd = open(name, O_CREAT | O_WRONLY, 0644);

	MUST(fd);
	close(fd);
}

static void basics(void)
{
	struct stat outer, inner;
	struct statfs fs;

	MUST(mkdir("m", 0755));
	touch("m/hidden");
	SHOW(mount("none", "m", "tmpfs", MS_NOSUID | MS_NODEV, "size=64k,mode=700"));
	CHECK("hidden", access("m/hidden", F_OK));
	stat("m", &inner);
	stat(".", &outer);
	TRUE("another device", inner.st_dev != outer.st_dev);
	printf("mode %o\n", inner.st_mode);
	SHOW(statfs("m", &fs));
	printf("type %lx blocks %ld flags %lx\n", (long)fs.f_type, (long)fs.f_blocks, (long)fs.f_flags & (ST_NOSUID | ST_NODEV | ST_RDONLY));
	SHOW(rmdir("m"));
	SHOW(rename("m", "n"));
	SHOW(mount("none", "m", "nosuchfs", 0, NULL));
	SHOW(mount("none", "missing", "tmpfs", 0, NULL));
	SHOW(mount("none", "m/../file", "tmpfs", 0, NULL));
	SHOW(mount("none", "m", "tmpfs", 0, "size=oops"));
	int fd = open("m/full", O_CREAT | O_WRONLY, 0644);
	static char zeros[70000];
	CHECK("fills", write(fd, zeros, sizeof(zeros)));
	CHECK("full", write(fd, zeros, 1));
	CHECK("nothing fits", pwrite(fd, zeros, 0, 1 << 20));
	printf("size %ld\n", (long)lseek(fd, 0, SEEK_END));
	close(fd);
	SHOW(mknod("m/null", S_IFCHR | 0666, 0x103));
	SHOW(open("m/null", O_RDWR));
	fd = open("m", O_RDONLY);
	SHOW(umount2("m", 0));
	SHOW(umount2("m", 64));
	SHOW(umount2("m", MNT_EXPIRE | MNT_DETACH));
	SHOW(umount2("m", MNT_EXPIRE | MNT_FORCE));
	SHOW(umount2("m", MNT_EXPIRE));
	close(fd);
	SHOW(umount2("m", MNT_EXPIRE));
	SHOW(access("m/full", F_OK));
	SHOW(umount2("m", MNT_EXPIRE));
	SHOW(umount2("m", MNT_EXPIRE));
	CHECK("uncovered", access("m/hidden", F_OK));
	SHOW(umount2("m", 0));
	SHOW(umount2("missing", 0));
}

static void read_only(void)
{
	SHOW(mount("none", "m", "tmpfs", 0, NULL));
	touch("m/f");
	int fd = open("m/f", O_RDWR);
	close(fd);
	SHOW(mount(NULL, "m", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
	SHOW(open("m/f", O_RDWR));
	SHOW(open("m/g", O_CREAT | O_RDWR, 0644));
	SHOW(open("m/f", O_CREAT | O_RDONLY, 0644) >= 0);
	SHOW(unlink("m/f"));
	SHOW(mkdir("m/d", 0755));
	SHOW(chmod("m/f", 0));
	SHOW(access("m/f", W_OK));
	SHOW(mount(NULL, "m", NULL, MS_REMOUNT | MS_BIND, NULL));
	SHOW(unlink("m/f"));
	SHOW(mount(NULL, "m", NULL, MS_REMOUNT | MS_BIND | MS_NOEXEC, NULL));
	SHOW(umount2("m", MNT_DETACH));
}

static void binds(void)
{
	MUST(mkdir("from", 0755));
	MUST(mkdir("to", 0755));
	touch("from/a");
	touch("file2");
	SHOW(mount("from", "to", NULL, MS_BIND, NULL));
	CHECK("seen", access("to/a", F_OK));
	touch("to/b");
	CHECK("both ways", access("from/b", F_OK));
	CHECK("link across", link("from/a", "to/c"));
	CHECK("rename across", rename("from/a", "to/c"));
	SHOW(mount("from/a", "file2", NULL, MS_BIND, NULL));
	SHOW(unlink("file2"));
	SHOW(mount("from", "file2", NULL, MS_BIND, NULL));
	SHOW(mount("from/a", "to", NULL, MS_BIND, NULL));
	SHOW(umount2("file2", 0));
	SHOW(umount2("to", 0));
	SHOW(mount("none", "from", "tmpfs", 0, NULL));
	MUST(mkdir("from/sub", 0755));
	SHOW(mount("none", "from/sub", "tmpfs", 0, NULL));
	touch("from/sub/deep");
	SHOW(mount("from", "to", NULL, MS_BIND, NULL));
	CHECK("not recursive", access("to/sub/deep", F_OK));
	SHOW(umount2("to", 0));
	SHOW(mount("from", "to", NULL, MS_BIND | MS_REC, NULL));
	CHECK("recursive", access("to/sub/deep", F_OK));
	SHOW(umount2("to", 0));
	SHOW(umount2("to", MNT_DETACH));
	SHOW(mount("from/sub", "to", NULL, MS_MOVE, NULL));
	CHECK("moved", access("to/deep", F_OK));
	CHECK("moved away", access("from/sub/deep", F_OK));
	SHOW(mount("from/sub", "to", NULL, MS_MOVE, NULL));
	SHOW(umount2("to", 0));
	SHOW(umount2("from", 0));
}

static void propagation(void)
{
	MUST(mkdir("p", 0755));
	MUST(mkdir("q", 0755));
	SHOW(mount("none", "p", "tmpfs", 0, NULL));
	MUST(mkdir("p/x", 0755));
	MUST(mkdir("p/y", 0755));
	SHOW(mount(NULL, "p", NULL, MS_SHARED, NULL));
	SHOW(mount("p", "q", NULL, MS_BIND, NULL));
	SHOW(mount("none", "p/x", "tmpfs", 0, NULL));
	touch("p/x/f");
	CHECK("arrives", access("q/x/f", F_OK));
	SHOW(mount(NULL, "q", NULL, MS_SLAVE, NULL));
	SHOW(mount("none", "q/y", "tmpfs", 0, NULL));
	touch("q/y/f");
	CHECK("does not go back", access("p/y/f", F_OK));
	SHOW(umount2("p/x", 0));
	CHECK("leaves the slave", access("q/x/f", F_OK));
	SHOW(mount(NULL, "q", NULL, MS_PRIVATE, NULL));
	SHOW(mount("none", "p/x", "tmpfs", 0, NULL));
	touch("p/x/f");
	CHECK("private", access("q/x/f", F_OK));
	SHOW(mount(NULL, "p", NULL, MS_SHARED | MS_PRIVATE, NULL));
	SHOW(mount(NULL, "p/y", NULL, MS_PRIVATE, NULL));
	SHOW(mount(NULL, "q", NULL, MS_UNBINDABLE, NULL));
	MUST(mkdir("r", 0755));
	SHOW(mount("q", "r", NULL, MS_BIND, NULL));
	SHOW(umount2("q", MNT_DETACH));
	SHOW(umount2("p", MNT_DETACH));
}

static void pivot(void)
{
	char cwd[64];

	MUST(mkdir("root", 0755));
	SHOW(syscall(SYS_pivot_root, "root", "root"));
	SHOW(mount("none", "root", "tmpfs", 0, NULL));
	MUST(mkdir("root/old", 0755));
	MUST(mkdir("root/dir", 0755));
	SHOW(syscall(SYS_pivot_root, "root", "m"));
	SHOW(chdir("root/dir"));
	SHOW(syscall(SYS_pivot_root, "..", "../old"));
	CHECK("new root", access("/dir", F_OK));
	CHECK("old root", access("/old/tmp", F_OK));
	CHECK("cwd", getcwd(cwd, sizeof(cwd)) ? 0 : -1);
	puts(cwd);
	SHOW(umount2("/old", MNT_DETACH));
	CHECK("gone", access("/old/tmp", F_OK));
	SHOW(chroot("/dir"));
	SHOW(access("/dir", F_OK));
	CHECK("dot dot stays", access("/..", F_OK));
	SHOW(chdir("/"));
	CHECK("at root", getcwd(cwd, sizeof(cwd)) ? 0 : -1);
	puts(cwd);
}

static void unprivileged(void)
{
	MUST(setuid(1000));
	SHOW(mount("none", "m", "tmpfs", 0, NULL));
	SHOW(umount2("m", 0));
	SHOW(syscall(SYS_pivot_root, "m", "m"));
}

int main(void)
{
	char dir[] = "fs_mount.XXXXXX";

	umask(022);
	setvbuf(stdout, NULL, _IONBF, 0);
	MUST(unshare(CLONE_NEWNS));
	MUST(mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL));
	MUST(mkdtemp(dir) ? 0 : -1);
	MUST(chmod(dir, 0755));
	MUST(chdir(dir));
	touch("file");
	basics();
	read_only();
	binds();
	propagation();
	IN_CHILD("unprivileged", unprivileged());
	pivot();
	return 0;
}
