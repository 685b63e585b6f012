/* What a careful reading of the design asked for: layouts of successive programs differ, children made at once keep
 * their own users, a process stays readable to the machinery whoever it becomes, and a storm of short-lived children
 * and threads mixes nobody up. */
#include "common.h"
#include <elf.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/prctl.h>

/* Programs in a row: their stacks, mappings and vDSOs must not stand where the last ones stood. */
enum { LAYOUTS = 6, PLACES = 3 };

static void print_layout(void)
{
	int here;
	void *map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	printf("%lx %lx %lx\n", (long)map, (long)&here, getauxval(AT_SYSINFO_EHDR));
}

static void layouts(const char *self)
{
	unsigned long seen[LAYOUTS][PLACES];
	int same[PLACES] = { 0 };
	char command[4200];

	snprintf(command, sizeof(command), "exec %s layout", self);
	for (int n = 0; n < LAYOUTS; n++) {
		FILE *out = popen(command, "r");
		if (fscanf(out, "%lx %lx %lx", &seen[n][0], &seen[n][1], &seen[n][2]) != PLACES)
			exit(1);
		pclose(out);
		for (int before = 0; before < n; before++)
			for (int place = 0; place < PLACES; place++)
				same[place] += seen[before][place] == seen[n][place];
	}
	TRUE("mappings differ", same[0] == 0);
	TRUE("stacks differ", same[1] == 0);
	TRUE("vDSOs differ", same[2] == 0);
}

/* Two users that fork at the same time, over and over: each child must be its own parent's. */
enum { ROUNDS = 60 };

static int forks_as(uid_t uid, int secret)
{
	volatile int mine = secret;

	MUST(setresgid(uid, uid, uid));
	MUST(setresuid(uid, uid, uid));
	for (int n = 0; n < ROUNDS; n++) {
		pid_t parent = getpid(), child = fork();
		int status;

		if (child == 0) {
			uid_t r, e, s;
			getresuid(&r, &e, &s);
			_exit(mine == secret && r == uid && e == uid && s == uid && getppid() == parent ? 7 : 1);
		}
		if (child == -1 || waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 7)
			return 1;
	}
	return 0;
}

static void two_users(void)
{
	pid_t children[4];
	int status, good = 0;

	for (int n = 0; n < 4; n++)
		if ((children[n] = fork()) == 0)
			_exit(forks_as(1000 + n, n * 1000003));
	for (int n = 0; n < 4; n++)
		good += waitpid(children[n], &status, 0) > 0 && status == 0;
	printf("users that forked at once: %d\n", good);
}

/* Whoever a process becomes, and however it guards itself, calls with memory go on working; its core is nobody's. */
static void stays_readable(void)
{
	char name[16] = "";

	MUST(setresuid(1000, 1000, 1000));
	SHOW(prctl(PR_GET_DUMPABLE));
	CHECK("reads a path", access("/", F_OK));
	SHOW(prctl(PR_SET_DUMPABLE, 0));
	CHECK("reads a path", access("/", F_OK));
	CHECK("writes a name", prctl(PR_GET_NAME, name));
	int fd = open("/dev/zero", O_RDONLY);
	CHECK("writes a buffer", read(fd, name, sizeof(name)));
	IN_CHILD("its child", {
		CHECK("reads a path", access("/", F_OK));
		CHECK("dumpable", prctl(PR_GET_DUMPABLE));
	});
	signal(SIGSEGV, SIG_DFL);
	*(volatile int *)8 = 1;
}

/* Threads and children come and go at once; ids of the living are never shared. */
enum { STORM_THREADS = 4, STORM_ROUNDS = 50 };

static void *nothing(void *arg)
{
	return arg;
}

static void *storm(void *arg)
{
	long bad = 0;

	(void)arg;
	for (long n = 0; n < STORM_ROUNDS; n++) {
		pthread_t thread;
		void *back;
		int status;

		pid_t child = fork();
		if (child == 0)
			_exit(n & 0x7f);
		if (pthread_create(&thread, NULL, nothing, (void *)n) || pthread_join(thread, &back) || back != (void *)n)
			bad++;
		if (child == -1 || waitpid(child, &status, 0) != child || status != (n & 0x7f) << 8)
			bad++;
		if (child == gettid())
			bad++;
	}
	return (void *)bad;
}

static void storms(void)
{
	pthread_t threads[STORM_THREADS];
	long bad = 0;

	for (int n = 0; n < STORM_THREADS; n++)
		pthread_create(&threads[n], NULL, storm, NULL);
	for (int n = 0; n < STORM_THREADS; n++) {
		void *one;
		pthread_join(threads[n], &one);
		bad += (long)one;
	}
	printf("mixed up: %ld\n", bad);
	CHECK("nobody left", waitpid(-1, NULL, WNOHANG));
}

/* Callers that die while their calls are being answered trouble nobody. */
enum { KILLS = 150 };

static void call_for_ever(void)
{
	static char much[1 << 20];
	int fd = open("/dev/zero", O_RDONLY);

	for (;;)
		if (read(fd, much, sizeof(much)) == -1)
			exit(1);
}

static void killed_callers(const char *self)
{
	int status, killed = 0;

	for (int n = 0; n < KILLS; n++) {
		pid_t child = fork();
		if (child == 0 && n % 2)
			call_for_ever();
		/* A program of its own has its calls answered elsewhere than its killer's. */
		if (child == 0)
			exit(execl(self, self, "call", NULL));
		usleep(1000 + n * 7);
		kill(child, SIGKILL);
		killed += waitpid(child, &status, 0) == child && WTERMSIG(status) == SIGKILL;
	}
	printf("killed: %d\n", killed);
}

/* So many mappings that no list of them fits into one read. */
enum { MAPPINGS = 4000, PAGE = 4096 };

static void many_mappings(void)
{
	char *area = mmap(NULL, MAPPINGS * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned long start, end;
	char line[4400], prot[5], name[4096];
	int fd = open("mapped", O_RDWR | O_CREAT, 0600), seen = 0, low = 0;
	FILE *maps = fopen("/proc/self/maps", "r");

	MUST(ftruncate(fd, PAGE));
	for (int n = 0; n < MAPPINGS; n += 2)
		MUST(mprotect(area + n * PAGE, PAGE, PROT_READ | PROT_WRITE));
	char *file = mmap(area + (MAPPINGS / 2 + 1) * PAGE, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
	while (fgets(line, sizeof(line), maps)) {
		*name = 0;
		if (sscanf(line, "%lx-%lx %4s %*s %*s %*s %4095s", &start, &end, prot, name) < 3)
			printf("odd line: %s", line);
		if (start == (uintptr_t)file)
			printf("file: %s %s\n", prot, strrchr(name, '/'));
		/* Below where programs are, nobody has mapped anything. */
		low += end <= 0x200000;
		seen += start >= (uintptr_t)area && end <= (uintptr_t)area + MAPPINGS * PAGE && end == start + PAGE;
	}
	printf("seen: %d, below programs: %d\n", seen, low);
	fclose(maps);
	close(fd);
	munmap(area, MAPPINGS * PAGE);
}

/* However many threads wait in calls, another one's calls are quick. */
enum { BLOCKED = 1000, CALLS = 3000 };

static int ends[2];

static void *block(void *arg)
{
	char c;

	return (void *)(read(ends[0], &c, 1) + (long)arg);
}

static long calls(void)
{
	long best = -1;

	for (int round = 0; round < 5; round++) {
		struct timespec a, b;
		clock_gettime(CLOCK_MONOTONIC, &a);
		for (int n = 0; n < CALLS; n++)
			access("/", F_OK);
		clock_gettime(CLOCK_MONOTONIC, &b);
		long took = (b.tv_sec - a.tv_sec) * 1000000 + (b.tv_nsec - a.tv_nsec) / 1000;
		best = best == -1 || took < best ? took : best;
	}
	return best;
}

static void many_blocked(void)
{
	pthread_t threads[BLOCKED];
	pthread_attr_t attr;
	long alone = calls(), beside, woken = 0;

	MUST(pipe(ends));
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 65536);
	for (int n = 0; n < BLOCKED; n++)
		if (pthread_create(&threads[n], &attr, block, NULL))
			exit(1);
	sleep_ms(200);
	beside = calls();
	TRUE("quick beside many blocked", beside < 8 * alone + 5000);
	for (int n = 0; n < BLOCKED; n++)
		MUST(write(ends[1], "x", 1));
	for (int n = 0; n < BLOCKED; n++) {
		void *got;
		pthread_join(threads[n], &got);
		woken += (long)got;
	}
	printf("woken: %ld\n", woken);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "storm") == 0) {
		storms();
		return 0;
	}
	if (argc > 1 && strcmp(argv[1], "call") == 0)
		call_for_ever();
	if (argc > 1) {
		print_layout();
		return 0;
	}
	char self[4096] = "";
	MUST(readlink("/proc/self/exe", self, sizeof(self) - 1));
	layouts(self);
	two_users();
	IN_CHILD("another user", stays_readable());
	storms();
	killed_callers(self);
	many_mappings();
	many_blocked();
	return 0;
}
