/* mkdir, rmdir, link, symlink, unlink, rename, mknod: what they do and how they fail. */
#include "common.h"

#define RENAME(a, b, f) syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, f)

static void touch(const char *name)
{
	int fd = open(name, O_CREAT | O_WRONLY, 0644);

	MUST(fd);
	MUST(write(fd, name, strlen(name)));
	close(fd);
}

static void show(const char *name)
{
	char text[64] = "";
	int fd = open(name, O_RDONLY);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		strcpy(text, strerrorname_np(errno));
	printf("%s contains %s\n", name, text);
	if (fd >= 0)
		close(fd);
}

static void links(void)
{
	struct stat st;

	touch("a");
	SHOW(link("a", "b"));
	stat("b", &st);
	CHECK("nlink", st.st_nlink);
	SHOW(link("a", "b"));
	SHOW(link("none", "c"));
	SHOW(link("dir", "c"));
	SHOW(link("a", "c/"));
	SHOW(link("a", "no/c"));
	SHOW(link("a", "b/c"));
	SHOW(symlink("a", "s"));
	SHOW(symlink("", "t"));
	SHOW(symlink("a", "s"));
	SHOW(link("s", "s2"));
	lstat("s2", &st);
	CHECK("link of link is link", S_ISLNK(st.st_mode));
	SHOW(linkat(AT_FDCWD, "s", AT_FDCWD, "s3", AT_SYMLINK_FOLLOW));
	lstat("s3", &st);
	CHECK("link of target is file", S_ISREG(st.st_mode));
	CHECK("links", st.st_nlink);
	SHOW(unlink("b"));
	SHOW(unlink("b"));
	SHOW(unlink("dir"));
	SHOW(unlink("s/"));
	SHOW(unlink("dir/"));
	SHOW(unlink("."));
	SHOW(unlinkat(AT_FDCWD, "a", AT_REMOVEDIR));
	SHOW(unlinkat(AT_FDCWD, "a", 0x4000));
}

static void directories(void)
{
	char cwd[64];

	SHOW(mkdir("dir", 0755));
	SHOW(mkdir("d2/", 0755));
	SHOW(mkdir("a", 0755));
	SHOW(mkdir("no/d", 0755));
	SHOW(mkdir("a/d", 0755));
	SHOW(mkdir(".", 0755));
	SHOW(mkdir("/", 0755));
	SHOW(rmdir("a"));
	SHOW(rmdir("d2/."));
	SHOW(rmdir("d2/.."));
	SHOW(rmdir("/"));
	SHOW(mkdir("d2/x", 0755));
	SHOW(rmdir("d2"));
	SHOW(rmdir("d2/x/"));
	SHOW(chdir("d2"));
	SHOW(rmdir("../d2"));
	SHOW(open("f", O_CREAT | O_WRONLY, 0644));
	SHOW(mkdir("x", 0755));
	CHECK("getcwd gone", getcwd(cwd, sizeof(cwd)) ? 0 : -1);
	SHOW(chdir(".."));
	CHECK("getcwd short", getcwd(cwd, 2) ? 0 : -1);
}

static void renames(void)
{
	touch("one");
	touch("two");
	SHOW(rename("one", "two"));
	show("two");
	show("one");
	SHOW(rename("none", "x"));
	SHOW(rename("two", "dir"));
	SHOW(rename("dir", "two"));
	SHOW(rename("two", "two"));
	SHOW(rename("dir", "dir/sub"));
	SHOW(mkdir("dir/sub", 0755));
	SHOW(rename("dir/sub", "dir"));
	SHOW(rename("two", "x/"));
	SHOW(rename("two/", "x"));
	SHOW(rename(".", "x"));
	SHOW(rename("dir", ".."));
	SHOW(mkdir("full", 0755));
	touch("full/f");
	SHOW(rename("dir", "full"));
	SHOW(rename("full", "dir/sub"));
	show("dir/sub/f");
	touch("left");
	touch("right");
	CHECK("noreplace", RENAME("left", "right", RENAME_NOREPLACE));
	CHECK("noreplace new", RENAME("left", "fresh", RENAME_NOREPLACE));
	CHECK("exchange", RENAME("fresh", "right", RENAME_EXCHANGE));
	show("fresh");
	show("right");
	CHECK("exchange kinds", RENAME("fresh", "dir", RENAME_EXCHANGE));
	show("dir");
	CHECK("is directory", open("fresh", O_DIRECTORY) >= 0);
	CHECK("exchange none", RENAME("fresh", "none", RENAME_EXCHANGE));
	CHECK("bad flags", RENAME("fresh", "none", RENAME_EXCHANGE | RENAME_NOREPLACE));
	SHOW(link("right", "again"));
	SHOW(rename("right", "again"));
	show("right");
	show("again");
}

static void nodes(void)
{
	struct stat st;

	SHOW(mkfifo("fifo", 0644));
	SHOW(mknod("regular", S_IFREG | 0600, 0));
	SHOW(mknod("socket", S_IFSOCK | 0600, 0));
	SHOW(mknod("fifo", S_IFIFO | 0600, 0));
	SHOW(mknod("d", S_IFDIR | 0600, 0));
	SHOW(mknod("bad", 0170000 | 0600, 0));
	stat("fifo", &st);
	printf("fifo %o\n", st.st_mode);
	stat("socket", &st);
	printf("socket %o\n", st.st_mode);
	SHOW(open("socket", O_RDONLY));
	SHOW(open("fifo", O_WRONLY | O_NONBLOCK));
	TRUE("fifo reader", open("fifo", O_RDONLY | O_NONBLOCK) >= 0);
	TRUE("fifo writer", open("fifo", O_WRONLY | O_NONBLOCK) >= 0);
}

int main(void)
{
	char dir[] = "fs_names.XXXXXX";
	char text[300];

	umask(022);
	MUST(mkdtemp(dir) ? 0 : -1);
	MUST(chdir(dir));
	MUST(mkdir("dir", 0755));
	links();
	directories();
	renames();
	nodes();
	memset(text, 'x', sizeof(text));
	text[256] = 0;
	CHECK("name of 256", mkdir(text, 0755));
	text[255] = 0;
	CHECK("name of 255", mkdir(text, 0755));
	CHECK("readlink", readlink("s", text, sizeof(text)));
	CHECK("readlink short", readlink("s", text, 0));
	CHECK("readlink file", readlink("a", text, 10));
	return 0;
}
