/* inotify: what happens to files is told. */
#include "common.h"
#include <sys/inotify.h>

static void drain(const char *when, int fd)
{
	char buf[4096] __attribute__((aligned(8)));
	long n;

	printf("%s:\n", when);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		for (long at = 0; at < n;) {
			struct inotify_event *event = (void *)(buf + at);

			printf("  wd %d mask %#x cookie %d %s\n", event->wd, event->mask, event->cookie != 0,
			       event->len ? event->name : "");
			at += sizeof(*event) + event->len;
		}
}

int main(void)
{
	char dir[] = "fs_inotify.XXXXXX", buf[4];
	int in = inotify_init1(IN_NONBLOCK), fd;

	MUST(mkdtemp(dir) ? 0 : -1);
	MUST(chdir(dir));
	MUST(mkdir("d", 0755));
	SHOW(inotify_add_watch(in, "d", IN_ALL_EVENTS));
	fd = open("d/f", O_CREAT | O_RDWR, 0644);
	drain("create", in);
	SHOW(inotify_add_watch(in, "d/f", IN_ALL_EVENTS));
	MUST(write(fd, "abc", 3));
	MUST(pread(fd, buf, 3, 0));
	drain("read and write", in);
	MUST(fchmod(fd, 0600));
	MUST(ftruncate(fd, 1));
	drain("chmod and truncate", in);
	close(fd);
	drain("close", in);
	MUST(rename("d/f", "d/g"));
	drain("rename", in);
	MUST(mkdir("d/sub", 0755));
	MUST(link("d/g", "d/h"));
	drain("mkdir and link", in);
	MUST(unlink("d/h"));
	drain("unlink one", in);
	MUST(unlink("d/g"));
	drain("unlink", in);
	MUST(rmdir("d/sub"));
	SHOW(inotify_rm_watch(in, 1));
	drain("end", in);
	SHOW(inotify_rm_watch(in, 1));
	SHOW(inotify_add_watch(in, "none", IN_ALL_EVENTS));
	SHOW(inotify_add_watch(in, "d", 0));
	SHOW(inotify_add_watch(0, "d", IN_ALL_EVENTS));
	return 0;
}
