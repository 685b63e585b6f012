/* Clocks and timers: errors and edges. */
#include "common.h"
#include <sys/time.h>
#include <sys/times.h>
#include <sys/timex.h>

static void clocks(void)
{
	struct timespec t, bad = { 0, -1 }, sane = { 1000000000, 0 };
	clockid_t ids[] = { CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID, CLOCK_MONOTONIC_RAW,
			    CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME,
			    10, CLOCK_TAI, 12, 99, -1, -7, ~0x7ffffff8 };

	for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
		char name[64];
		snprintf(name, sizeof name, "gettime %d", ids[i]);
		CHECK(name, syscall(SYS_clock_gettime, ids[i], &t));
		snprintf(name, sizeof name, "getres %d", ids[i]);
		t.tv_nsec = 0;
		CHECK(name, syscall(SYS_clock_getres, ids[i], &t));
		snprintf(name, sizeof name, "getres without place %d", ids[i]);
		CHECK(name, syscall(SYS_clock_getres, ids[i], NULL));
		snprintf(name, sizeof name, "settime %d", ids[i]);
		if (ids[i] != CLOCK_REALTIME)
			CHECK(name, syscall(SYS_clock_settime, ids[i], &sane));
	}
	SHOW(syscall(SYS_clock_gettime, CLOCK_REALTIME, 8));
	SHOW(syscall(SYS_clock_getres, CLOCK_REALTIME, 8));
	SHOW(syscall(SYS_clock_settime, CLOCK_REALTIME, 8));
	SHOW(syscall(SYS_clock_settime, CLOCK_REALTIME, &bad));
	SHOW(syscall(SYS_gettimeofday, 8, NULL));
	SHOW(syscall(SYS_gettimeofday, NULL, NULL));
	SHOW(syscall(SYS_time, 8));
	SHOW(syscall(SYS_settimeofday, 8, NULL));
	SHOW(syscall(SYS_settimeofday, NULL, 8));
	struct timeval tv = { 0, 1000001 };
	SHOW(syscall(SYS_settimeofday, &tv, NULL));
	SHOW(syscall(SYS_times, 8));
}

static void sleeps(void)
{
	struct timespec bad = { 0, 1000000000 }, negative = { -1, 0 }, ms = { 0, 5000000 }, zero = { 0, 0 }, past = { 1, 0 };

	SHOW(syscall(SYS_nanosleep, &bad, NULL));
	SHOW(syscall(SYS_nanosleep, &negative, NULL));
	SHOW(syscall(SYS_nanosleep, 8, NULL));
	SHOW(syscall(SYS_nanosleep, NULL, NULL));
	SHOW(syscall(SYS_nanosleep, &ms, 8));
	SHOW(syscall(SYS_nanosleep, &zero, NULL));
	int ids[] = { CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID, CLOCK_MONOTONIC_RAW,
		      CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME, 10, CLOCK_TAI, 99, -1 };
	for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
		char name[64];
		if (ids[i] == CLOCK_PROCESS_CPUTIME_ID)
			continue;
		snprintf(name, sizeof name, "sleep by %d", ids[i]);
		CHECK(name, syscall(SYS_clock_nanosleep, ids[i], 0, &ms, NULL));
		snprintf(name, sizeof name, "sleep until, by %d", ids[i]);
		CHECK(name, syscall(SYS_clock_nanosleep, ids[i], TIMER_ABSTIME, &past, NULL));
		snprintf(name, sizeof name, "bad sleep by %d", ids[i]);
		CHECK(name, syscall(SYS_clock_nanosleep, ids[i], 0, &bad, NULL));
	}
	SHOW(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, 8, NULL));
	SHOW(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 8, &ms, NULL));
}

static volatile sig_atomic_t hits;
static void on_signal(int signo) { hits += signo != 0; }

static void interrupted(void)
{
	struct timespec longer = { 0, 200000000 }, left = { 9, 9 }, until;
	struct itimerval soon = { { 0, 0 }, { 0, 30000 } };
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
	SHOW(nanosleep(&longer, &left));
	TRUE("what is left", left.tv_sec == 0 && left.tv_nsec > 50000000 && left.tv_nsec < 200000000);
	setitimer(ITIMER_REAL, &soon, NULL);
	SHOW(syscall(SYS_nanosleep, &longer, 8));
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += 1;
	left = (struct timespec){ 9, 9 };
	setitimer(ITIMER_REAL, &soon, NULL);
	SHOW(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &until, &left));
	TRUE("nothing told", left.tv_sec == 9);
	/* Stopped and continued, it sleeps on. */
	fflush(stdout);
	pid_t pid = fork();
	if (!pid) {
		long start = now_ms();
		int r = nanosleep(&longer, NULL);
		_exit(r == 0 && now_ms() - start >= 195 ? 0 : 1);
	}
	sleep_ms(50);
	kill(pid, SIGSTOP);
	sleep_ms(20);
	kill(pid, SIGCONT);
	int status;
	waitpid(pid, &status, 0);
	report_status("stopped in sleep", status);
}

static void interval(void)
{
	struct itimerval it = { { 0, 0 }, { 0, 1000000 } }, old;

	SHOW(syscall(SYS_getitimer, 3, &it));
	SHOW(syscall(SYS_getitimer, -1, &it));
	SHOW(syscall(SYS_getitimer, 0, 8));
	SHOW(syscall(SYS_setitimer, 3, &it, NULL));
	SHOW(syscall(SYS_setitimer, 0, &it, NULL));
	it.it_value.tv_usec = -1;
	SHOW(syscall(SYS_setitimer, 0, &it, NULL));
	it = (struct itimerval){ { 0, 1000000 }, { 0, 0 } };
	SHOW(syscall(SYS_setitimer, 0, &it, NULL));
	SHOW(syscall(SYS_setitimer, 0, 8, NULL));
	it = (struct itimerval){ { 5, 0 }, { 100, 0 } };
	SHOW(syscall(SYS_setitimer, 0, &it, 8));
	SHOW(getitimer(ITIMER_REAL, &old));
	printf("interval %ld, left %d\n", (long)old.it_interval.tv_sec, old.it_value.tv_sec >= 98);
	SHOW(syscall(SYS_setitimer, 0, NULL, &old));
	SHOW(getitimer(ITIMER_REAL, &old));
	printf("left %ld\n", (long)old.it_value.tv_sec);
	SHOW(alarm(50));
	SHOW(alarm(20));
	SHOW(alarm(0));
	SHOW(alarm(0));
	hits = 0;
	signal(SIGVTALRM, on_signal);
	it = (struct itimerval){ { 0, 0 }, { 0, 20000 } };
	setitimer(ITIMER_VIRTUAL, &it, NULL);
	for (long end = now_ms() + 5000; !hits && now_ms() < end;)
		;
	printf("virtual: %d\n", hits);
	hits = 0;
	signal(SIGPROF, on_signal);
	setitimer(ITIMER_PROF, &it, NULL);
	for (long end = now_ms() + 5000; !hits && now_ms() < end;)
		;
	printf("profiling: %d\n", hits);
}

static void posix(void)
{
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct itimerspec it = { { 0, 0 }, { 0, 10000000 } }, old;
	int id = -1, kid;

	SHOW(syscall(SYS_timer_create, 99, &ev, &id));
	SHOW(syscall(SYS_timer_create, CLOCK_MONOTONIC_RAW, &ev, &id));
	SHOW(syscall(SYS_timer_create, CLOCK_REALTIME_COARSE, &ev, &id));
	SHOW(syscall(SYS_timer_create, CLOCK_MONOTONIC, 8, &id));
	SHOW(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, 8));
	ev.sigev_signo = 65;
	SHOW(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id));
	ev.sigev_signo = 0;
	SHOW(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id));
	ev.sigev_notify = 77;
	ev.sigev_signo = SIGUSR1;
	SHOW(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id));
	ev.sigev_notify = SIGEV_THREAD_ID;
	ev._sigev_un._tid = 1 << 22;
	SHOW(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id));
	ev.sigev_notify = SIGEV_NONE;
	WORKS("none", syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &kid));
	SHOW(syscall(SYS_timer_gettime, 12345, &old));
	SHOW(syscall(SYS_timer_gettime, kid, 8));
	SHOW(syscall(SYS_timer_settime, 12345, 0, &it, NULL));
	SHOW(syscall(SYS_timer_settime, kid, 0, 8, NULL));
	SHOW(syscall(SYS_timer_settime, kid, 0, NULL, NULL));
	it.it_value.tv_nsec = 1000000000;
	SHOW(syscall(SYS_timer_settime, kid, 0, &it, NULL));
	it = (struct itimerspec){ { 0, -1 }, { 1, 0 } };
	SHOW(syscall(SYS_timer_settime, kid, 0, &it, NULL));
	it = (struct itimerspec){ { 0, 0 }, { 100, 0 } };
	SHOW(syscall(SYS_timer_settime, kid, 8, &it, NULL));
	SHOW(syscall(SYS_timer_settime, kid, 0, &it, 8));
	SHOW(syscall(SYS_timer_gettime, kid, &old));
	printf("left %d\n", old.it_value.tv_sec >= 98);
	SHOW(syscall(SYS_timer_getoverrun, kid));
	SHOW(syscall(SYS_timer_getoverrun, 12345));
	SHOW(syscall(SYS_timer_delete, kid));
	SHOW(syscall(SYS_timer_delete, kid));
	signal(SIGUSR1, on_signal);
	hits = 0;
	ev.sigev_notify = SIGEV_SIGNAL;
	MUST(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &kid));
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	it = (struct itimerspec){ { 0, 5000000 }, { 0, 5000000 } };
	MUST(syscall(SYS_timer_settime, kid, 0, &it, NULL));
	sleep_ms(60);
	siginfo_t info;
	struct timespec zero = { 0, 0 };
	SHOW(sigtimedwait(&set, &info, &zero));
	TRUE("overruns", info.si_code == SI_TIMER && info.si_overrun >= 5 && syscall(SYS_timer_getoverrun, kid) == info.si_overrun);
	SHOW(syscall(SYS_timer_delete, kid));
	SHOW(sigtimedwait(&set, &info, &zero));
	it = (struct itimerspec){ { 0, 0 }, { 1, 0 } };
	MUST(syscall(SYS_timer_create, CLOCK_REALTIME, NULL, &kid));
	MUST(syscall(SYS_timer_settime, kid, TIMER_ABSTIME, &it, NULL));
	sigset_t alarm_set;
	sigemptyset(&alarm_set);
	sigaddset(&alarm_set, SIGALRM);
	SHOW(hits >= 0);
	syscall(SYS_timer_delete, kid);
}

int main(void)
{
	clocks();
	sleeps();
	interrupted();
	signal(SIGALRM, SIG_IGN);
	interval();
	posix();
	return 0;
}
