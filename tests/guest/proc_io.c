/* /proc/self/io: what counts as a read and a write. */
#include "common.h"
#include <sys/socket.h>
#include <sys/uio.h>

static long field(const char *name)
{
	char text[512] = "", *at;
	int fd = open("/proc/self/io", O_RDONLY);

	MUST(read(fd, text, sizeof(text) - 1));
	close(fd);
	at = strstr(text, name);
	return at ? atol(at + strlen(name) + 2) : -1;
}

/* The file itself is read, so what is read is counted only in calls. */
#define COUNT(name, action) \
	do { \
		long before = field(name); \
		errno = 0; \
		long result = (action); \
		printf("%s: %ld, %s %+ld\n", #action, result, name, field(name) - before); \
	} while (0)

int main(void)
{
	char buf[100] = "";
	int fd = open("file", O_RDWR | O_CREAT, 0600), p[2], s[2];
	struct iovec two[] = { { buf, 1 }, { buf, 2 } };

	MUST(pipe(p));
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	COUNT("wchar", write(fd, buf, 50));
	COUNT("syscw", write(fd, buf, 50));
	COUNT("syscr", pread(fd, buf, 100, 0));
	COUNT("syscr", pread(fd, buf, 100, 1000));
	COUNT("syscr", 0);
	COUNT("wchar", write(p[1], buf, 10));
	COUNT("syscw", write(p[1], buf, 10));
	COUNT("syscr", read(p[0], buf, 100));
	COUNT("wchar", write(s[0], buf, 10));
	COUNT("syscw", write(s[0], buf, 5));
	COUNT("wchar", send(s[0], buf, 10, 0));
	COUNT("syscw", write(-1, buf, 1));
	COUNT("syscw", write(fd, (void *)8, 1));
	COUNT("wchar", write(fd, (void *)8, 1));
	COUNT("syscw", writev(fd, two, 2));
	COUNT("wchar", writev(fd, two, 2));
	COUNT("syscw", write(fd, buf, 0));
	TRUE("read something", field("rchar") > 100);
	return 0;
}
