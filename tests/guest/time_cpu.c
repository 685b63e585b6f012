/* Timers that count CPU time: of the process, of a thread, of another process; and who is told. */
#include "common.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

enum { PERIOD_MS = 4, ENOUGH = 12, PATIENCE_MS = 20000 };

static pid_t idle_tid, busy_tid;
static pthread_t idle, busy;
static atomic_int is_over, to_idle, to_busy, to_main;
static int ends[2];

static void handler(int signo)
{
	pid_t self = gettid();

	(void)signo;
	++*(self == idle_tid ? &to_idle : self == busy_tid ? &to_busy : &to_main);
}

static void *waits(void *arg)
{
	char byte;

	idle_tid = gettid();
	while (read(ends[0], &byte, 1) != 1)
		;
	return arg;
}

static void *works(void *arg)
{
	busy_tid = gettid();
	for (volatile unsigned n = 0; !is_over; n++)
		;
	return arg;
}

static timer_t timer_of(clockid_t clock, pid_t told)
{
	struct sigevent event = { .sigev_notify = told ? SIGEV_THREAD_ID : SIGEV_SIGNAL, .sigev_signo = SIGPROF };
	timer_t timer = NULL;

	event._sigev_un._tid = told;
	if (timer_create(clock, &event, &timer) < 0)
		printf("timer_create: %s\n", strerrorname_np(errno));
	return timer;
}

static void arm(timer_t timer, int flags, int period_ms)
{
	struct itimerspec setting = { { 0, period_ms * 1000000L }, { 0, period_ms * 1000000L } };

	if (timer_settime(timer, flags, &setting, NULL) < 0)
		printf("timer_settime: %s\n", strerrorname_np(errno));
}

/* Waits for so many signals to the busy thread, or to this one. */
static void await(const char *what, atomic_int *count)
{
	long end = now_ms() + PATIENCE_MS;

	while (*count < ENOUGH && now_ms() < end)
		sleep_ms(5);
	printf("%s: %s", what, *count >= ENOUGH ? "enough" : "NOT ENOUGH");
}

static void reset(void)
{
	to_idle = to_busy = to_main = 0;
}

static void interval(const char *what, int which)
{
	struct itimerval setting = { { 0, PERIOD_MS * 1000 }, { 0, PERIOD_MS * 1000 } }, none = { 0 };
	int others;

	reset();
	setitimer(which, &setting, NULL);
	await(what, &to_busy);
	setitimer(which, &none, NULL);
	/* This thread works a little, too. */
	others = to_idle + to_main;
	printf(" to who works, %s to others\n", others <= to_busy / 2 ? "few" : "MANY");
}

static void of_threads(void)
{
	clockid_t of_idle, of_busy;
	timer_t first, second;

	pthread_getcpuclockid(idle, &of_idle);
	pthread_getcpuclockid(busy, &of_busy);
	first = timer_of(of_idle, idle_tid);
	second = timer_of(of_busy, busy_tid);
	reset();
	arm(first, 0, PERIOD_MS);
	arm(second, 0, PERIOD_MS);
	await("a thread's own timer", &to_busy);
	printf(", %d to an idle one's, %d to this\n", to_idle, to_main);
	timer_delete(first);
	timer_delete(second);
	first = timer_of(of_idle, 0);
	second = timer_of(of_busy, 0);
	reset();
	arm(first, TIMER_ABSTIME, 999);
	arm(second, TIMER_ABSTIME, 1);
	for (long end = now_ms() + PATIENCE_MS; to_idle + to_busy + to_main == 0 && now_ms() < end;)
		sleep_ms(5);
	printf("by the thread's clock: %s\n", to_idle + to_busy + to_main ? "expired" : "NOT EXPIRED");
	timer_delete(first);
	timer_delete(second);
}

static void *nothing(void *arg)
{
	return arg;
}

static void of_the_dead(void)
{
	struct itimerspec left;
	clockid_t clock;
	pthread_t thread;
	timer_t timer;

	if (pthread_create(&thread, NULL, nothing, NULL) != 0)
		return;
	pthread_getcpuclockid(thread, &clock);
	timer = timer_of(clock, 0);
	pthread_join(thread, NULL);
	sleep_ms(20);
	printf("of a thread that is gone: %s\n", timer_gettime(timer, &left) < 0 ? strerrorname_np(errno) : "ok");
	printf("left %ld\n", left.it_value.tv_sec + left.it_value.tv_nsec);
	timer_delete(timer);
}

static void of_a_child(void)
{
	pid_t child = fork();
	clockid_t clock;
	timer_t timer;

	if (child == 0)
		for (volatile unsigned n = 0;; n++)
			;
	clock_getcpuclockid(child, &clock);
	timer = timer_of(clock, gettid());
	reset();
	arm(timer, 0, PERIOD_MS);
	await("by a child's clock", &to_main);
	printf("\n");
	timer_delete(timer);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

int main(void)
{
	signal(SIGPROF, handler);
	signal(SIGVTALRM, handler);
	if (pipe(ends) < 0 || pthread_create(&idle, NULL, waits, NULL) != 0 || pthread_create(&busy, NULL, works, NULL) != 0)
		return 1;
	while (!idle_tid || !busy_tid)
		sleep_ms(1);
	interval("ITIMER_PROF", ITIMER_PROF);
	interval("ITIMER_VIRTUAL", ITIMER_VIRTUAL);
	of_threads();
	of_the_dead();
	is_over = 1;
	pthread_join(busy, NULL);
	of_a_child();
	if (write(ends[1], "", 1) != 1)
		return 1;
	pthread_join(idle, NULL);
	return 0;
}
