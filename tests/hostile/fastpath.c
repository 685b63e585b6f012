/*
 * A guest that attacks what answers its calls in its own process harms only itself. Each attack runs in a child; what
 * must come of it stands behind "expect".
 *
 * expect values changed: exit 0
 * expect a forked child of a liar: exit 0
 * expect pointers changed: killed
 * expect code unmapped: killed
 * expect values unmapped, then a fork: killed
 * expect pages taken before: exit 0
 * expect site unmapped and mapped again: exit 0
 * expect witness: exit 0
 */
#include "common.h"
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define OFTEN 600
#define DATA ((uint32_t *)0x60000)
#define CODE ((char *)0x61000)

static void make_hot(void)
{
	for (int i = 0; i < OFTEN; i++)
		getpid();
}

static void change_values(void)
{
	make_hot();
	DATA[0] = 1;
	if (getpid() != 1 || kill(getpid(), 0) != 0 || getpgrp() == 1)
		_exit(1);
}

static void fork_a_liar(void)
{
	int status;
	pid_t me = getpid();

	make_hot();
	memset(DATA, 0x7f, 28);
	pid_t p = fork();
	if (p == 0)
		_exit(getpid() == 0x7f7f7f7f || getpid() == me || getppid() != me);
	waitpid(p, &status, 0);
	_exit(WEXITSTATUS(status));
}

static void change_pointers(void)
{
	make_hot();
	memset(DATA, 0x41, 4096);
	getpid();
}

static void unmap_code(void)
{
	make_hot();
	munmap(CODE, 4096);
	getpid();
}

static void unmap_values(void)
{
	make_hot();
	munmap(DATA, 4096);
	/* The child cannot be told who it is. */
	int status;
	pid_t p = fork();
	if (p == 0)
		_exit(0);
	waitpid(p, &status, 0);
	if (WIFSIGNALED(status))
		kill(getpid(), SIGKILL);
}

/* In a program that has made no calls yet. */
static void take_pages(void)
{
	int prot = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
	pid_t me = syscall(SYS_getpid);

	if (mmap(DATA, 8192, prot, flags, -1, 0) != DATA)
		_exit(1);
	make_hot();
	for (int i = 0; i < 2048; i++)
		if (DATA[i])
			_exit(2);
	if (getpid() != me)
		_exit(3);
}

/* Code that says mov $39,%eax; syscall; ret, in a mapping that comes and goes. */
static void remap_site(void)
{
	static const char code[] = "\xb8\x27\x00\x00\x00\x0f\x05\xc3";
	int prot = PROT_READ | PROT_WRITE;
	FILE *f = fopen("code", "w+");

	fwrite(code, 1, 8, f);
	fflush(f);
	for (int round = 0; round < 4; round++) {
		char *page = mmap((void *)0x700000, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fileno(f), 0);
		for (int i = 0; i < OFTEN; i++)
			if (((int (*)(void))page)() != getpid())
				_exit(1);
		munmap(page, 4096);
		/* Something else at the same place. */
		mmap(page, 4096, prot, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0);
		memcpy(page, "\xb8\x6e\x00\x00\x00\x0f\x05\xc3", 8);
		mprotect(page, 4096, PROT_READ | PROT_EXEC);
		for (int i = 0; i < OFTEN; i++)
			if (((int (*)(void))page)() != getppid())
				_exit(2);
		munmap(page, 4096);
	}
}

static void witness(void)
{
	for (int i = 0; i < 200; i++) {
		int status;
		pid_t me = getpid(), p = fork();
		if (p == 0)
			_exit(getppid() == me && getpid() != me ? 17 : 0);
		waitpid(p, &status, 0);
		if (WEXITSTATUS(status) != 17)
			_exit(1);
		usleep(1000);
	}
}

static void start_to_take(void)
{
	char *args[] = { "/proc/self/exe", "take", NULL }, *none[] = { NULL };

	execve(args[0], args, none);
	_exit(4);
}

int main(int argc, char **argv)
{
	pid_t p;

	(void)argv;
	if (argc > 1) {
		take_pages();
		return 0;
	}
	p = start_witness(witness);

	in_child("values changed", change_values, ANY_SIGNAL);
	in_child("a forked child of a liar", fork_a_liar, ANY_SIGNAL);
	in_child("pointers changed", change_pointers, ANY_SIGNAL);
	in_child("code unmapped", unmap_code, ANY_SIGNAL);
	in_child("values unmapped, then a fork", unmap_values, ANY_SIGNAL);
	in_child("pages taken before", start_to_take, ANY_SIGNAL);
	in_child("site unmapped and mapped again", remap_site, ANY_SIGNAL);
	end_witness(p);
	return 0;
}
