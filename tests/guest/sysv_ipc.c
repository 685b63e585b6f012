/* System V semaphores, message queues and shared memory. */
#include "common.h"
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

struct message {
	long type;
	char text[100];
};

static void on_alarm(int sig)
{
	(void)sig;
}

static void semaphores(void)
{
	int key = 0x5e000000 | (getpid() & 0xffff), status;
	SHOW(semget(key, 2, 0600));
	int id = semget(key, 2, IPC_CREAT | 0600);
	TRUE("made", id >= 0);
	SHOW(semget(key, 2, IPC_CREAT | IPC_EXCL | 0600));
	TRUE("found", semget(key, 0, 0) == id);
	SHOW(semget(key, 3, 0));
	SHOW(semget(IPC_PRIVATE, 0, 0600));
	SHOW(semctl(id, 0, SETVAL, 3));
	SHOW(semctl(id, 1, SETVAL, 40000));
	SHOW(semctl(id, 2, SETVAL, 1));
	SHOW(semctl(id, 0, GETVAL));
	struct sembuf take[2] = { { 0, -2, 0 }, { 1, 1, 0 } };
	SHOW(semop(id, take, 2));
	unsigned short all[2] = { 9, 9 };
	SHOW(semctl(id, 0, GETALL, all));
	printf("values %d %d\n", all[0], all[1]);
	TRUE("last process", semctl(id, 0, GETPID) == getpid());
	take[0].sem_flg = IPC_NOWAIT;
	CHECK("all or nothing", semop(id, take, 2));
	SHOW(semctl(id, 1, GETVAL));
	take[0].sem_num = 7;
	CHECK("no such semaphore", semop(id, take, 1));
	CHECK("none", semop(id, take, 0));
	CHECK("too many", semop(id, take, 501));
	struct sembuf wait = { 0, -5, 0 };
	struct timespec ts = { 0, 20000000 };
	CHECK("timed out", semtimedop(id, &wait, 1, &ts));
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	sigaction(SIGALRM, &sa, NULL);
	ualarm(20000, 0);
	CHECK("interrupted", semop(id, &wait, 1));
	pid_t pid = fork();
	if (pid == 0) {
		struct sembuf up = { 0, 7, SEM_UNDO };
		sleep_ms(30);
		semop(id, &up, 1);
		sleep_ms(30);
		_exit(semctl(id, 0, GETVAL));
	}
	CHECK("woken", semop(id, &wait, 1));
	waitpid(pid, &status, 0);
	report_status("child", status);
	CHECK("undone at exit", semctl(id, 0, GETVAL));
	pid = fork();
	if (pid == 0)
		_exit(semop(id, &wait, 1) == -1 ? errno == EIDRM : 9);
	sleep_ms(30);
	SHOW(semctl(id, 0, GETNCNT));
	struct semid_ds ds;
	SHOW(semctl(id, 0, IPC_STAT, &ds));
	printf("mode %o nsems %ld\n", ds.sem_perm.mode, (long)ds.sem_nsems);
	SHOW(semctl(id, 0, IPC_RMID));
	waitpid(pid, &status, 0);
	report_status("waiter of a removed set", status);
	SHOW(semctl(id, 0, GETVAL));
}

static void messages(void)
{
	int id = msgget(IPC_PRIVATE, 0600), status;
	struct message m = { 5, "five" };
	SHOW(msgsnd(id, &m, 5, 0));
	m = (struct message){ 2, "two" };
	SHOW(msgsnd(id, &m, 4, 0));
	m = (struct message){ 5, "another" };
	SHOW(msgsnd(id, &m, 8, 0));
	m.type = 0;
	SHOW(msgsnd(id, &m, 1, 0));
	m.type = 1;
	SHOW(msgsnd(id, &m, 9000, 0));
	SHOW(msgrcv(id, &m, 3, 5, 0));
	SHOW(msgrcv(id, &m, 3, 5, MSG_NOERROR));
	SHOW(msgrcv(id, &m, 100, -3, 0));
	printf("%ld %s\n", m.type, m.text);
	SHOW(msgrcv(id, &m, 100, 5, MSG_EXCEPT | IPC_NOWAIT));
	SHOW(msgrcv(id, &m, 100, 0, 0));
	printf("%ld %s\n", m.type, m.text);
	SHOW(msgrcv(id, &m, 100, 0, IPC_NOWAIT));
	ualarm(20000, 0);
	CHECK("interrupted", msgrcv(id, &m, 100, 0, 0));
	int sent = 0;
	while (msgsnd(id, &m, 100, IPC_NOWAIT) == 0)
		sent++;
	printf("fit: %d\n", sent);
	pid_t pid = fork();
	if (pid == 0) {
		sleep_ms(30);
		_exit(msgrcv(id, &m, 100, 0, 0));
	}
	CHECK("waits for room", msgsnd(id, &m, 100, 0));
	waitpid(pid, &status, 0);
	report_status("receiver", status);
	struct msqid_ds ds;
	SHOW(msgctl(id, IPC_STAT, &ds));
	printf("%ld messages, %ld bytes at most\n", (long)ds.msg_qnum, (long)ds.msg_qbytes);
	SHOW(msgctl(id, IPC_RMID, NULL));
	SHOW(msgrcv(id, &m, 100, 0, 0));
}

static void memory(void)
{
	int status;
	SHOW(shmget(IPC_PRIVATE, 0, 0600));
	int id = shmget(IPC_PRIVATE, 10000, 0600);
	TRUE("made", id >= 0);
	char *a = shmat(id, NULL, 0), *b = shmat(id, NULL, SHM_RDONLY);
	TRUE("attached twice", a != (char *)-1 && b != (char *)-1 && a != b);
	strcpy(a + 9000, "shared");
	printf("%s\n", b + 9000);
	CHECK("odd address", shmat(id, (void *)0x123457, 0) == (void *)-1 ? -1 : 0);
	CHECK("occupied address", shmat(id, a, 0) == (void *)-1 ? -1 : 0);
	IN_CHILD("write through a read-only attachment", b[0] = 1);
	pid_t pid = fork();
	if (pid == 0) {
		strcpy(a, "from the child");
		_exit(shmdt(a) == 0 ? 3 : 1);
	}
	waitpid(pid, &status, 0);
	report_status("child", status);
	printf("%s\n", b);
	struct shmid_ds ds;
	SHOW(shmctl(id, IPC_STAT, &ds));
	printf("size %ld attached %ld mode %o\n", (long)ds.shm_segsz, (long)ds.shm_nattch, ds.shm_perm.mode);
	SHOW(shmdt(b));
	SHOW(shmdt(b));
	SHOW(shmctl(id, IPC_STAT, &ds));
	printf("attached %ld\n", (long)ds.shm_nattch);
	SHOW(shmctl(id, IPC_RMID, NULL));
	printf("%s\n", a);
	SHOW(shmdt(a));
	CHECK("gone", shmat(id, NULL, 0) == (void *)-1 ? -1 : 0);
}

int main(void)
{
	semaphores();
	messages();
	memory();
	return 0;
}
