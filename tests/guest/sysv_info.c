/* System V IPC: what is asked of all objects, and segments that are removed while in use. */
#include "common.h"

#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#ifndef SHM_DEST
#define SHM_DEST 01000
#endif

static void semaphores(void)
{
	struct seminfo info, used;
	struct semid_ds ds;
	int id = semget(IPC_PRIVATE, 3, 0600), highest, found = 0;

	MUST(id);
	highest = semctl(0, 0, SEM_INFO, &used);
	TRUE("highest index", highest >= 0);
	MUST(semctl(0, 0, IPC_INFO, &info));
	printf("semvmx %d semopm %d semmsl %d\n", info.semvmx, info.semopm, info.semmsl);
	TRUE("used sets", used.semusz >= 1 && used.semaem >= 3);
	for (int i = 0; i <= highest; i++)
		if (semctl(i, 0, SEM_STAT, &ds) == id)
			found += ds.sem_nsems;
	printf("found %d\n", found);
	SHOW(semctl(-1, 0, IPC_INFO, &info));
	SHOW(semctl(0, 0, IPC_INFO, 0));
	SHOW(semctl(highest + 1000, 0, SEM_STAT, &ds));
	MUST(semctl(id, 0, IPC_RMID));
	SHOW(semctl(id, 0, IPC_STAT, &ds));
}

static void queues(void)
{
	struct msginfo info, used;
	struct msqid_ds ds;
	struct { long type; char text[5]; } message = {1, "abcd"};
	int id = msgget(IPC_PRIVATE, 0600), highest, found = 0;

	MUST(id);
	MUST(msgsnd(id, &message, 5, 0));
	highest = msgctl(0, MSG_INFO, (void *)&used);
	TRUE("highest index", highest >= 0);
	MUST(msgctl(0, IPC_INFO, (void *)&info));
	printf("msgmax %d msgmnb %d msgssz %d msgseg %u msgtql %d\n", info.msgmax, info.msgmnb, info.msgssz, info.msgseg,
	       info.msgtql);
	TRUE("used queues", used.msgpool >= 1 && used.msgmap >= 1 && used.msgtql >= 5);
	for (int i = 0; i <= highest; i++)
		if (msgctl(i, MSG_STAT, &ds) == id)
			found += ds.msg_qnum;
	printf("found %d\n", found);
	SHOW(msgctl(-1, IPC_INFO, (void *)&info));
	SHOW(msgctl(0, MSG_INFO, 0));
	MUST(msgctl(id, IPC_RMID, 0));
	SHOW(msgctl(id, MSG_STAT_ANY, &ds) == id);
}

static int attached(int id)
{
	struct shmid_ds ds;

	MUST(shmctl(id, IPC_STAT, &ds));
	return ds.shm_nattch;
}

static void segments(void)
{
	struct shm_info used;
	struct shmid_ds ds;
	int id = shmget(IPC_PRIVATE, 10000, 0600), highest, found = 0;
	char *a, *b;

	MUST(id);
	a = shmat(id, 0, 0);
	MUST(a);
	strcpy(a, "kept");
	highest = shmctl(0, SHM_INFO, (void *)&used);
	TRUE("highest index", highest >= 0);
	TRUE("used segments", used.used_ids >= 1 && used.shm_tot >= 3 && used.shm_rss >= 1);
	for (int i = 0; i <= highest; i++)
		if (shmctl(i, SHM_STAT, &ds) == id)
			found += ds.shm_segsz;
	printf("found %d\n", found);
	printf("attached %d\n", attached(id));
	IN_CHILD("child", {
		printf("attached %d\n", attached(id));
		SHOW(shmdt(a));
		SHOW(shmdt(a));
		printf("attached %d\n", attached(id));
		fflush(stdout);
	});
	printf("attached %d\n", attached(id));
	SHOW(shmctl(id, SHM_LOCK, 0));
	MUST(shmctl(id, IPC_STAT, &ds));
	printf("mode %o\n", ds.shm_perm.mode);
	SHOW(shmctl(id, SHM_UNLOCK, 0));
	SHOW(shmctl(id, IPC_RMID, 0));
	MUST(shmctl(id, IPC_STAT, &ds));
	printf("mode %o key %x\n", ds.shm_perm.mode, ds.shm_perm.__key);
	b = shmat(id, 0, SHM_RDONLY);
	MUST(b);
	printf("attached again: %s, %d\n", b, attached(id));
	SHOW(shmdt(a));
	SHOW(shmctl(id, IPC_RMID, 0));
	SHOW(shmdt(b));
	SHOW(shmctl(id, IPC_STAT, &ds));
	SHOW((long)shmat(id, 0, 0));
	SHOW(shmdt(b));
}

static void keys(void)
{
	int id, again;
	key_t key = 0x5ca1ab1e;

	id = shmget(key, 4096, IPC_CREAT | 0600);
	MUST(id);
	MUST(shmat(id, 0, 0));
	MUST(shmctl(id, IPC_RMID, 0));
	SHOW(shmget(key, 4096, 0));
	again = shmget(key, 4096, IPC_CREAT | IPC_EXCL | 0600);
	TRUE("another", again != id && again != -1);
	MUST(shmctl(again, IPC_RMID, 0));
}

int main(void)
{
	semaphores();
	queues();
	segments();
	keys();
	return 0;
}
