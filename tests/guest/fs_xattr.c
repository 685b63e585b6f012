/* Extended attributes of users, on files in memory. */
#include "common.h"
#include <sys/mount.h>
#include <sys/xattr.h>

static void names(const char *path)
{
	char list[256];
	long sum = 0;
	ssize_t len = listxattr(path, list, sizeof(list));

	CHECK("list", len);
	/* In no order. */
	for (ssize_t at = 0; at < len; at += strlen(list + at) + 1)
		sum += list[at + strlen(list + at) - 1];
	CHECK("last letters", sum);
}

int main(void)
{
	static char big[70000];
	char value[64];
	int fd = open("/dev/shm/fs_xattr", O_CREAT | O_RDWR, 0644);

	MUST(fd);
	MUST(chdir("/dev/shm"));
	SHOW(setxattr("fs_xattr", "user.a", "one", 3, 0));
	SHOW(setxattr("fs_xattr", "user.a", "two", 3, XATTR_CREATE));
	SHOW(setxattr("fs_xattr", "user.b", "", 0, XATTR_REPLACE));
	SHOW(setxattr("fs_xattr", "user.b", "", 0, 0));
	SHOW(setxattr("fs_xattr", "user.b", "", 0, 7));
	SHOW(getxattr("fs_xattr", "user.a", value, sizeof(value)));
	SHOW(getxattr("fs_xattr", "user.a", NULL, 0));
	SHOW(getxattr("fs_xattr", "user.a", value, 2));
	SHOW(getxattr("fs_xattr", "user.none", value, 2));
	SHOW(fgetxattr(fd, "user.b", value, 2));
	names("fs_xattr");
	SHOW(setxattr("fs_xattr", "other.a", "x", 1, 0));
	SHOW(setxattr("fs_xattr", "user.", "x", 1, 0));
	SHOW(setxattr("fs_xattr", "", "x", 1, 0));
	SHOW(setxattr("fs_xattr", "user.big", big, sizeof(big), 0));
	SHOW(setxattr("none", "user.a", "x", 1, 0));
	SHOW(fsetxattr(999, "user.a", "x", 1, 0));
	MUST(symlink("fs_xattr", "fs_xattr_link"));
	SHOW(lsetxattr("fs_xattr_link", "user.a", "x", 1, 0));
	SHOW(lgetxattr("fs_xattr_link", "user.a", value, 1));
	SHOW(removexattr("fs_xattr", "user.a"));
	SHOW(removexattr("fs_xattr", "user.a"));
	SHOW(fremovexattr(fd, "user.b"));
	names("fs_xattr");
	unlink("fs_xattr_link");
	unlink("fs_xattr");
	return 0;
}
