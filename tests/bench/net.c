/* Traffic between two hosts: `serve` at one end, and at the other what is measured, one "name<TAB>number" a line. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ECHO = 7001, SINK, SOURCE, CLOSE, DATAGRAMS, HOLD };
static char buffer[256 << 10];

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static struct sockaddr_in at(const char *ip, int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	inet_pton(AF_INET, ip, &a.sin_addr);
	return a;
}

static int dial(const char *ip, int port)
{
	struct sockaddr_in a = at(ip, port);
	int one = 1, s = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(s, (struct sockaddr *)&a, sizeof a))
		perror("connect"), exit(1);
	setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return s;
}

static void serve_one(int port, int s)
{
	ssize_t n = 1;
	int one = 1;
	setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	while (n > 0) {
		n = port == SOURCE ? send(s, buffer, sizeof buffer, 0) : recv(s, buffer, sizeof buffer, 0);
		if (port == ECHO && n > 0)
			n = send(s, buffer, n, 0);
	}
	close(s);
}

static void serve(int port)
{
	struct sockaddr_in a = at("0.0.0.0", port);
	int one = 1, l = socket(AF_INET, port == DATAGRAMS ? SOCK_DGRAM : SOCK_STREAM, 0);
	setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(l, (struct sockaddr *)&a, sizeof a))
		perror("bind"), exit(1);
	if (port == DATAGRAMS)
		for (socklen_t len = sizeof a;; len = sizeof a) {
			ssize_t n = recvfrom(l, buffer, sizeof buffer, 0, (struct sockaddr *)&a, &len);
			sendto(l, buffer, n, 0, (struct sockaddr *)&a, len);
		}
	listen(l, 4096);
	for (;;) {
		int s = accept(l, NULL, NULL);
		if (port == HOLD || s < 0)
			continue;
		if (port == CLOSE) {
			close(s);
			continue;
		}
		if (!fork()) {
			serve_one(port, s);
			_exit(0);
		}
		close(s);
	}
}

static double stream(const char *ip, int port)
{
	int s = dial(ip, port);
	double start = now(), bytes = 0;
	while (now() - start < 1) {
		ssize_t n = port == SOURCE ? recv(s, buffer, sizeof buffer, 0) : send(s, buffer, sizeof buffer, 0);
		if (n <= 0)
			break;
		bytes += n;
	}
	double gbit = bytes * 8 / (now() - start) / 1e9;
	close(s);
	return gbit;
}

static double round_trip(const char *ip, int port)
{
	struct sockaddr_in a = at(ip, port);
	int s = port == ECHO ? dial(ip, port) : socket(AF_INET, SOCK_DGRAM, 0);
	if (port != ECHO)
		connect(s, (struct sockaddr *)&a, sizeof a);
	double start = now();
	int n = 0;
	for (; now() - start < 1; n++) {
		if (send(s, buffer, 1, 0) != 1)
			break;
		/* A datagram may be lost. */
		if (port != ECHO && poll(&(struct pollfd){ s, POLLIN, 0 }, 1, 200) != 1)
			continue;
		if (recv(s, buffer, 1, 0) != 1)
			break;
	}
	double us = (now() - start) * 1e6 / (n ? n : 1);
	close(s);
	return us;
}

static double connects(const char *ip)
{
	double start = now();
	int n = 0;
	for (; now() - start < 1; n++) {
		int s = dial(ip, CLOSE);
		recv(s, buffer, 1, 0);
		close(s);
	}
	return n / (now() - start);
}

int main(int argc, char **argv)
{
	struct rlimit files = { 65536, 65536 };
	setrlimit(RLIMIT_NOFILE, &files);
	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	if (argc == 2 && !strcmp(argv[1], "serve")) {
		for (int port = ECHO; port < HOLD; port++)
			if (!fork())
				serve(port);
		serve(HOLD);
	}
	if (argc == 4 && !strcmp(argv[1], "hold")) {
		/* Idle connections, until somebody ends this. */
		for (int n = atoi(argv[3]); n > 0; n--)
			dial(argv[2], HOLD);
		puts("held");
		fflush(stdout);
		pause();
	}
	if (argc != 3 || strcmp(argv[1], "measure"))
		return 2;
	const char *ip = argv[2];
	printf("TCP stream out, Gbit/s\t%.4f\n", stream(ip, SINK));
	printf("TCP stream in, Gbit/s\t%.4f\n", stream(ip, SOURCE));
	printf("TCP round trip\t%.2f\n", round_trip(ip, ECHO));
	printf("UDP round trip\t%.2f\n", round_trip(ip, DATAGRAMS));
	printf("connections, a second\t%.0f\n", connects(ip));
	return 0;
}
