/* F_NOTIFY: signals when something changes in a directory. And locks as /proc/locks shows them. */
#include "common.h"
#include <sys/file.h>

static volatile sig_atomic_t signo, code, fd_told, band;
static int dir;

static void handler(int nr, siginfo_t *info, void *context)
{
	(void)context;
	signo = nr, code = info->si_code, fd_told = info->si_fd, band = info->si_band;
}

/* Does something and tells which signal came of it. */
#define AFTER(action) \
	do { \
		signo = 0; \
		MUST(action); \
		sleep_ms(5); \
		if (signo == SIGIO) \
			printf(#action ": SIGIO\n"); \
		else if (signo) \
			printf(#action ": real-time code %d own %d band %#x\n", code, fd_told == dir, band); \
		else \
			printf(#action ": nothing\n"); \
	} while (0)

static int touch(const char *name)
{
	int fd = open(name, O_CREAT | O_WRONLY, 0600);

	return fd == -1 ? -1 : close(fd);
}

static int put(const char *name)
{
	int fd = open(name, O_WRONLY);
	int n = write(fd, "x", 1);

	close(fd);
	return n;
}

static int get(const char *name)
{
	char c;
	int fd = open(name, O_RDONLY), n = read(fd, &c, 1);

	close(fd);
	return n;
}

static void directories(void)
{
	int file = open("d/file", O_RDWR | O_CREAT, 0600), path = open("d", O_PATH), p[2];

	MUST(pipe(p));
	SHOW(fcntl(file, F_NOTIFY, DN_CREATE));
	SHOW(fcntl(file, F_NOTIFY, 0));
	SHOW(fcntl(p[0], F_NOTIFY, DN_CREATE));
	SHOW(fcntl(path, F_NOTIFY, DN_CREATE));
	SHOW(fcntl(999, F_NOTIFY, DN_CREATE));
	SHOW(fcntl(dir, F_NOTIFY, DN_CREATE));
	TRUE("owner", fcntl(dir, F_GETOWN) == getpid());
	AFTER(put("d/file"));
	AFTER(touch("d/one"));
	AFTER(touch("d/two"));
	SHOW(fcntl(dir, F_NOTIFY, DN_CREATE | DN_MULTISHOT));
	AFTER(touch("d/three"));
	AFTER(touch("d/four"));
	AFTER(touch("outside"));
	AFTER(rename("outside", "d/inside"));
	AFTER(unlink("d/four"));
	SHOW(fcntl(dir, F_NOTIFY, DN_DELETE | DN_MULTISHOT));
	AFTER(unlink("d/three"));
	AFTER(touch("d/three"));
	SHOW(fcntl(dir, F_NOTIFY, 0));
	AFTER(touch("d/four"));
	SHOW(fcntl(dir, F_SETSIG, SIGRTMIN));
	SHOW(fcntl(dir, F_NOTIFY, DN_MODIFY | DN_ATTRIB | DN_MULTISHOT));
	AFTER(put("d/one"));
	AFTER(chmod("d/one", 0640));
	AFTER(chmod("d", 0750));
	AFTER(get("d/one"));
	SHOW(fcntl(dir, F_NOTIFY, 0));
	SHOW(fcntl(dir, F_NOTIFY, DN_ACCESS));
	AFTER(get("d/one"));
	AFTER(get("d/one"));
	SHOW(fcntl(dir, F_NOTIFY, DN_RENAME | DN_MULTISHOT));
	AFTER(rename("d/one", "d/uno"));
	AFTER(touch("d/more"));
	int other = dup(dir);
	SHOW(fcntl(dir, F_NOTIFY, DN_CREATE | DN_MULTISHOT));
	close(other);
	AFTER(touch("d/most"));
	close(file), close(path), close(p[0]), close(p[1]);
}

static void locks(void)
{
	int fd = open("locked", O_RDWR | O_CREAT, 0600), again = open("locked", O_RDWR);
	struct flock range = { .l_type = F_WRLCK, .l_start = 10, .l_len = 5 }, rest = { .l_type = F_RDLCK, .l_start = 100 };
	struct stat st;
	char line[256], place[64];
	FILE *f;

	MUST(fcntl(fd, F_SETLK, &range));
	MUST(fcntl(again, F_OFD_SETLK, &rest));
	MUST(flock(fd, LOCK_SH));
	fstat(fd, &st);
	snprintf(place, sizeof(place), ":%lu ", (long)st.st_ino);
	f = fopen("/proc/locks", "r");
	int posix = 0, ofd = 0, whole = 0;
	while (fgets(line, sizeof(line), f)) {
		char kind[16], advisory[16], mode[16], at[64], start[32], end[32];
		int nr, pid;
		if (!strstr(line, place) || sscanf(line, "%d: %15s %15s %15s %d %63s %31s %31s", &nr, kind, advisory, mode, &pid, at, start, end) != 8)
			continue;
		int own = pid == getpid();
		posix += !strcmp(kind, "POSIX") && own && !strcmp(mode, "WRITE") && !strcmp(start, "10") && !strcmp(end, "14");
		ofd += !strcmp(kind, "OFDLCK") && pid == -1 && !strcmp(mode, "READ") && !strcmp(start, "100") && !strcmp(end, "EOF");
		whole += !strcmp(kind, "FLOCK") && own && !strcmp(mode, "READ") && !strcmp(start, "0") && !strcmp(end, "EOF");
	}
	printf("locks: %d %d %d\n", posix, ofd, whole);
	fclose(f);
}

int main(void)
{
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART };

	sigaction(SIGIO, &sa, NULL);
	sigaction(SIGRTMIN, &sa, NULL);
	MUST(mkdir("d", 0700));
	dir = open("d", O_RDONLY);
	directories();
	close(dir);
	AFTER(touch("d/after"));
	locks();
	return 0;
}
