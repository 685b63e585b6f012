/*
 * Files whose names go while they are in use, names that come back for something else, and listings that have
 * been read before: what a cache of names and attributes must not get wrong.
 */
#include "common.h"
#include <dirent.h>
#include <sys/mman.h>

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list(const char *title, const char *path)
{
	char *names[64];
	int count = 0;
	DIR *dir = opendir(path);
	struct dirent *entry;

	printf("%s:", title);
	while (dir && (entry = readdir(dir)) && count < 64)
		names[count++] = strdup(entry->d_name);
	if (dir)
		closedir(dir);
	qsort(names, count, sizeof(*names), by_name);
	for (int i = 0; i < count; i++)
		printf(" %s", names[i]);
	printf("\n");
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0644);

	MUST(fd);
	MUST(write(fd, text, strlen(text)));
	close(fd);
}

static void get(const char *title, int fd)
{
	char text[64] = "";
	ssize_t count = pread(fd, text, sizeof(text) - 1, 0);

	printf("%s: %zd %s\n", title, count, count >= 0 ? text : strerrorname_np(errno));
}

static void get_path(const char *title, const char *path)
{
	int fd = open(path, O_RDONLY);

	if (fd < 0) {
		printf("%s: %s\n", title, strerrorname_np(errno));
		return;
	}
	get(title, fd);
	close(fd);
}

static void links(const char *title, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		printf("%s: %s\n", title, strerrorname_np(errno));
	else
		printf("%s: %o %lu links %ld bytes\n", title, st.st_mode, (long)st.st_nlink,
		       S_ISREG(st.st_mode) ? (long)st.st_size : 0);
}

static void open_files(void)
{
	put("open", "first");
	int fd = open("open", O_RDWR);
	MUST(fd);
	SHOW(unlink("open"));
	links("unlinked", fd);
	get("read unlinked", fd);
	SHOW(pwrite(fd, "FIRST!", 6, 0));
	put("open", "second");
	get("old", fd);
	get_path("new", "open");
	char self[64];
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	get_path("through proc", self);
	SHOW(fchmod(fd, 0600));
	links("changed", fd);
	SHOW(ftruncate(fd, 3));
	get("shorter", fd);
	close(fd);

	int path = open("open", O_PATH);
	MUST(path);
	SHOW(unlink("open"));
	links("O_PATH after unlink", path);
	snprintf(self, sizeof(self), "/proc/self/fd/%d", path);
	get_path("opened by O_PATH", self);
	close(path);
}

static void replaced_files(void)
{
	put("victim", "victim");
	put("winner", "winner");
	int path = open("victim", O_PATH), fd = open("victim", O_RDONLY);
	SHOW(rename("winner", "victim"));
	links("replaced", path);
	get("replaced still read", fd);
	get_path("winner now", "victim");
	WORKS("no winner", open("winner", O_RDONLY));
	close(fd);
	links("replaced, closed", path);
	close(path);
	unlink("victim");
}

static void several_names(void)
{
	put("one", "links");
	SHOW(link("one", "two"));
	SHOW(link("two", "three"));
	SHOW(unlink("one"));
	get_path("two", "two");
	int fd = open("three", O_RDWR);
	links("three", fd);
	SHOW(unlink("two"));
	get_path("three by name", "three");
	SHOW(chmod("three", 0640));
	links("three changed", fd);
	SHOW(rename("three", "four"));
	SHOW(unlink("four"));
	links("none", fd);
	get("none read", fd);
	close(fd);
	WORKS("gone", open("four", O_RDONLY));
}

static void mapped_files(void)
{
	put("mapped", "mapped text");
	int fd = open("mapped", O_RDWR);
	char *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	TRUE("mapped", shared != MAP_FAILED);
	close(fd);
	SHOW(unlink("mapped"));
	memcpy(shared, "MAPPED", 6);
	printf("%.11s\n", shared);
	munmap(shared, 4096);
}

static void new_files(void)
{
	static const int modes[] = { O_RDONLY, O_WRONLY, O_RDWR };
	char byte;

	umask(027);
	for (int i = 0; i < 3; i++) {
		int fd = open("made", O_CREAT | O_EXCL | modes[i], 0666);
		WORKS("made", fd);
		links("new", fd);
		SHOW(read(fd, &byte, 1));
		SHOW(write(fd, "x", 1));
		void *map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
		CHECK("map", map == MAP_FAILED ? -1 : 0);
		map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		CHECK("map to write", map == MAP_FAILED ? -1 : 0);
		WORKS("made again", open("made", O_CREAT | O_EXCL | modes[i], 0666));
		close(fd);
		SHOW(unlink("made"));
	}
	umask(0);
	int fd = open("made", O_CREAT | O_RDWR, 0);
	WORKS("no permissions", fd);
	SHOW(write(fd, "x", 1));
	links("no permissions", fd);
	close(fd);
	SHOW(unlink("made"));
	fd = open("made", O_CREAT | O_RDWR, 06755);
	links("set-ID", fd);
	close(fd);
	SHOW(mknod("node", S_IFREG | 0604, 0));
	SHOW(unlink("made"));
	get_path("node", "node");
	fd = open("node", O_RDWR);
	links("node", fd);
	SHOW(unlink("node"));
	links("node", fd);
	close(fd);
	umask(022);
}

static void directories(void)
{
	MUST(mkdir("dir", 0755));
	MUST(mkdir("dir/in", 0755));
	put("dir/in/file", "deep");
	list("deep", "dir/in");
	int fd = open("dir/in", O_RDONLY | O_DIRECTORY);
	SHOW(rename("dir", "moved"));
	get_path("old name", "dir/in/file");
	get_path("new name", "moved/in/file");
	int file = openat(fd, "file", O_RDONLY);
	get("by descriptor", file);
	close(file);
	list("moved", "moved/in");
	SHOW(rmdir("moved/in"));
	SHOW(unlinkat(fd, "file", 0));
	SHOW(rmdir("moved/in"));
	WORKS("in removed", openat(fd, "file", O_CREAT | O_RDWR, 0644));
	links("removed directory", fd);
	close(fd);
	/* The same name, another kind. */
	put("moved/in", "a file");
	get_path("kind", "moved/in");
	SHOW(unlink("moved/in"));
	SHOW(symlink("../other", "moved/in"));
	put("other", "other");
	get_path("kind", "moved/in");
	SHOW(unlink("moved/in"));
	SHOW(unlink("other"));
	SHOW(mkdir("moved/in", 0700));
	SHOW(rmdir("moved/in"));
	SHOW(rmdir("moved"));
}

/* The directory above was there before the program: in a sandbox it may lie below a layer in memory. */
static void listings(void)
{
	list("above", "..");
	list("above again", "..");
	SHOW(rename("../guest", "../renamed"));
	list("renamed", "..");
	WORKS("old name", open("../guest", O_RDONLY));
	SHOW(mkdir("../guest", 0755));
	list("directory in its place", "..");
	list("which is empty", "../guest");
	put("../guest/x", "x");
	SHOW(rmdir("../guest"));
	SHOW(unlink("../guest/x"));
	SHOW(rmdir("../guest"));
	list("removed", "..");
	SHOW(rename("../renamed", "../guest"));
	list("as before", "..");
	put("../extra", "extra");
	list("extra", "..");
	SHOW(unlink("../extra"));
	list("at the end", "..");
}

/* A listing under way shows all that stays. */
static void changing_listing(void)
{
	char name[32];
	int seen[40] = { 0 }, all = 1;

	MUST(mkdir("many", 0755));
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "many/f%d", i);
		put(name, "");
	}
	DIR *dir = opendir("many");
	struct dirent *entry;
	int number;

	while ((entry = readdir(dir))) {
		if (sscanf(entry->d_name, "f%d", &number) != 1 || number >= 40)
			continue;
		seen[number]++;
		snprintf(name, sizeof(name), "many/f%d", number);
		unlink(name);
	}
	closedir(dir);
	for (int i = 0; i < 40; i++)
		all &= seen[i] == 1;
	TRUE("each once", all);
	SHOW(rmdir("many"));
}

int main(void)
{
	open_files();
	replaced_files();
	several_names();
	mapped_files();
	new_files();
	directories();
	listings();
	changing_listing();
	return 0;
}
