/*
 * Thousands of calls on a few names, drawn by a fixed sequence: every result, and at the end the whole tree, must
 * be what Linux makes of them. Some are made without privileges.
 */
#include "common.h"
#include <dirent.h>

enum { CALLS = 3000, FILES = 6, TEXT = 256, DEPTH_MAX = 12 };

static unsigned state;
static int files[FILES];
static char bytes[9000];

static unsigned draw(unsigned below)
{
	state = state * 1103515245 + 12345;
	return (state >> 16) % below;
}

/* A mode without the sticky bit: what others may do below it depends on the host's settings. */
static mode_t draw_mode(void)
{
	return draw(010000) & ~01000;
}

static void draw_path(char *path)
{
	static const char *const parts[] = { "a", "b", "c", "d", "..", ".", "l", "f" };
	int count = 1 + draw(3);

	strcpy(path, "a/.."); /* never above the start */
	for (int i = 0; i < count; i++) {
		unsigned part = draw(24);

		if (i == 0)
			part %= 4;
		strcat(path, "/");
		strcat(path, parts[part < 8 ? part : part % 4]);
	}
	memmove(path, path + 5, strlen(path + 5) + 1);
	if (draw(12) == 0)
		strcat(path, "/");
}

static long show_stat(int result, const struct stat *st)
{
	if (result == 0)
		printf("(%o %d) ", st->st_mode, (int)st->st_nlink);
	return result;
}

static long open_one(const char *path, int slot)
{
	static const int flags[] = { O_RDONLY, O_WRONLY, O_RDWR, O_PATH, O_RDWR | O_CREAT,
		O_WRONLY | O_CREAT | O_TRUNC, O_RDWR | O_CREAT | O_EXCL, O_RDONLY | O_DIRECTORY,
		O_RDONLY | O_NOFOLLOW, O_WRONLY | O_APPEND, O_RDWR | O_TRUNC, O_RDONLY | O_TRUNC,
		O_RDONLY | O_CREAT, O_RDWR | O_CREAT | O_NOFOLLOW };
	int flag = flags[draw(sizeof(flags) / sizeof(*flags))];
	int fd = open(path, flag | O_NONBLOCK, draw_mode() & 0777);

	printf("%#o ", flag);
	if (fd < 0)
		return -1;
	if (files[slot] >= 0)
		close(files[slot]);
	files[slot] = fd;
	return 0;
}

static long seek_one(int fd)
{
	long offset = draw(12000), whence = draw(3);
	struct stat st;

	/* Positions in directories are each file system's own. */
	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
		return 0;
	return lseek(fd, offset, whence);
}

static long read_link(const char *path)
{
	char text[TEXT] = "";
	long length = readlink(path, text, sizeof(text) - 1);

	printf("<%s> ", text);
	return length;
}

static long call(unsigned which, const char *a, const char *b, int slot)
{
	static const mode_t kinds[] = { S_IFIFO, S_IFREG, S_IFSOCK };
	int fd = files[slot];
	struct stat st;

	switch (which) {
	case 0: case 1: return open_one(a, slot);
	case 2: return mkdir(a, draw_mode());
	case 3: return rmdir(a);
	case 4: return unlink(a);
	case 5: case 6: return rename(a, b);
	case 7: return syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, 1 + draw(3));
	case 8: return geteuid() == 0 ? link(a, b) : 0;
	case 9: return symlink(b, a);
	case 10: return geteuid() == 0 ? linkat(AT_FDCWD, a, AT_FDCWD, b, AT_SYMLINK_FOLLOW) : 0;
	case 11: return show_stat(stat(a, &st), &st);
	case 12: return show_stat(lstat(a, &st), &st);
	case 13: return chmod(a, draw_mode());
	case 14: return chown(a, draw(3) ? 1000 : 0, draw(3) ? 1000 : 0);
	case 15: return lchown(a, draw(3) ? -1 : 1000, draw(3) ? 1000 : -1);
	case 16: return truncate(a, draw(10000));
	case 17: return write(fd, bytes, draw(sizeof(bytes)));
	case 18: return read(fd, bytes, draw(sizeof(bytes)));
	case 19: return seek_one(fd);
	case 20: return ftruncate(fd, draw(9000));
	case 21: return pwrite(fd, bytes, draw(3000), draw(200000));
	case 22: return access(a, draw(8));
	case 23: return read_link(a);
	case 24: return fchmod(fd, draw_mode());
	case 25: return utimensat(AT_FDCWD, a, NULL, draw(2) ? AT_SYMLINK_NOFOLLOW : 0);
	case 26: return mknod(a, kinds[draw(3)] | 0644, 0);
	default: return show_stat(fstat(fd, &st), &st);
	}
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void show_tree(const char *path, int depth)
{
	char *names[64];
	int count = 0;
	DIR *dir = opendir(path);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)) && count < 64)
		if (entry->d_name[0] != '.')
			names[count++] = strdup(entry->d_name);
	if (dir)
		closedir(dir);
	qsort(names, count, sizeof(*names), by_name);
	for (int i = 0; i < count; i++) {
		char *name;
		struct stat st;

		MUST(asprintf(&name, "%s/%s", path, names[i]));
		MUST(lstat(name, &st));
		printf("%s %o %d:%d links %d size %ld\n", name, st.st_mode, st.st_uid, st.st_gid, (int)st.st_nlink,
		       S_ISDIR(st.st_mode) ? 0 : (long)st.st_size);
		if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX)
			show_tree(name, depth + 1);
		free(name);
		free(names[i]);
	}
}

static void run(unsigned seed)
{
	char dir[] = "fs_random.XXXXXX", a[TEXT], b[TEXT];

	MUST(mkdtemp(dir) ? 0 : -1);
	MUST(chmod(dir, 0755));
	MUST(chdir(dir));
	MUST(mkdir("in", 0755));
	MUST(chdir("in"));
	state = seed;
	memset(files, -1, sizeof(files));
	for (int i = 0; i < CALLS; i++) {
		unsigned which = draw(28);
		int slot = draw(FILES), drops = draw(40) == 0;
		long result;

		draw_path(a);
		draw_path(b);
		if (drops) {
			MUST(setegid(1000));
			MUST(seteuid(1000));
		}
		errno = 0;
		result = call(which, a, b, slot);
		printf("%d: call %u %s %s %d = %ld %s\n", i, which, a, b, slot, result,
		       result < 0 ? strerrorname_np(errno) : "");
		if (drops) {
			MUST(seteuid(0));
			MUST(setegid(0));
		}
	}
	for (int i = 0; i < FILES; i++)
		if (files[i] >= 0)
			close(files[i]);
	show_tree(".", 0);
}

int main(void)
{
	umask(022);
	for (unsigned seed = 1; seed <= 5; seed++)
		run(seed);
	return 0;
}
