/*
 * All numbers of options of all levels, on sockets of all kinds: reading them into rooms of several lengths, and
 * setting them to 0, 1 and -1 with several lengths; what is told afterwards. A line for each that is known at all.
 */
#include "common.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <linux/netlink.h>

#define LAST 84

static const struct kind {
	const char *name;
	int family, type, protocol;
} kinds[] = {
	{ "TCP", AF_INET, SOCK_STREAM, 0 },   { "TCP6", AF_INET6, SOCK_STREAM, 0 },
	{ "UDP", AF_INET, SOCK_DGRAM, 0 },    { "UDP6", AF_INET6, SOCK_DGRAM, 0 },
	{ "unix", AF_UNIX, SOCK_STREAM, 0 },  { "unix datagram", AF_UNIX, SOCK_DGRAM, 0 },
	{ "netlink", AF_NETLINK, SOCK_RAW, NETLINK_ROUTE },
};
static const struct level {
	const char *name;
	int number;
} levels[] = {
	{ "SOL_SOCKET", SOL_SOCKET }, { "IP", IPPROTO_IP }, { "IPV6", IPPROTO_IPV6 }, { "TCP", IPPROTO_TCP }, { "UDP", IPPROTO_UDP },
};

struct left {
	int level, option;
	const char *why;
};

/* What is left out, as COMPATIBILITY.md says or as it differs from run to run. */
static const struct left left[] = {
	{ SOL_SOCKET, 57, "SO_COOKIE" },
	{ SOL_SOCKET, 71, "SO_NETNS_COOKIE" },
};

static int is_left(int level, int option)
{
	for (size_t i = 0; i < sizeof left / sizeof *left; i++)
		if (left[i].level == level && left[i].option == option)
			return 1;
	return 0;
}

static int open_one(const struct kind *k)
{
	int s;

	MUST(s = socket(k->family, k->type, k->protocol));
	return s;
}

static char *put(char *at, const char *text)
{
	strcpy(at, text);
	return at + strlen(at);
}

/* What reading into so much room gives: an error, or the length and the first number. */
static char *get(char *at, int s, int level, int option, socklen_t room)
{
	union { int numbers[64]; unsigned char bytes[256]; } value;
	socklen_t len = room;

	memset(&value, 0, sizeof value);
	if (getsockopt(s, level, option, &value, &len) == -1) {
		*at++ = ' ';
		return put(at, strerrorname_np(errno));
	}
	if (len > room)
		return at + sprintf(at, " %u!", len);
	/* Structures are told by their length alone. */
	if (len == 4)
		return at + sprintf(at, " %d", value.numbers[0]);
	if (len == 1)
		return at + sprintf(at, " %db", value.bytes[0]);
	return at + sprintf(at, " [%u]", len);
}

static void walk(const struct kind *k, const struct level *l, int option)
{
	static const socklen_t rooms[] = { 0, 1, 4, 8, 64 }, lens[] = { 0, 1, 3, 4 };
	static const int values[] = { 0, 1, -1 };
	char line[1024], *at = line;
	int known = 0;

	for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) {
		int s = open_one(k);

		at = get(at, s, l->number, option, rooms[i]);
		close(s);
	}
	at = put(at, " | set");
	for (size_t i = 0; i < sizeof lens / sizeof *lens; i++)
		for (size_t j = 0; j < sizeof values / sizeof *values; j++) {
			int s = open_one(k);

			*at++ = ' ';
			if (setsockopt(s, l->number, option, &values[j], lens[i]) == -1) {
				known |= errno != ENOPROTOOPT && errno != EOPNOTSUPP;
				at = put(at, strerrorname_np(errno));
			} else {
				known = 1;
				*at++ = '0';
				if (lens[i] == 4) {
					*at++ = '>';
					at = get(at, s, l->number, option, 4);
				}
			}
			close(s);
		}
	*at = 0;
	if (known || strchr(line, '[') || strpbrk(line, "0123456789"))
		printf("%s %s %d:%s\n", k->name, l->name, option, line);
}

int main(void)
{
	for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
		for (size_t l = 0; l < sizeof levels / sizeof *levels; l++)
			for (int option = 0; option <= LAST; option++)
				if (!is_left(levels[l].number, option))
					walk(&kinds[k], &levels[l], option);
	return 0;
}
