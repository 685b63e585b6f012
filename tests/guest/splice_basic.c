/* splice(2), tee(2), vmsplice(2), sendfile(2). */
#include "common.h"
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

static char buf[1 << 18];

int main(void)
{
	int p[2], q[2], s[2], status;
	char path[64];
	snprintf(path, sizeof path, "/tmp/splice-%d", getpid());
	int f = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	MUST(f);
	unlink(path);
	for (int i = 0; i < (int)sizeof buf; i++)
		buf[i] = i * 7;
	SHOW(write(f, buf, 200000));
	MUST(pipe(p));
	MUST(pipe(q));
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	off_t off = 10;
	SHOW(sendfile(s[0], f, &off, 1000));
	printf("offset %ld position %ld\n", (long)off, (long)lseek(f, 0, SEEK_CUR));
	char in[5000];
	SHOW(recv(s[1], in, sizeof in, 0));
	TRUE("same bytes", memcmp(in, buf + 10, 1000) == 0);
	SHOW(lseek(f, 199000, SEEK_SET));
	SHOW(sendfile(p[1], f, NULL, 5000));
	printf("position %ld\n", (long)lseek(f, 0, SEEK_CUR));
	SHOW(sendfile(p[1], f, NULL, 5000));
	SHOW(tee(p[0], q[1], 400, 0));
	SHOW(read(p[0], in, sizeof in));
	SHOW(read(q[0], in, sizeof in));
	CHECK("sendfile from a pipe", sendfile(s[0], p[0], NULL, 10));
	off = -1;
	CHECK("negative offset", sendfile(s[0], f, &off, 10));
	CHECK("to the read end", sendfile(p[0], f, NULL, 10));

	loff_t at = 5;
	SHOW(splice(f, &at, p[1], NULL, 3000, 0));
	printf("offset %ld\n", (long)at);
	SHOW(splice(p[0], NULL, q[1], NULL, 1000, 0));
	SHOW(read(q[0], in, sizeof in));
	TRUE("same bytes", memcmp(in, buf + 5, 1000) == 0);
	SHOW(splice(p[0], NULL, s[0], NULL, 9999, 0));
	SHOW(recv(s[1], in, sizeof in, 0));
	TRUE("same bytes", memcmp(in, buf + 1005, 2000) == 0);
	SHOW(splice(p[0], NULL, s[0], NULL, 10, SPLICE_F_NONBLOCK));
	SHOW(splice(p[0], &at, s[0], NULL, 10, 0));
	SHOW(splice(f, NULL, s[0], NULL, 10, 0));
	SHOW(splice(p[0], NULL, p[1], NULL, 10, 0));
	SHOW(splice(f, NULL, p[1], NULL, 10, 0x100));
	SHOW(splice(p[1], NULL, q[1], NULL, 10, 0));
	SHOW(splice(99, NULL, q[1], NULL, 10, 0));
	SHOW(splice(p[0], NULL, q[1], NULL, 0, 0));
	SHOW(tee(f, q[1], 10, 0));
	SHOW(tee(p[0], p[1], 10, 0));
	SHOW(tee(p[0], q[1], 10, SPLICE_F_NONBLOCK));
	lseek(f, 0, SEEK_SET);
	SHOW(splice(f, NULL, p[1], NULL, 1 << 20, SPLICE_F_NONBLOCK));
	SHOW(splice(f, NULL, p[1], NULL, 1 << 20, SPLICE_F_NONBLOCK));
	int g = open("/tmp", O_TMPFILE | O_RDWR, 0600);
	at = 100;
	SHOW(splice(p[0], NULL, g, &at, 1 << 20, 0));
	printf("offset %ld size %ld\n", (long)at, (long)lseek(g, 0, SEEK_END));
	fcntl(g, F_SETFL, O_APPEND);
	SHOW(write(p[1], "x", 1));
	SHOW(splice(p[0], NULL, g, NULL, 1, 0));
	SHOW(read(p[0], in, 1));

	struct iovec iov[2] = { { "abc", 3 }, { "defg", 4 } };
	SHOW(vmsplice(p[1], iov, 2, 0));
	char a[2], b[10];
	struct iovec to[2] = { { a, 2 }, { b, 10 } };
	SHOW(vmsplice(p[0], to, 2, 0));
	printf("%.2s %.5s\n", a, b);
	SHOW(vmsplice(f, iov, 2, 0));
	SHOW(vmsplice(p[0], to, 2, SPLICE_F_NONBLOCK));

	pid_t pid = fork();
	if (pid == 0) {
		close(p[1]);
		long total = 0, n;
		while ((n = read(p[0], buf, 3000)) > 0)
			total += n;
		_exit(total == 200000 ? 7 : 1);
	}
	off = 0;
	long moved = 0, n;
	while ((n = sendfile(p[1], f, &off, 1 << 20)) > 0)
		moved += n;
	printf("moved %ld\n", moved);
	close(p[1]);
	close(p[0]);
	waitpid(pid, &status, 0);
	report_status("reader of a sent file", status);
	MUST(pipe(p));
	close(p[0]);
	off = 0;
	IN_CHILD("no reader", sendfile(p[1], f, &off, 10));
	close(q[1]);
	SHOW(splice(q[0], NULL, f, NULL, 10, 0));
	return 0;
}
