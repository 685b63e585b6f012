/* stat, statx, access, chmod, chown, utimens: attributes and who may change them. */
#include "common.h"
#include <sys/sysmacros.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

/* A null pointer that the compiler does not see. */
static char *volatile null_path;

static void mode(const char *name)
{
	struct stat st;

	if (lstat(name, &st) == -1)
		printf("%s: %s\n", name, strerrorname_np(errno));
	else
		printf("%s: %o %d:%d %lld\n", name, st.st_mode, st.st_uid, st.st_gid, (long long)st.st_size);
}

static void stats(void)
{
	struct stat st, other;
	struct statx stx;
	int fds[2];

	SHOW(stat("file", &st));
	SHOW(lstat("link", &other));
	CHECK("link size", other.st_size);
	SHOW(stat("link", &other));
	TRUE("same", st.st_ino == other.st_ino && st.st_dev == other.st_dev);
	SHOW(stat("none", &st));
	SHOW(stat("file/", &st));
	SHOW(stat("", &st));
	SHOW(fstatat(AT_FDCWD, "", &st, AT_EMPTY_PATH));
	TRUE("cwd is directory", S_ISDIR(st.st_mode));
	SHOW(fstatat(AT_FDCWD, "file", &st, 0x40));
	SHOW(stat("file", (void *)8));
	SHOW(statx(AT_FDCWD, "file", 0, STATX_BASIC_STATS, &stx));
	TRUE("statx mask", (stx.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
	CHECK("statx size", stx.stx_size);
	printf("statx mode %o\n", stx.stx_mode);
	SHOW(statx(AT_FDCWD, "file", 0, 0x80000000, &stx));
	SHOW(statx(AT_FDCWD, "file", 0x6000, STATX_BASIC_STATS, &stx));
	MUST(pipe(fds));
	SHOW(fstat(fds[0], &st));
	printf("pipe %o\n", st.st_mode & S_IFMT);
	SHOW(fstat(999, &st));
}

static void modes(void)
{
	SHOW(chmod("file", 04755));
	mode("file");
	SHOW(chmod("link", 0640));
	mode("file");
	SHOW(chmod("none", 0));
	SHOW(syscall(SYS_fchmodat2, AT_FDCWD, "link", 0600, AT_SYMLINK_NOFOLLOW));
	SHOW(syscall(SYS_fchmodat2, AT_FDCWD, "link", 0600, 1));
	SHOW(chmod("file", 06775));
	SHOW(chown("file", 1000, 1000));
	mode("file");
	SHOW(chmod("file", 02745));
	SHOW(chown("file", -1, 1001));
	mode("file");
	SHOW(lchown("link", 5, 6));
	mode("link");
	SHOW(chmod("dir", 02777));
	SHOW(chown("dir", 1000, 1000));
	mode("dir");
	SHOW(mkdir("dir/sub", 0755));
	mode("dir/sub");
}

static void times(void)
{
	struct timespec set[2] = { { 1000, 5 }, { 2000, 6 } };
	struct timespec bad[2] = { { 1, 1000000000 }, { 1, 0 } };
	struct timespec omit[2] = { { 0, UTIME_OMIT }, { 0, UTIME_OMIT } };
	struct stat st;

	SHOW(utimensat(AT_FDCWD, "file", set, 0));
	stat("file", &st);
	printf("%ld.%ld %ld.%ld\n", st.st_atim.tv_sec, st.st_atim.tv_nsec, st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	TRUE("ctime is now", st.st_ctim.tv_sec > 1000000);
	set[0].tv_nsec = UTIME_OMIT;
	set[1].tv_nsec = UTIME_NOW;
	SHOW(utimensat(AT_FDCWD, "file", set, 0));
	stat("file", &st);
	CHECK("atime", st.st_atim.tv_sec);
	TRUE("mtime is now", st.st_mtim.tv_sec > 1000000);
	SHOW(utimensat(AT_FDCWD, "file", bad, 0));
	SHOW(utimensat(AT_FDCWD, "none", omit, 0));
	SHOW(utimensat(AT_FDCWD, "none", NULL, 0));
	CHECK("utimensat no path", utimensat(AT_FDCWD, null_path, NULL, 0));
	SHOW(futimens(open("file", O_RDONLY), NULL));
}

static void unprivileged(void)
{
	MUST(setgid(1000));
	MUST(setuid(1000));
	SHOW(access("file", W_OK));
	SHOW(access("secret", R_OK));
	SHOW(open("secret", O_RDONLY));
	SHOW(open("closed/file", O_RDONLY));
	SHOW(chmod("secret", 0777));
	SHOW(chown("mine", 0, -1));
	SHOW(chown("mine", -1, 0));
	SHOW(chown("mine", 1000, 1000));
	SHOW(chmod("mine", 0600));
	SHOW(utimensat(AT_FDCWD, "secret", NULL, 0));
	SHOW(unlink("sticky/theirs"));
	SHOW(unlink("sticky/ours"));
	SHOW(rename("sticky/theirs", "sticky/x"));
	SHOW(mkdir("new", 0755));
	SHOW(mknod("dev", S_IFCHR | 0666, makedev(1, 3)));
	SHOW(chroot("."));
	SHOW(write(open("suid", O_WRONLY), "x", 1));
	mode("suid");
	SHOW(syscall(SYS_faccessat2, AT_FDCWD, "mine", X_OK, 0));
	SHOW(syscall(SYS_faccessat2, AT_FDCWD, "mine", 8, 0));
}

static void touch(const char *name, mode_t mode, uid_t uid)
{
	int fd = open(name, O_CREAT | O_WRONLY, 0600);

	MUST(fd);
	MUST(fchown(fd, uid, uid));
	MUST(fchmod(fd, mode));
	close(fd);
}

int main(void)
{
	char dir[] = "fs_stat.XXXXXX";

	umask(022);
	MUST(mkdtemp(dir) ? 0 : -1);
	MUST(chmod(dir, 0755));
	MUST(chdir(dir));
	touch("file", 0644, 0);
	MUST(symlink("file", "link"));
	MUST(mkdir("dir", 0755));
	stats();
	modes();
	times();
	MUST(mkdir("closed", 0700));
	MUST(mkdir("sticky", 0777));
	MUST(chmod("sticky", 01777));
	touch("secret", 0600, 0);
	touch("mine", 0644, 1000);
	touch("sticky/theirs", 0666, 0);
	touch("sticky/ours", 0666, 1000);
	touch("closed/file", 0666, 0);
	touch("suid", 06777, 0);
	IN_CHILD("unprivileged", unprivileged());
	return 0;
}
