/* Signal actions and the code that changes them, in processes that share them with others which die. */
#include "common.h"
#include <sched.h>
#include <stdatomic.h>
#include <sys/prctl.h>

enum { OFTEN = 400, FEW = 900, A_WHILE = 20, RESTORER = 0x04000000, UNUSED = 40 };

/* As the kernel has it. */
struct action {
	uint64_t handler, flags, restorer, mask;
};

/* rt_sigaction from two places, each with the set's size as its last argument. */
long change(long signo, const void *new, void *old, size_t size);
long change_elsewhere(long signo, const void *new, void *old, size_t size);
__asm__("	.text\n"
	"	.p2align 6\n"
	"change:\n"
	"	mov %rcx, %r10\n	mov $13, %eax\n	syscall\n	ret\n"
	"	.p2align 6\n"
	"change_elsewhere:\n"
	"	mov %rcx, %r10\n	mov $13, %eax\n	syscall\n	ret\n");

static char stacks[2][65536] __attribute__((aligned(16)));
static atomic_int is_over, is_going_on, is_unchanged;
static pid_t maker;

static void set_to(uint64_t handler)
{
	struct action action = { handler, RESTORER, 7, 0 };

	change(UNUSED, &action, NULL, 8);
}

static uint64_t now(void)
{
	struct action old = { 0, 0, 0, 0 };

	change(UNUSED, NULL, &old, 8);
	return old.handler;
}

/* Waits for all children. */
static void bury(void)
{
	while (wait(NULL) > 0)
		;
}

static int outlives(void *name)
{
	while (getppid() == maker)
		sleep_ms(1);
	/* Until nothing at all is left of it. */
	sleep_ms(A_WHILE);
	printf("%s: %lx\n", (char *)name, now());
	fflush(stdout);
	return 0;
}

/* What a process has changed last is known to one that shares its actions, and not its life. */
static void outlived(char *name, int signo)
{
	pid_t child = fork();

	MUST(child);
	if (child == 0) {
		maker = getpid();
		for (int i = 0; i < OFTEN; i++)
			set_to(1000 + i);
		MUST(clone(outlives, stacks[0] + sizeof stacks[0], CLONE_VM | CLONE_SIGHAND | SIGCHLD, name));
		for (int i = 0; i < 10; i++)
			set_to(0x5000 + i);
		if (signo)
			kill(getpid(), signo);
		_exit(0);
	}
	bury();
}

static int kills_its_parent(void *unused)
{
	struct action action = { 1, RESTORER, 7, 0 };
	const volatile unsigned char *code = (const unsigned char *)(uintptr_t)change_elsewhere;
	unsigned char before = code[3];

	(void)unused;
	kill(getppid(), SIGKILL);
	while (!is_going_on)
		sleep_ms(1);
	sleep_ms(A_WHILE);
	for (int i = 0; i < FEW; i++)
		change_elsewhere(UNUSED, &action, NULL, 8);
	is_unchanged = code[3] == before;
	is_over = 1;
	return 0;
}

static int makes_another(void *unused)
{
	clone(kills_its_parent, stacks[1] + sizeof stacks[1], CLONE_VM | CLONE_VFORK | SIGCHLD, unused);
	return 0;
}

/* Of three in one memory, of whom two wait, the one in the middle dies: the first one goes on, and no code may be written
 * as if it did not. */
static void bereaved(void)
{
	int status;
	pid_t middle;

	MUST(middle = clone(makes_another, stacks[0] + sizeof stacks[0], CLONE_VM | CLONE_VFORK | SIGCHLD, NULL));
	MUST(waitpid(middle, &status, 0));
	report_status("the one in the middle", status);
	is_going_on = 1;
	while (!is_over)
		;
	bury();
	TRUE("code is as it was", is_unchanged);
}

int main(void)
{
	MUST(prctl(PR_SET_CHILD_SUBREAPER, 1));
	outlived("one that has exited left", 0);
	outlived("one that was killed left", SIGKILL);
	bereaved();
	return 0;
}
