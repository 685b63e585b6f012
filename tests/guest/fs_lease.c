/* Leases: who may have one, what breaks it, whom it tells, who waits and until when. */
#include "common.h"
#include <pthread.h>

static const char *kind(int type)
{
	return type == F_RDLCK ? "read" : type == F_WRLCK ? "write" : type == F_UNLCK ? "none" : "?";
}

static void held(const char *name, int fd)
{
	printf("%s: %s\n", name, kind(fcntl(fd, F_GETLEASE)));
}

static volatile sig_atomic_t told, told_fd, told_code;
static volatile long told_band;

static void on_told(int signo, siginfo_t *info, void *context)
{
	(void)context;
	told = signo;
	told_fd = info->si_fd;
	told_code = info->si_code;
	told_band = info->si_band;
}

static void on_plain(int signo) { told = signo; }

static void errors(void)
{
	int rd = open("f", O_RDONLY), wr = open("f", O_WRONLY), dir = open(".", O_RDONLY), path = open("f", O_PATH), p[2];

	MUST(pipe(p));
	SHOW(fcntl(rd, F_SETLEASE, 7));
	SHOW(fcntl(-1, F_SETLEASE, F_RDLCK));
	SHOW(fcntl(path, F_SETLEASE, F_RDLCK));
	SHOW(fcntl(dir, F_SETLEASE, F_WRLCK));
	SHOW(fcntl(p[0], F_SETLEASE, F_RDLCK));
	SHOW(fcntl(rd, F_SETLEASE, F_RDLCK));
	SHOW(fcntl(rd, F_SETLEASE, F_WRLCK));
	SHOW(fcntl(wr, F_SETLEASE, F_RDLCK));
	SHOW(fcntl(wr, F_SETLEASE, F_WRLCK));
	SHOW(fcntl(rd, F_SETLEASE, F_UNLCK));
	held("nothing", rd);
	held("of a pipe", p[0]);
	close(wr);
	SHOW(fcntl(rd, F_SETLEASE, F_RDLCK));
	held("read lease", rd);
	TRUE("owner", fcntl(rd, F_GETOWN) == getpid());
	SHOW(fcntl(rd, F_SETLEASE, F_WRLCK));
	held("grown", rd);
	int other = open("f", O_RDONLY | O_NONBLOCK);
	TRUE("a second reader", other == -1 && errno == EAGAIN);
	held("broken", rd);
	SHOW(fcntl(rd, F_SETLEASE, F_WRLCK));
	SHOW(fcntl(rd, F_SETLEASE, F_RDLCK));
	held("given way", rd);
	other = open("f", O_RDONLY | O_NONBLOCK);
	SHOW(fcntl(other, F_SETLEASE, F_RDLCK));
	SHOW(fcntl(rd, F_SETLEASE, F_WRLCK));
	SHOW(fcntl(other, F_SETLEASE, F_UNLCK));
	SHOW(fcntl(other, F_SETLEASE, F_UNLCK));
	int copy = dup(rd);
	held("of a duplicate", copy);
	close(rd);
	held("is still there", copy);
	SHOW(fcntl(copy, F_SETLEASE, F_UNLCK));
	SHOW(fcntl(copy, F_GETOWN));
	close(copy);
	close(other);
	close(dir);
	close(path);
	close(p[0]);
	close(p[1]);
}

/* Not the owner's, and without the capability. */
static void owners(void)
{
	int fd = open("f", O_RDONLY);

	MUST(fchmod(fd, 0644));
	IN_CHILD("a stranger", {
		MUST(setresuid(1000, 1000, 1000));
		SHOW(fcntl(fd, F_SETLEASE, F_RDLCK));
		SHOW(fcntl(fd, F_SETLEASE, F_UNLCK));
		SHOW(fcntl(fd, F_SETLEASE, 9));
	});
	close(fd);
}

static int opens;

static void *opener(void *flags)
{
	int fd = open("f", (int)(long)flags);

	__atomic_store_n(&opens, fd >= 0 ? 1 : -errno, __ATOMIC_RELEASE);
	if (fd >= 0)
		close(fd);
	return NULL;
}

static void *truncater(void *length)
{
	__atomic_store_n(&opens, truncate("f", (long)length) ? -errno : 1, __ATOMIC_RELEASE);
	return NULL;
}

static void await_told(void)
{
	for (long end = now_ms() + 10000; !told && now_ms() < end;)
		sleep_ms(1);
}

/* One who breaks a lease waits until its holder, who is told, gives way. */
static void broken(const char *name, int flags, int lease, void *(*breaker)(void *), long arg, int then)
{
	pthread_t thread;
	int fd = open("f", flags);

	printf("-- %s\n", name);
	told = told_fd = told_code = opens = 0;
	told_band = 0;
	SHOW(fcntl(fd, F_SETSIG, SIGUSR1));
	SHOW(fcntl(fd, F_SETLEASE, lease));
	pthread_create(&thread, NULL, breaker, (void *)arg);
	await_told();
	printf("told by %d, code %d, band %lx, right descriptor %d\n", told == SIGUSR1, told_code, told_band, told_fd == fd);
	held("while it is broken", fd);
	sleep_ms(50);
	printf("waits: %d\n", __atomic_load_n(&opens, __ATOMIC_ACQUIRE) == 0);
	if (then < 0)
		close(fd);
	else
		SHOW(fcntl(fd, F_SETLEASE, then));
	pthread_join(thread, NULL);
	printf("opened: %d\n", opens);
	if (then >= 0)
		close(fd);
}

static void interrupted(int restart)
{
	int fd = open("f", O_RDONLY), status;
	struct sigaction sa = { .sa_handler = on_plain, .sa_flags = restart };

	sigaction(SIGALRM, &sa, NULL);
	told = 0;
	signal(SIGIO, on_plain);
	SHOW(fcntl(fd, F_SETLEASE, F_RDLCK));
	fflush(stdout);
	pid_t pid = fork();
	if (!pid) {
		close(fd);
		errno = 0;
		int got = open("f", O_WRONLY);
		_exit(got >= 0 ? 0 : errno);
	}
	await_told();
	printf("told by SIGIO: %d\n", told == SIGIO);
	sleep_ms(50);
	kill(pid, SIGALRM);
	sleep_ms(50);
	if (restart)
		SHOW(fcntl(fd, F_SETLEASE, F_UNLCK));
	MUST(waitpid(pid, &status, 0));
	printf("restart %d: %s\n", !!restart, WEXITSTATUS(status) ? strerrorname_np(WEXITSTATUS(status)) : "opened");
	close(fd);
}

static int parameter(const char *path, const char *value)
{
	int fd = open(path, O_RDWR);
	int n = fd < 0 ? -1 : (int)write(fd, value, strlen(value));

	close(fd);
	return n < 0 ? -1 : 0;
}

static void times(void)
{
	const char *path = "/proc/sys/fs/lease-break-time";
	int fd = open("f", O_RDONLY);

	SHOW(parameter(path, "1"));
	signal(SIGIO, SIG_IGN);
	SHOW(fcntl(fd, F_SETLEASE, F_RDLCK));
	long start = now_ms();
	int wr = open("f", O_WRONLY);
	long took = now_ms() - start;
	TRUE("opened in time", wr >= 0 && took >= 800 && took < 8000);
	held("taken away", fd);
	SHOW(parameter(path, "45"));
	close(wr);
	close(fd);
}

int main(void)
{
	struct sigaction sa = { .sa_sigaction = on_told, .sa_flags = SA_SIGINFO | SA_RESTART };

	signal(SIGIO, SIG_IGN);
	sigaction(SIGUSR1, &sa, NULL);
	close(open("f", O_RDWR | O_CREAT, 0644));
	errors();
	owners();
	broken("a writer and a read lease", O_RDONLY, F_RDLCK, opener, O_WRONLY, F_UNLCK);
	broken("a reader and a write lease", O_RDONLY, F_WRLCK, opener, O_RDONLY, F_RDLCK);
	broken("a reader and a write lease that ends", O_RDWR, F_WRLCK, opener, O_RDONLY, F_UNLCK);
	broken("a writer and a write lease", O_RDWR, F_WRLCK, opener, O_RDWR, F_UNLCK);
	broken("a writer and a lease whose file is closed", O_RDONLY, F_RDLCK, opener, O_RDWR, -1);
	broken("truncation", O_RDONLY, F_RDLCK, truncater, 10, F_UNLCK);
	interrupted(0);
	interrupted(SA_RESTART);
	if (geteuid() == 0)
		times();
	return 0;
}
