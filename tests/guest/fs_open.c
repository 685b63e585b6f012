/* open(2), openat(2), openat2(2): flags, errors and their order. */
#include "common.h"
#include <linux/openat2.h>

static long openat2_(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
	struct open_how how = { .flags = flags, .mode = mode, .resolve = resolve };

	return syscall(SYS_openat2, dir, path, &how, sizeof(how));
}

static void flags(void)
{
	int fd = open("file", O_CREAT | O_EXCL | O_RDWR, 0666);

	TRUE("created", fd >= 0);
	CHECK("getfl", fcntl(fd, F_GETFL) & ~0100000);
	CHECK("excl", open("file", O_CREAT | O_EXCL, 0666));
	CHECK("excl link", open("dangling", O_CREAT | O_EXCL, 0666));
	WORKS("through dangling link", open("dangling", O_CREAT | O_WRONLY, 0600));
	CHECK("made by link", access("target", F_OK));
	CHECK("directory flag on file", open("file", O_RDONLY | O_DIRECTORY));
	CHECK("write directory", open("dir", O_WRONLY));
	CHECK("create directory", open("dir", O_CREAT | O_RDWR, 0666));
	CHECK("create with slash", open("new/", O_CREAT | O_RDWR, 0666));
	CHECK("file with slash", open("file/", O_RDONLY));
	CHECK("nofollow link", open("link", O_RDONLY | O_NOFOLLOW));
	WORKS("path of link", open("link", O_PATH | O_NOFOLLOW));
	CHECK("creat and directory", open("x", O_CREAT | O_DIRECTORY, 0666));
	CHECK("loop", open("loop", O_RDONLY));
	CHECK("empty", open("", O_RDONLY));
	CHECK("fault", open((char *)8, O_RDONLY));
	CHECK("not a directory", open("file/x", O_RDONLY));
	CHECK("missing", open("no/such", O_RDONLY));
	CHECK("socket", open("nothing/..", O_RDONLY));
	CHECK("bad dirfd", openat(-7, "file", O_RDONLY));
	CHECK("file as dirfd", openat(fd, "file", O_RDONLY));
	WORKS("absolute ignores dirfd", openat(-7, "/", O_RDONLY));
	close(fd);
}

static void path_only(void)
{
	struct stat st;
	char buf[8];
	int fd = open("file", O_PATH);

	CHECK("getfl of path", fcntl(fd, F_GETFL) & ~0100000);
	CHECK("read path", read(fd, buf, 1));
	CHECK("write path", write(fd, buf, 1));
	CHECK("fstat path", fstat(fd, &st));
	CHECK("fchmod path", fchmod(fd, 0600));
	CHECK("lseek path", lseek(fd, 0, SEEK_SET));
	CHECK("ioctl path", fcntl(fd, F_SETFL, 0));
	WORKS("dup path", dup(fd));
	close(fd);
	fd = open("link", O_PATH | O_NOFOLLOW);
	memset(buf, 0, sizeof(buf));
	CHECK("readlinkat fd", readlinkat(fd, "", buf, sizeof(buf)));
	printf("%.8s\n", buf);
	fd = open("file", O_PATH);
	CHECK("readlinkat of file", readlinkat(fd, "", buf, sizeof(buf)));
}

static void resolve(void)
{
	int dir = open("dir", O_PATH | O_DIRECTORY);

	WORKS("beneath", openat2_(dir, ".", O_RDONLY, 0, RESOLVE_BENEATH));
	CHECK("beneath up", openat2_(dir, "..", O_RDONLY, 0, RESOLVE_BENEATH));
	CHECK("beneath absolute", openat2_(dir, "/", O_RDONLY, 0, RESOLVE_BENEATH));
	WORKS("in root up", openat2_(dir, "../../..", O_RDONLY, 0, RESOLVE_IN_ROOT));
	CHECK("no links", openat2_(AT_FDCWD, "link", O_RDONLY, 0, RESOLVE_NO_SYMLINKS));
	CHECK("no magic links", openat2_(AT_FDCWD, "/proc/self/exe", O_RDONLY, 0, RESOLVE_NO_MAGICLINKS));
	CHECK("unknown flag", openat2_(AT_FDCWD, "file", 1ull << 40, 0, 0));
	CHECK("mode without creat", openat2_(AT_FDCWD, "file", O_RDONLY, 0600, 0));
	CHECK("unknown resolve", openat2_(AT_FDCWD, "file", O_RDONLY, 0, 1 << 20));
	CHECK("short how", syscall(SYS_openat2, AT_FDCWD, "file", "", 8));
}

static void tmpfile_(void)
{
	struct stat st;
	int fd = open(".", O_TMPFILE | O_RDWR, 0600);

	TRUE("tmpfile", fd >= 0);
	CHECK("tmpfile stat", fstat(fd, &st));
	CHECK("tmpfile nlink", st.st_nlink);
	CHECK("tmpfile write", write(fd, "abc", 3));
	CHECK("tmpfile link", linkat(fd, "", AT_FDCWD, "linked", AT_EMPTY_PATH));
	CHECK("linked", access("linked", R_OK));
	CHECK("tmpfile read-only", open(".", O_TMPFILE | O_RDONLY, 0600));
	CHECK("tmpfile on file", open("file", O_TMPFILE | O_RDWR, 0600));
}

static void truncation(void)
{
	struct stat st;
	int fd = open("trunc", O_CREAT | O_RDWR, 0644);

	CHECK("write", write(fd, "hello", 5));
	WORKS("trunc", open("trunc", O_WRONLY | O_TRUNC));
	fstat(fd, &st);
	CHECK("size", st.st_size);
	CHECK("read at end", read(fd, &st, 1));
	CHECK("umask", umask(027) == 022);
	WORKS("masked", open("masked", O_CREAT | O_RDWR, 0777));
	stat("masked", &st);
	printf("mode %o\n", st.st_mode);
	umask(022);
	WORKS("read-only mode, open for writing", open("ro", O_CREAT | O_RDWR, 0400));
}

int main(void)
{
	char dir[] = "fs_open.XXXXXX";

	umask(022);
	MUST(mkdtemp(dir) ? 0 : -1);
	MUST(chdir(dir));
	MUST(mkdir("dir", 0755));
	MUST(symlink("target", "dangling"));
	MUST(symlink("file", "link"));
	MUST(symlink("loop", "loop"));
	flags();
	path_only();
	resolve();
	tmpfile_();
	truncation();
	return 0;
}
