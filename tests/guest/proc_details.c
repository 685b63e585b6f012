/* Files of /proc that are read less often: System V IPC, slack, the elder OOM scale, statistics of mounts. */
#include "common.h"
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>

static int slurp(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t n = fd == -1 ? -1 : read(fd, text, size - 1);

	text[n < 0 ? 0 : n] = 0;
	if (fd != -1)
		close(fd);
	return n < 0 ? -1 : 0;
}

static void show(const char *path)
{
	char text[4096];

	CHECK(path, slurp(path, text, sizeof(text)));
	printf("%s", text);
	fflush(stdout);
}

static long put(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY);
	long n = fd == -1 ? -1 : write(fd, value, strlen(value));
	int error = errno;

	if (fd != -1)
		close(fd);
	errno = error;
	return n;
}

/* The line of an object, without what differs from run to run. */
static void row(const char *path, int id, const char *format)
{
	char text[65536], want[32], *line;

	slurp(path, text, sizeof(text));
	line = strtok(text, "\n");
	printf("%s\n", line);
	snprintf(want, sizeof(want), "%d", id);
	while ((line = strtok(NULL, "\n"))) {
		int key, its;
		unsigned mode;
		unsigned long one, two;

		sscanf(line, "%d %d %o %lu %lu", &key, &its, &mode, &one, &two);
		if (its == id)
			printf(format, key, mode, one, two);
	}
	fflush(stdout);
}

int main(void)
{
	int shm = shmget(0x1234567, 8192, IPC_CREAT | 0640), sem = semget(IPC_PRIVATE, 3, 0600);
	int msg = msgget(IPC_PRIVATE, 0606);
	struct { long type; char text[5]; } message = { 1, "hello" };

	MUST(msgsnd(msg, &message, 5, 0));
	row("/proc/sysvipc/shm", shm, "key %x mode %o size %lu\n");
	row("/proc/sysvipc/sem", sem, "key %x mode %o count %lu\n");
	row("/proc/sysvipc/msg", msg, "key %x mode %o bytes %lu messages %lu\n");
	shmctl(shm, IPC_RMID, NULL);
	semctl(sem, 0, IPC_RMID);
	msgctl(msg, IPC_RMID, NULL);

	show("/proc/self/timerslack_ns");
	SHOW(put("/proc/self/timerslack_ns", "70000\n"));
	SHOW(prctl(PR_GET_TIMERSLACK));
	SHOW(put("/proc/self/timerslack_ns", "0"));
	SHOW(prctl(PR_GET_TIMERSLACK));
	SHOW(put("/proc/self/timerslack_ns", "x"));
	IN_CHILD("oom", {
		SHOW(put("/proc/self/oom_adj", "8"));
		show("/proc/self/oom_score_adj");
		SHOW(put("/proc/self/oom_score_adj", "500"));
		show("/proc/self/oom_adj");
		SHOW(put("/proc/self/oom_adj", "15"));
		show("/proc/self/oom_score_adj");
		show("/proc/self/oom_adj");
		SHOW(put("/proc/self/oom_adj", "16"));
		SHOW(put("/proc/self/oom_adj", "-18"));
		SHOW(put("/proc/self/oom_adj", "nine"));
	});
	show("/proc/self/timens_offsets");
	show("/proc/self/projid_map");
	show("/proc/execdomains");
	char text[65536];
	SHOW(slurp("/proc/self/mountstats", text, sizeof(text)));
	TRUE("has the root", strstr(text, " mounted on / with fstype ") != NULL);
	unsigned long run, wait, turns;
	SHOW(slurp("/proc/self/schedstat", text, sizeof(text)));
	SHOW(sscanf(text, "%lu %lu %lu", &run, &wait, &turns));
	TRUE("has run", run > 0);
	SHOW(slurp("/proc/self/sessionid", text, sizeof(text)));
	SHOW(slurp("/proc/self/cpuset", text, sizeof(text)));
	TRUE("of the root", strcmp(text, "/\n") == 0);
	return 0;
}
