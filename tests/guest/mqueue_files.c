/* The file system of message queues: queues as files, their status, permissions, removal from either side. */
#include "common.h"
#include <dirent.h>
#include <mqueue.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statfs.h>

static void show_status(const char *name)
{
	char text[200];
	int fd = open(name, O_RDONLY);
	ssize_t n = read(fd, text, sizeof(text) - 1);

	MUST(n);
	text[n] = 0;
	printf("%s", text);
	CHECK("end", read(fd, text, sizeof(text)));
	close(fd);
}

static int entries(void)
{
	DIR *dir = opendir("mq");
	int n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

int main(void)
{
	struct mq_attr attr = { .mq_maxmsg = 4, .mq_msgsize = 100 };
	struct sigevent event = { .sigev_notify = SIGEV_NONE };
	struct stat st;
	struct statfs fs;
	char text[200];

	unshare(CLONE_NEWNS | CLONE_NEWIPC);
	mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	MUST(mkdir("mq", 0755));
	SHOW(mount("none", "mq", "mqueue", 0, NULL));
	SHOW(statfs("mq", &fs));
	SHOW(fs.f_type);
	SHOW(stat("mq", &st));
	printf("mode %o size %ld entries %d\n", st.st_mode, (long)st.st_size, entries());

	umask(022);
	mqd_t q = mq_open("/one", O_CREAT | O_RDWR, 0666, &attr);
	MUST(q);
	SHOW(stat("mq/one", &st));
	printf("mode %o size %ld links %ld entries %d\n", st.st_mode, (long)st.st_size, (long)st.st_nlink, entries());
	show_status("mq/one");
	SHOW(mq_send(q, "hello", 5, 1));
	SHOW(mq_send(q, "you", 3, 9));
	show_status("mq/one");
	SHOW(mq_notify(q, &event));
	CHECK("busy", mq_notify(q, &event));
	SHOW(mq_notify(q, NULL));
	SHOW(fstat(q, &st));
	printf("mode %o size %ld\n", st.st_mode, (long)st.st_size);
	SHOW(fstatfs(q, &fs));
	SHOW(fs.f_type);
	SHOW(fchmod(q, 0600));
	SHOW(stat("mq/one", &st));
	printf("mode %o\n", st.st_mode);

	int fd = open("mq/two", O_CREAT | O_EXCL | O_RDWR, 0644);
	MUST(fd);
	CHECK("again", open("mq/two", O_CREAT | O_EXCL | O_RDWR, 0644));
	SHOW(mq_getattr(fd, &attr));
	printf("max %ld size %ld\n", attr.mq_maxmsg, attr.mq_msgsize);
	SHOW(mq_send(fd, "x", 1, 0));
	WORKS("by name", mq_open("/two", O_RDONLY));
	SHOW(mkdir("mq/d", 0755));
	SHOW(link("mq/one", "mq/l"));
	SHOW(symlink("one", "mq/l"));
	SHOW(mkfifo("mq/p", 0644));
	SHOW(rename("mq/one", "mq/three"));
	CHECK("missing", open("mq/none", O_RDONLY));
	CHECK("writes", write(fd, "x", 1));

	SHOW(mq_unlink("/one"));
	CHECK("gone", access("mq/one", F_OK));
	CHECK("lives on", mq_receive(q, text, sizeof(text), NULL));
	SHOW(unlink("mq/two"));
	SHOW(unlink("mq/two"));
	CHECK("by name", mq_open("/two", O_RDONLY));
	printf("entries %d\n", entries());

	MUST(mq_open("/mine", O_CREAT | O_RDWR, 0600, NULL));
	IN_CHILD("other user", {
		MUST(setresuid(1000, 1000, 1000));
		CHECK("opens", mq_open("/mine", O_RDONLY));
		CHECK("reads", open("mq/mine", O_RDONLY));
		CHECK("unlinks", unlink("mq/mine"));
		CHECK("mq_unlinks", mq_unlink("/mine"));
		WORKS("makes", mq_open("/his", O_CREAT | O_RDWR, 0600, NULL));
		CHECK("removes", unlink("mq/his"));
	});
	SHOW(mq_unlink("/mine"));
	SHOW(umount("mq"));
	return 0;
}
