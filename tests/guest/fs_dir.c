/* getdents: complete, once each, at positions that stay good. */
#include "common.h"
#include <dirent.h>

static int compare(const void *a, const void *b)
{
	return strcmp(*(char **)a, *(char **)b);
}

static void list(const char *path)
{
	char *names[64];
	int count = 0;
	DIR *dir = opendir(path);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)) && count < 64) {
		char *text;

		MUST(asprintf(&text, "%s type %d", entry->d_name, entry->d_type));
		names[count++] = text;
	}
	qsort(names, count, sizeof(*names), compare);
	for (int i = 0; i < count; i++)
		printf("  %s\n", names[i]);
	if (dir)
		closedir(dir);
}

static void many(void)
{
	enum { COUNT = 3000 };
	static int seen[COUNT];
	char name[32];
	int n, total = 0;
	DIR *dir;
	struct dirent *entry;

	MUST(mkdir("many", 0755));
	for (n = 0; n < COUNT; n++) {
		snprintf(name, sizeof(name), "many/%d", n);
		close(open(name, O_CREAT | O_WRONLY, 0644));
	}
	dir = opendir("many");
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		n = atoi(entry->d_name);
		seen[n]++;
		total++;
		snprintf(name, sizeof(name), "many/%d", n);
		unlink(name);
	}
	closedir(dir);
	CHECK("seen", total);
	for (n = 0; n < COUNT && seen[n] == 1; n++)
		;
	CHECK("each once", n);
	SHOW(rmdir("many"));
}

static void positions(void)
{
	long at[16];
	char first[16][256];
	int n, same = 0;
	DIR *dir = opendir(".");
	struct dirent *entry;

	for (n = 0; n < 16; n++) {
		at[n] = telldir(dir);
		entry = readdir(dir);
		if (!entry)
			break;
		strcpy(first[n], entry->d_name);
	}
	for (int i = n - 1; i >= 0; i--) {
		seekdir(dir, at[i]);
		entry = readdir(dir);
		same += entry && !strcmp(entry->d_name, first[i]);
	}
	TRUE("positions", same == n && n > 3);
	rewinddir(dir);
	entry = readdir(dir);
	TRUE("rewound", entry && !strcmp(entry->d_name, first[0]));
	closedir(dir);
}

int main(void)
{
	char dir[] = "fs_dir.XXXXXX", buf[16];
	int fd;

	umask(022);
	MUST(mkdtemp(dir) ? 0 : -1);
	MUST(chdir(dir));
	MUST(mkdir("d", 0755));
	MUST(symlink("d", "l"));
	MUST(mkfifo("p", 0644));
	close(open("f", O_CREAT | O_WRONLY, 0644));
	list(".");
	fd = open(".", O_RDONLY);
	CHECK("small buffer", syscall(SYS_getdents64, fd, buf, sizeof(buf)));
	CHECK("fault", syscall(SYS_getdents64, fd, (void *)8, 4096));
	CHECK("not a directory", syscall(SYS_getdents64, open("f", O_RDONLY), buf, sizeof(buf)));
	CHECK("bad fd", syscall(SYS_getdents64, -1, buf, sizeof(buf)));
	positions();
	many();
	MUST(rename("f", "d/f2"));
	list("d");
	MUST(mkdir("gone", 0755));
	fd = open("gone", O_RDONLY);
	MUST(rmdir("gone"));
	CHECK("gone", syscall(SYS_getdents64, fd, buf, sizeof(buf)));
	return 0;
}
