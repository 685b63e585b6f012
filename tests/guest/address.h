/* Addresses of sockets, of IPv4 or IPv6, made of text and shown as text. */
#ifndef ADDRESS_H
#define ADDRESS_H

#include "common.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

struct any {
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	};
	socklen_t len;
};

static inline struct any at(const char *text, int port)
{
	struct any a = { .len = sizeof a.in };

	a.in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port) };
	if (inet_pton(AF_INET, text, &a.in.sin_addr) == 1)
		return a;
	a.in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(port) };
	inet_pton(AF_INET6, text, &a.in6.sin6_addr);
	a.len = sizeof a.in6;
	return a;
}

static inline const char *text_of(const void *sockaddr)
{
	static char text[INET6_ADDRSTRLEN];
	const struct sockaddr *sa = sockaddr;

	if (sa->sa_family == AF_INET)
		return inet_ntop(AF_INET, &((struct sockaddr_in *)sa)->sin_addr, text, sizeof text);
	if (sa->sa_family == AF_INET6)
		return inet_ntop(AF_INET6, &((struct sockaddr_in6 *)sa)->sin6_addr, text, sizeof text);
	return "nobody";
}

static inline int ready(int s, int ms)
{
	return poll(&(struct pollfd){ .fd = s, .events = POLLIN }, 1, ms) == 1;
}

#endif
