/* ipc_namespaces(7): System V objects and message queues of their own, what is attached or to be undone on the way. */
#include "common.h"
#include <mqueue.h>
#include <sched.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#define KEY 0x4e5349

static void link_of(const char *path, char *out, size_t size)
{
	ssize_t n = readlink(path, out, size - 1);

	out[n < 0 ? 0 : n] = 0;
}

static int lines(const char *path)
{
	FILE *f = fopen(path, "r");
	int c, n = 0;

	while (f && (c = fgetc(f)) != EOF)
		n += c == '\n';
	if (f)
		fclose(f);
	return n;
}

/* What can be found of the objects made before. */
static void look(const char *name)
{
	printf("%s:\n", name);
	WORKS("  queue", msgget(KEY, 0));
	WORKS("  semaphores", semget(KEY, 0, 0));
	WORKS("  segment", shmget(KEY, 0, 0));
	mqd_t mq;
	WORKS("  mqueue", mq = mq_open("/ns_ipc", O_RDONLY));
	if (mq != (mqd_t)-1)
		mq_close(mq);
	printf("  proc %d %d %d\n", lines("/proc/sysvipc/msg"), lines("/proc/sysvipc/sem"), lines("/proc/sysvipc/shm"));
}

static int own_objects(void)
{
	WORKS("own queue", msgget(KEY, IPC_CREAT | IPC_EXCL | 0600));
	WORKS("own semaphores", semget(KEY, 1, IPC_CREAT | IPC_EXCL | 0600));
	WORKS("own segment", shmget(KEY, 8192, IPC_CREAT | IPC_EXCL | 0600));
	WORKS("own mqueue", mq_open("/ns_ipc", O_CREAT | O_EXCL | O_RDWR, 0600, NULL));
	printf("id of the first queue %d\n", msgget(KEY, 0));
	return 0;
}

static int in_clone(void *arg)
{
	(void)arg;
	look("in a clone");
	own_objects();
	return 0;
}

static void by_unshare(void)
{
	char before[64], after[64];

	link_of("/proc/self/ns/ipc", before, sizeof(before));
	CHECK("unshare", unshare(CLONE_NEWIPC));
	link_of("/proc/self/ns/ipc", after, sizeof(after));
	TRUE("another", strcmp(before, after) != 0 && !strncmp(after, "ipc:[", 5));
	look("after unshare");
	own_objects();
}

/* What is attached stays so, is seen by its old namespace, and can be detached. */
static void attached(void)
{
	int id = shmget(KEY, 0, 0), other = open("/proc/self/ns/ipc", O_RDONLY);
	struct shmid_ds ds;
	char *at = shmat(id, NULL, 0);

	TRUE("attached", at != (void *)-1);
	strcpy(at, "kept");
	MUST(unshare(CLONE_NEWIPC));
	printf("%s\n", at);
	CHECK("stat in the new one", shmctl(id, IPC_STAT, &ds));
	MUST(setns(other, CLONE_NEWIPC));
	CHECK("stat in the old one", shmctl(id, IPC_STAT, &ds));
	printf("attached %d\n", (int)ds.shm_nattch);
	MUST(unshare(CLONE_NEWIPC));
	CHECK("detach in a new one", shmdt(at));
	CHECK("again", shmdt(at));
	MUST(setns(other, CLONE_NEWIPC));
	CHECK("stat", shmctl(id, IPC_STAT, &ds));
	printf("attached %d\n", (int)ds.shm_nattch);
}

static int value(void)
{
	return semctl(semget(KEY, 0, 0), 0, GETVAL);
}

/* SEM_UNDO is done on the way out. */
static void undone(void)
{
	int other = open("/proc/self/ns/ipc", O_RDONLY);
	struct sembuf up = { 0, 3, SEM_UNDO };

	CHECK("up", semop(semget(KEY, 0, 0), &up, 1));
	CHECK("value", value());
	MUST(unshare(CLONE_NEWIPC));
	MUST(setns(other, CLONE_NEWIPC));
	CHECK("value after unshare", value());
	CHECK("up", semop(semget(KEY, 0, 0), &up, 1));
	CHECK("unshare of undo alone", unshare(CLONE_SYSVSEM));
	CHECK("value after that", value());
}

static void refused(void)
{
	static char stack[65536];
	int ipc = open("/proc/self/ns/ipc", O_RDONLY);

	CHECK("clone with SYSVSEM", clone(in_clone, stack + sizeof(stack), CLONE_NEWIPC | CLONE_SYSVSEM | SIGCHLD, NULL));
	CHECK("setns of another kind", setns(ipc, CLONE_NEWUTS));
	MUST(setresuid(1000, 1000, 1000));
	CHECK("unshare without privilege", unshare(CLONE_NEWIPC));
	CHECK("clone without privilege", clone(in_clone, stack + sizeof(stack), CLONE_NEWIPC | SIGCHLD, NULL));
	CHECK("setns without privilege", setns(ipc, CLONE_NEWIPC));
}

static void mounted(void)
{
	struct stat st;

	MUST(unshare(CLONE_NEWNS | CLONE_NEWIPC));
	MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	CHECK("mount", mount("mqueue", "/tmp", "mqueue", 0, NULL));
	CHECK("the old one's", stat("/tmp/ns_ipc", &st));
	WORKS("make", mq_open("/of_mine", O_CREAT | O_RDWR, 0600, NULL));
	CHECK("the new one's", stat("/tmp/of_mine", &st));
}

/* Another view of control groups, of which there is one to see. */
static void control_groups(void)
{
	char before[64], after[64];
	int other = open("/proc/self/ns/cgroup", O_RDONLY);

	link_of("/proc/self/ns/cgroup", before, sizeof(before));
	CHECK("unshare cgroup", unshare(CLONE_NEWCGROUP));
	link_of("/proc/self/ns/cgroup", after, sizeof(after));
	TRUE("another", strcmp(before, after) != 0 && !strncmp(after, "cgroup:[", 8));
	CHECK("back", setns(other, CLONE_NEWCGROUP));
	link_of("/proc/self/ns/cgroup", after, sizeof(after));
	TRUE("the same", !strcmp(before, after));
}

int main(void)
{
	static char stack[65536];
	int queue, sems, segment, status;
	pid_t pid;

	setvbuf(stdout, NULL, _IONBF, 0);
	mq_unlink("/ns_ipc");
	if (geteuid() != 0)
		return puts("needs root"), 0;
	MUST(unshare(CLONE_NEWIPC));
	MUST(queue = msgget(KEY, IPC_CREAT | IPC_EXCL | 0600));
	MUST(sems = semget(KEY, 1, IPC_CREAT | IPC_EXCL | 0600));
	MUST(segment = shmget(KEY, 4096, IPC_CREAT | IPC_EXCL | 0600));
	MUST(mq_open("/ns_ipc", O_CREAT | O_EXCL | O_RDWR, 0600, NULL));
	look("before");
	MUST(pid = clone(in_clone, stack + sizeof(stack), CLONE_NEWIPC | SIGCHLD, NULL));
	MUST(waitpid(pid, &status, 0));
	report_status("clone", status);
	IN_CHILD("unshare", by_unshare());
	IN_CHILD("attached", attached());
	IN_CHILD("undone", undone());
	IN_CHILD("refused", refused());
	IN_CHILD("mounted", mounted());
	IN_CHILD("control groups", control_groups());
	look("at the end");
	CHECK("value at the end", value());
	return 0;
}
