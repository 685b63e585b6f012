/*
 * Programs whose headers are cut and changed at random, from a seed (ELF_SEED in the environment, else 1): execve
 * answers with an error, or the program runs, or it dies of a signal. The sandbox lives on.
 *
 * expect small static program: exit 0
 * expect small static program, changed: all 400 ended
 * expect small static program, cut: all 100 ended
 * expect dynamic program: exit 0
 * expect dynamic program, changed: all 400 ended
 * expect dynamic program, cut: all 100 ended
 * expect script lines: all 100 ended
 * expect still alive: exit 0
 */
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILE_MAX (1 << 20)

static char original[FILE_MAX], changed[FILE_MAX];
static uint64_t state = 1;

static uint64_t next(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* Values that bounds are likely to be wrong about. */
static uint64_t value(void)
{
	static const uint64_t odd[] = {0, 1, -1, 0x7fffffffffffffff, 0x8000000000000000, 0xfff, 0x1000, 0x1001, 0x10000,
				       0x200000, 0x7ffffffff000, 0x800000000000, 0xfffffffffffff000, 0xffffffff,
				       0x80000000, 0xffff, 56, 57, 0x400000, 0x100000000};

	switch (next() % 4) {
	case 0: return next();
	case 1: return next() % 65536;
	default: return odd[next() % (sizeof odd / sizeof *odd)];
	}
}

/* How a program of these bytes ends: nobody may have to wait for it. */
static int run(const char *bytes, size_t len)
{
	struct itimerval soon = {.it_value = {.tv_usec = 300000}};
	int fd, status;
	pid_t p;

	/* Scripts that run themselves may be running the one before still. */
	unlink("variant");
	fd = open("variant", O_WRONLY | O_CREAT | O_EXCL, 0700);
	if (fd < 0 || write(fd, bytes, len) != (ssize_t)len)
		exit(1);
	close(fd);
	p = fork();
	if (p == 0) {
		int null = open("/dev/null", O_RDWR);
		for (int n = 0; n < 3; n++)
			dup2(null, n);
		setitimer(ITIMER_REAL, &soon, 0);
		execl("./variant", "variant", (char *)0);
		_exit(99);
	}
	if (p < 0 || waitpid(p, &status, 0) != p)
		return -1;
	return status;
}

static void change(size_t len, size_t headers)
{
	memcpy(changed, original, len);
	for (int n = next() % 4; n >= 0; n--) {
		static const size_t widths[] = {1, 2, 4, 8};
		size_t width = widths[next() % 4], at = next() % (headers / width) * width;
		uint64_t v = value();

		/* Most changes keep what says that it is a program at all. */
		if (at < 20 && next() % 8)
			at += 24;
		memcpy(changed + at, &v, width);
	}
}

static void variants(const char *name, size_t len)
{
	Elf64_Ehdr *header = (void *)original;
	size_t headers = sizeof *header + header->e_phnum * sizeof(Elf64_Phdr);
	int ended = 0, status = run(original, len);

	printf("%s: exit %d\n", name, WEXITSTATUS(status));
	for (int i = 0; i < 400; i++) {
		change(len, headers);
		ended += run(changed, len) != -1;
	}
	printf("%s, changed: all %d ended\n", name, ended);
	ended = 0;
	for (int i = 0; i < 100; i++)
		ended += run(original, next() % (next() % 2 ? len : headers)) != -1;
	printf("%s, cut: all %d ended\n", name, ended);
	fflush(stdout);
}

/* The smallest program: exit(0). */
static size_t small_program(void)
{
	static const unsigned char code[] = {0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05};
	Elf64_Ehdr header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
			     .e_type = ET_EXEC, .e_machine = EM_X86_64, .e_version = EV_CURRENT,
			     .e_ehsize = sizeof header, .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 2,
			     .e_phoff = sizeof header};
	Elf64_Phdr load = {.p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_vaddr = 0x400000, .p_align = 0x1000};
	Elf64_Phdr data = {.p_type = PT_LOAD, .p_flags = PF_R | PF_W, .p_vaddr = 0x600000, .p_align = 0x1000,
			   .p_memsz = 0x3000};
	size_t start = sizeof header + sizeof load + sizeof data, len = start + sizeof code;

	header.e_entry = load.p_vaddr + start;
	load.p_filesz = load.p_memsz = len;
	memcpy(original, &header, sizeof header);
	memcpy(original + sizeof header, &load, sizeof load);
	memcpy(original + sizeof header + sizeof load, &data, sizeof data);
	memcpy(original + start, code, sizeof code);
	return len;
}

static void scripts(void)
{
	static const char *parts[] = {"#!", " ", "\t", "/bin/sh", "./variant", "\n", "-c", "\0", "exit 0", "/"};
	int ended = 0;

	for (int i = 0; i < 100; i++) {
		size_t len = 2;

		memcpy(changed, "#!", 2);
		for (int n = next() % 40; n > 0; n--) {
			const char *part = parts[next() % (sizeof parts / sizeof *parts)];
			size_t size = *part ? strlen(part) : 1;
			memcpy(changed + len, part, size);
			len += size;
		}
		ended += run(changed, len) != -1;
	}
	printf("script lines: all %d ended\n", ended);
	fflush(stdout);
}

int main(void)
{
	const char *seed = getenv("ELF_SEED");
	int fd, status;
	ssize_t len;
	pid_t p;

	if (seed)
		state = strtoull(seed, 0, 0);
	variants("small static program", small_program());
	fd = open("/bin/true", O_RDONLY);
	len = read(fd, original, sizeof original);
	close(fd);
	variants("dynamic program", len);
	scripts();
	p = fork();
	if (p == 0) {
		execl("/bin/true", "true", (char *)0);
		_exit(1);
	}
	waitpid(p, &status, 0);
	printf("still alive: exit %d\n", WEXITSTATUS(status));
	return 0;
}
