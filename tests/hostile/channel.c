/* Attacks on calls through shared memory (--fast-path=always): a guest writes to its own channels what it likes, while
 * others, the witness, make their calls through theirs. How an attacker ends is its own affair; that it ends, and that
 * nobody else notices, is not.
 *
 * expect any state at any time: over
 * expect any request at any time: over
 * expect requests for others: over
 * expect calls that are not for channels: over
 * expect a thread that never wakes: over
 * expect any state while threads are made: over
 * expect any child while threads are made: over
 * expect showing the nonce of another: over
 * expect the code's own call, otherwise: over
 * expect any entry to the code: over
 * expect unmapping the channels: exit 0
 * expect mapping over the channels: exit 0
 * expect death in the midst of calls: over
 * expect witness: exit 0
 */
#define _GNU_SOURCE
#include "common.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define STUB ((char *)0x10000)
#define CHANNELS ((char *)0x180000)
#define END ((char *)0x200000)
#define OFTEN 2000

/* As in the channel of the stub. */
struct channel {
	volatile uint32_t state;
	uint32_t pad;
	volatile uint64_t nr, args[6], done, ret;
};

static int file;

static int many(int rounds)
{
	int value, bad = 0;

	for (int i = 0; i < rounds; i++) {
		value = -1;
		bad += pread(file, &value, 4, i % 1000 * 4) != 4 || value != i % 1000;
	}
	return !bad;
}

static struct channel *my_channel(void)
{
	uintptr_t gs;

	many(OFTEN);
	__asm__("rdgsbase %0" : "=r"(gs));
	return (char *)gs >= CHANNELS && (char *)gs < END ? (struct channel *)gs : NULL;
}

static uint64_t seed = 88172645463325252ull;

static uint64_t any(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static volatile int stop;

static void *calls(void *arg)
{
	(void)arg;
	while (!stop) {
		char b[8];
		pread(file, b, 4, 0);
		lseek(file, 0, SEEK_SET);
	}
	return NULL;
}

/* What the attacker does beside a thread that makes calls; for a second, if it lives. */
static void beside_calls(void (*attack)(struct channel *))
{
	struct channel *mine = my_channel(), *first = (struct channel *)CHANNELS;
	pthread_t thread;

	if (!mine || pthread_create(&thread, NULL, calls, NULL))
		_exit(0);
	for (int i = 0; i < 200000; i++)
		attack(i % 2 ? mine : first + i % 8 * (4096 / sizeof *first));
	stop = 1;
	alarm(1);
	pthread_join(thread, NULL);
}

static void any_state(struct channel *c)
{
	static const uint32_t states[] = { 0, 1, 2, 3, 4, 5, 0x100, 0x101, 0x102, 0x103, 0x104, ~0u };

	c->state = any() % 8 ? states[any() % 12] : (uint32_t)any();
}

static void states(void)
{
	beside_calls(any_state);
}

static void ask(struct channel *c, uint64_t nr)
{
	c->nr = nr;
	for (int i = 0; i < 6; i++)
		c->args[i] = any() % 3 ? any() % 16 : any();
	c->done = any() % 2 ? any() : 0x61000 + any() % 0x4000;
	c->state = 2;
}

/* None that would change the file that the witness reads. */
static const uint16_t channel_calls[] = {
	SYS_read, SYS_access, SYS_poll, SYS_lseek, SYS_pread64, SYS_readv, SYS_stat, SYS_epoll_wait, SYS_getrusage,
};

static void any_request(struct channel *c)
{
	ask(c, channel_calls[any() % 9]);
}

static void requests(void)
{
	beside_calls(any_request);
}

/* The other thread sleeps in the host; somebody calls in its name. */
static void *asleep(void *arg)
{
	*(struct channel **)arg = my_channel();
	pause();
	return NULL;
}

static void for_others(void)
{
	struct channel *theirs = NULL, *mine;
	pthread_t thread;

	pthread_create(&thread, NULL, asleep, &theirs);
	for (int i = 0; i < 100 && !theirs; i++)
		usleep(1000);
	mine = my_channel();
	if (!theirs || !mine)
		_exit(0);
	alarm(1);
	for (;;) {
		ask(theirs, SYS_read);
		many(10);
	}
}

static void foreign(void)
{
	struct channel *c = my_channel();

	if (!c)
		_exit(0);
	alarm(1);
	for (;;) {
		static const uint16_t others[] = { SYS_exit, SYS_clone, SYS_execve, SYS_mmap, SYS_rt_sigreturn, 0x5000, 9999 };
		many(3);
		if (c->state == 1)
			ask(c, others[any() % 7]);
	}
}

static void *hides_answers(void *arg)
{
	struct channel *c = arg;

	for (;;)
		c->state = 0x103;
	return NULL;
}

static void never_wakes(void)
{
	struct channel *c = my_channel();
	pthread_t thread;

	if (!c || pthread_create(&thread, NULL, hides_answers, c))
		_exit(0);
	alarm(1);
	many(OFTEN);
}

/* What a child finds in its creator's channel: nonce, channel, stack. */
#define CHILD(c) ((volatile uint64_t *)((char *)(c) + 2192))

static void *ends_at_once(void *arg)
{
	return arg;
}

static void *makes_threads(void *arg)
{
	pthread_t thread;

	for (int i = 0; !stop; i++) {
		uintptr_t gs;

		if (pthread_create(&thread, NULL, ends_at_once, NULL) == 0)
			pthread_join(thread, NULL);
		__asm__("rdgsbase %0" : "=r"(gs));
		if (i == 50)
			*(struct channel *volatile *)arg = (struct channel *)gs;
	}
	return NULL;
}

/* For half a second, beside a thread that makes others. */
static void beside_clones(void (*attack)(struct channel *))
{
	struct channel *volatile theirs = NULL;
	pthread_t thread;

	if (pthread_create(&thread, NULL, makes_threads, (void *)&theirs))
		_exit(0);
	for (int i = 0; i < 1000 && !theirs; i++)
		usleep(1000);
	if ((char *)theirs < CHANNELS || (char *)theirs >= END)
		_exit(0);
	alarm(1);
	for (int i = 0; i < 3000000; i++)
		attack(theirs);
	stop = 1;
	pthread_join(thread, NULL);
}

static void state_of_clones(void)
{
	beside_clones(any_state);
}

static void any_child_now(struct channel *c)
{
	CHILD(c)[any() % 5] = any() % 3 == 0 ? any() : any() % 3 ? 0x180000 + any() % 0x80000 : 0x20000 + any() % 0x40000;
}

static void any_child(void)
{
	beside_clones(any_child_now);
}

static void show_nonce(struct channel *c)
{
	uint64_t nonce = CHILD(c)[0];

	/* A thread that is known is none that was born. */
	if (nonce)
		syscall(0x5000, 4, 0, 0, 0, 0, nonce);
}

static void shows(void)
{
	beside_clones(show_nonce);
}

/* mov $56, %eax; syscall. */
static char *call_of_stub(void)
{
	static const char code[] = "\xb8\x38\0\0\0\x0f\x05";

	return memmem(STUB, 0x1000, code, sizeof code - 1);
}

static void *pauses(void *arg)
{
	pause();
	return arg;
}

static void otherwise(void)
{
	static const unsigned long flags[] = { 0x2d0f00, 0x3d0f00, SIGCHLD, 0x4000 | 0x100 | SIGCHLD, 0x2d0f00 | 1UL << 40, 0 };
	char *code = call_of_stub();

	for (unsigned n = 0; code && n < 2 * sizeof flags / sizeof *flags; n++) {
		pid_t p = fork();

		if (p == 0) {
			pthread_t thread;

			alarm(1);
			/* The one half has a channel by then. */
			for (int i = 0; i < 50 && n % 2; i++)
				if (pthread_create(&thread, NULL, ends_at_once, NULL) == 0)
					pthread_join(thread, NULL);
			pthread_create(&thread, NULL, pauses, NULL);
			close(1);
			((void (*)(unsigned long, uint64_t, uint64_t, uint64_t))code)(flags[n / 2], any(), any(), any());
			_exit(0);
		}
		waitpid(p, NULL, 0);
	}
}

/* Each byte of the page that the stub's code may begin at. */
static void entries(void)
{
	for (int at = 0; at < 0x1000; at += 7) {
		pid_t p = fork();
		if (p == 0) {
			alarm(1);
			many(200);
			/* Where it comes out again, if it does, is not to print. */
			close(1);
			((void (*)(void))(STUB + at))();
			_exit(0);
		}
		waitpid(p, NULL, 0);
	}
}

static void unmap(void)
{
	if (!my_channel())
		_exit(0);
	munmap(CHANNELS, END - CHANNELS);
	if (!many(OFTEN))
		_exit(1);
}

static void map_over(void)
{
	if (!my_channel())
		_exit(0);
	mmap(CHANNELS, END - CHANNELS, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	mprotect(CHANNELS, END - CHANNELS, PROT_NONE);
	if (!many(OFTEN))
		_exit(1);
}

static void deaths(void)
{
	for (int i = 0; i < 30; i++) {
		pid_t p = fork();
		if (p == 0) {
			pthread_t thread;
			pthread_create(&thread, NULL, calls, NULL);
			many(OFTEN * 100);
			_exit(0);
		}
		usleep(3000 + i * 200);
		kill(p, SIGKILL);
		waitpid(p, NULL, 0);
	}
}

static int done_file[2];

static void over(const char *name, void (*attack)(void))
{
	pid_t p = fork();

	if (p == 0) {
		alarm(10);
		/* Nor is it known what it leaves behind. */
		close(done_file[1]);
		attack();
		_exit(0);
	}
	waitpid(p, NULL, 0);
	printf("%s: over\n", name);
	fflush(stdout);
}

static void witness(void)
{
	char c;

	fcntl(done_file[0], F_SETFL, O_NONBLOCK);
	close(done_file[1]);
	while (read(done_file[0], &c, 1) < 0)
		if (errno != EAGAIN || !many(OFTEN))
			_exit(1);
}

int main(void)
{
	file = open("data", O_RDWR | O_CREAT, 0600);
	for (int i = 0; i < 1000; i++)
		if (pwrite(file, &i, 4, i * 4) != 4)
			return 1;
	if (pipe(done_file))
		return 1;
	pid_t p = start_witness(witness);
	over("any state at any time", states);
	over("any request at any time", requests);
	over("requests for others", for_others);
	over("calls that are not for channels", foreign);
	over("a thread that never wakes", never_wakes);
	over("any state while threads are made", state_of_clones);
	over("any child while threads are made", any_child);
	over("showing the nonce of another", shows);
	over("the code's own call, otherwise", otherwise);
	over("any entry to the code", entries);
	in_child("unmapping the channels", unmap, EXACT);
	in_child("mapping over the channels", map_over, EXACT);
	over("death in the midst of calls", deaths);
	close(done_file[1]);
	end_witness(p);
	return 0;
}
