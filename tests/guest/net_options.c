/* Every socket option by number: what a fresh socket says of it, which values and lengths it takes, what it says then. */
#include "common.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static const struct {
	const char *name;
	int family, type, protocol;
} kinds[] = {
	{ "tcp4", AF_INET, SOCK_STREAM, 0 },	    { "tcp6", AF_INET6, SOCK_STREAM, 0 },
	{ "udp4", AF_INET, SOCK_DGRAM, 0 },	    { "udp6", AF_INET6, SOCK_DGRAM, 0 },
	{ "stream", AF_UNIX, SOCK_STREAM, 0 },	    { "dgram", AF_UNIX, SOCK_DGRAM, 0 },
};

static const struct {
	const char *name;
	int level, count;
} levels[] = { { "SOCKET", SOL_SOCKET, 78 }, { "IP", IPPROTO_IP, 50 }, { "TCP", IPPROTO_TCP, 38 },
	       { "IPV6", IPPROTO_IPV6, 82 },  { "UDP", IPPROTO_UDP, 3 } };

/* Options with values of the machine or of the kernel's version, or with no effect that is promised. */
static int skipped(int level, int name)
{
	static const int all[][2] = {
		{ SOL_SOCKET, SO_COOKIE }, { SOL_SOCKET, 71 }, { SOL_SOCKET, SO_INCOMING_CPU }, { SOL_SOCKET, 55 },
		{ SOL_SOCKET, 31 }, { SOL_SOCKET, 77 }, { SOL_SOCKET, 50 }, { SOL_SOCKET, 52 }, { SOL_SOCKET, 53 },
		{ SOL_SOCKET, 70 }, { SOL_SOCKET, 73 }, { SOL_SOCKET, 61 }, { SOL_SOCKET, SO_MAX_PACING_RATE },
		{ SOL_SOCKET, SO_PRIORITY }, { SOL_SOCKET, SO_RXQ_OVFL }, { SOL_SOCKET, 26 }, { SOL_SOCKET, 51 },
		{ SOL_SOCKET, 41 }, { SOL_SOCKET, 76 }, { SOL_SOCKET, SO_RCVLOWAT }, { SOL_SOCKET, 54 }, { SOL_SOCKET, SO_TIMESTAMPING }, { SOL_SOCKET, 65 },
		{ IPPROTO_TCP, TCP_CONGESTION }, { IPPROTO_TCP, TCP_INFO }, { IPPROTO_TCP, TCP_ULP }, { IPPROTO_TCP, 33 },
		{ IPPROTO_TCP, TCP_MD5SIG }, { IPPROTO_TCP, 32 }, { IPPROTO_TCP, TCP_CC_INFO }, { IPPROTO_TCP, 35 },
		{ IPPROTO_TCP, TCP_REPAIR }, { IPPROTO_TCP, 20 }, { IPPROTO_TCP, 21 }, { IPPROTO_TCP, TCP_REPAIR_OPTIONS },
		{ IPPROTO_TCP, 29 }, { IPPROTO_TCP, TCP_SAVE_SYN }, { IPPROTO_TCP, TCP_TIMESTAMP }, { IPPROTO_TCP, TCP_FASTOPEN },
		{ IPPROTO_TCP, 30 }, { IPPROTO_TCP, 34 }, { IPPROTO_TCP, 37 }, { IPPROTO_TCP, 28 }, { IPPROTO_TCP, 13 }, { IPPROTO_TCP, 15 },
		{ IPPROTO_TCP, TCP_WINDOW_CLAMP }, { IPPROTO_TCP, TCP_MAXSEG }, { IPPROTO_TCP, 36 },
		{ IPPROTO_IP, 16 }, { IPPROTO_IP, 17 }, { IPPROTO_IP, 4 }, { IPPROTO_IP, 9 },
		{ IPPROTO_IPV6, 34 }, { IPPROTO_IPV6, 35 }, { IPPROTO_IPV6, 50 }, { IPPROTO_IPV6, 54 }, { IPPROTO_IPV6, 55 },
		{ IPPROTO_IPV6, 57 }, { IPPROTO_IPV6, 59 }, { IPPROTO_IPV6, 6 }, { IPPROTO_IPV6, 32 }, { IPPROTO_IPV6, 33 },
		{ IPPROTO_IPV6, 1 }, { IPPROTO_IPV6, IPV6_MTU }, { IPPROTO_IPV6, 72 }, { IPPROTO_IPV6, 76 }, { IPPROTO_IPV6, 80 },
	};
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
		if (all[i][0] == level && all[i][1] == name)
			return 1;
	/* Netfilter's numbers. */
	return (level == IPPROTO_IPV6 && name >= 63 && name <= 65) || (level == IPPROTO_IP && name == 49) || (level == IPPROTO_IP && name >= 32 && name <= 48 && name > 41);
}

static void show(int fd, int level, int name, int room)
{
	unsigned char value[64];
	socklen_t len = room;
	memset(value, 0xee, sizeof value);
	if (getsockopt(fd, level, name, value, &len)) {
		printf(" %s", strerrorname_np(errno));
		return;
	}
	printf(" [%u]", len);
	for (unsigned i = 0; i < len && i < 12; i++)
		printf("%02x", value[i]);
}

/* The type of service chooses the priority, until somebody sets that. */
static void priorities(void)
{
	int kinds[] = { SOCK_STREAM, SOCK_DGRAM };

	for (int k = 0; k < 2; k++)
		for (int tos = 0; tos < 256; tos += 4) {
			int s = socket(AF_INET, kinds[k], 0), value = 3;
			socklen_t len = sizeof value;

			setsockopt(s, SOL_SOCKET, SO_PRIORITY, &value, sizeof value);
			setsockopt(s, IPPROTO_IP, IP_TOS, &tos, sizeof tos);
			getsockopt(s, SOL_SOCKET, SO_PRIORITY, &value, &len);
			printf("class %#x: priority %d\n", tos, value);
			close(s);
		}
}

int main(void)
{
	static const int values[] = { -2, -1, 0, 1, 2, 5, 63, 64, 255, 256, 40000 };
	for (unsigned k = 0; k < sizeof kinds / sizeof *kinds; k++)
		for (unsigned l = 0; l < sizeof levels / sizeof *levels; l++)
			for (int name = 0; name < levels[l].count; name++) {
				int level = levels[l].level;
				if (skipped(level, name) || (kinds[k].family == AF_UNIX && level != SOL_SOCKET && name > 3))
					continue;
				int fd = socket(kinds[k].family, kinds[k].type, kinds[k].protocol);
				printf("%s %s %d:", kinds[k].name, levels[l].name, name);
				show(fd, level, name, 4);
				show(fd, level, name, 1);
				show(fd, level, name, 0);
				printf(" len");
				for (int len = 0; len < 5; len++) {
					unsigned char one[64] = { 1 };
					printf(" %s", setsockopt(fd, level, name, one, len) ? strerrorname_np(errno) : "0");
				}
				close(fd);
				printf(" values");
				for (unsigned v = 0; v < sizeof values / sizeof *values; v++) {
					char wide[64] = { 0 };
					memcpy(wide, &values[v], 4);
					fd = socket(kinds[k].family, kinds[k].type, kinds[k].protocol);
					int r = setsockopt(fd, level, name, wide, 4);
					printf(" %s", r ? strerrorname_np(errno) : "0");
					if (!r)
						show(fd, level, name, 4);
					close(fd);
				}
				printf("\n");
			}
	priorities();
	return 0;
}
