/* Many threads that wait, and end all at once, beside others that come and go and change their memory, on cores that
 * have more to do than that. */
#include "common.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { WAITING = 120, ROUNDS = 2, BUSY = 4, AT_ONCE = 4, MAPPING = 4 };

static int ends[2];
static int is_over;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t over = PTHREAD_COND_INITIALIZER;

/* Half of them wait in a call that the sandbox sees to, half for one another. */
static void *waits(void *arg)
{
	char byte;

	if ((intptr_t)arg % 2)
		return read(ends[0], &byte, 1) == 1 ? arg : NULL;
	pthread_mutex_lock(&lock);
	while (!is_over)
		pthread_cond_wait(&over, &lock);
	pthread_mutex_unlock(&lock);
	return arg;
}

static void *comes(void *arg)
{
	getpid();
	return arg;
}

static atomic_int is_mapping = 1;

/* Others cannot be reached meanwhile: their memory is this one's. */
static void *maps(void *arg)
{
	enum { SIZE = 4 << 20 };

	while (is_mapping) {
		char *at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

		if (at == MAP_FAILED || munmap(at, SIZE) < 0)
			return NULL;
	}
	return arg;
}

/* How many of them end as they should. */
static int joined(pthread_t *threads, int count)
{
	int ok = 0;

	for (int i = 0; i < count; i++) {
		void *back;

		ok += pthread_join(threads[i], &back) == 0 && back == (void *)(intptr_t)(i + 1);
	}
	return ok;
}

static int started(pthread_t *threads, int count, void *(*run)(void *))
{
	for (int i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, run, (void *)(intptr_t)(i + 1)) != 0)
			return 0;
	return 1;
}

static void round_of(int number)
{
	static char bytes[WAITING];
	pthread_t waiting[WAITING], others[AT_ONCE];
	int come = 0;

	is_over = 0;
	if (pipe(ends) < 0 || !started(waiting, WAITING, waits))
		exit(1);
	for (int i = 0; i < 10; i++) {
		if (!started(others, AT_ONCE, comes))
			exit(1);
		come += joined(others, AT_ONCE);
	}
	pthread_mutex_lock(&lock);
	is_over = 1;
	pthread_cond_broadcast(&over);
	pthread_mutex_unlock(&lock);
	if (write(ends[1], bytes, (WAITING + 1) / 2) != (WAITING + 1) / 2)
		exit(1);
	printf("round %d: %d came and went, %d waited\n", number, come, joined(waiting, WAITING));
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	pid_t busy[BUSY], child = fork();
	int status;

	for (int i = 0; child != 0 && i < BUSY; i++)
		if ((busy[i] = fork()) == 0)
			for (volatile unsigned n = 0;; n++)
				;
	if (child == 0) {
		pthread_t mapping[MAPPING];

		if (!started(mapping, MAPPING, maps))
			exit(1);
		for (int i = 0; i < ROUNDS; i++)
			round_of(i);
		is_mapping = 0;
		printf("changed their memory: %d\n", joined(mapping, MAPPING));
		exit(0);
	}
	waitpid(child, &status, 0);
	for (int i = 0; i < BUSY; i++) {
		kill(busy[i], SIGKILL);
		waitpid(busy[i], NULL, 0);
	}
	printf("ended: %d, by signal %d\n", WIFEXITED(status), WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	return 0;
}
