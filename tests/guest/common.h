/*
 * What guest tests share. A test prints one line per check, "name: result errno", and never anything that
 * differs from run to run (ids, addresses, times): it runs natively first, then in the sandbox, and the outputs
 * must be equal.
 */
#ifndef COMMON_H
#define COMMON_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* One line: the result of a call, and the name of its error if it is -1. */
static inline long report(const char *name, long result)
{
	int error = errno;

	printf("%s: %ld %s\n", name, result, result == -1 ? strerrorname_np(error) : "-");
	fflush(stdout);
	return result;
}

/* Evaluates `expr` with errno cleared and reports it; the value is the result. */
#define CHECK(name, expr) (errno = 0, report((name), (long)(expr)))

/* As CHECK, with the text of the expression as its name. */
#define SHOW(expr) CHECK(#expr, expr)

/* Reports whether a condition holds: for values that must not be printed. */
#define TRUE(name, cond) (printf("%s: %s\n", (name), (cond) ? "true" : "FALSE"), fflush(stdout), (void)0)

/* Reports only whether a call succeeded and its error: for calls that return descriptors, ids, addresses. */
#define WORKS(name, expr) (errno = 0, report((name), (long)(expr) == -1 ? -1 : 0))

/* Bails out of a test whose preparation failed. */
#define MUST(expr) \
	do { \
		if ((long)(expr) == -1) { \
			printf("%s:%d: %s: %s\n", __FILE__, __LINE__, #expr, strerror(errno)); \
			exit(1); \
		} \
	} while (0)

/* Runs `body` in a child; reports how the child ended. */
#define IN_CHILD(name, body) \
	do { \
		int status_; \
		pid_t pid_; \
		fflush(stdout); \
		pid_ = fork(); \
		if (pid_ == 0) { \
			body; \
			_exit(0); \
		} \
		MUST(pid_); \
		MUST(waitpid(pid_, &status_, 0)); \
		report_status((name), status_); \
	} while (0)

static inline void report_status(const char *name, int status)
{
	if (WIFEXITED(status))
		printf("%s: exited %d\n", name, WEXITSTATUS(status));
	else if (WIFSIGNALED(status))
		printf("%s: killed by SIG%s\n", name, sigabbrev_np(WTERMSIG(status)));
	else
		printf("%s: status %#x\n", name, status);
	fflush(stdout);
}

/* Sleeps, whatever signals come. */
static inline void sleep_ms(long ms)
{
	struct timespec left = { ms / 1000, ms % 1000 * 1000000 };

	while (nanosleep(&left, &left) == -1 && errno == EINTR)
		;
}

/* Milliseconds of CLOCK_MONOTONIC: to test that something took about as long as it should. */
static inline long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

#endif
