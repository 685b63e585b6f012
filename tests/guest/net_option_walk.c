/*
 * All numbers of options of all levels, on sockets of all kinds: reading them into rooms of several lengths, and
 * setting them to 0, 1 and -1 with several lengths; what is told afterwards. A line for each that is known at all.
 */
#include "common.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <linux/netlink.h>

/* Beyond it kernels differ. */
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
	{ SOL_SOCKET, 18, "the bound of SO_RCVLOWAT follows from tcp_rmem" },
	{ SOL_SOCKET, 26, "SO_GET_FILTER" },
	{ SOL_SOCKET, 28, "the length of a name that is told" },
	{ SOL_SOCKET, 50, "SO_ATTACH_BPF" },
	{ SOL_SOCKET, 51, "SO_ATTACH_REUSEPORT_CBPF" },
	{ SOL_SOCKET, 52, "SO_ATTACH_REUSEPORT_EBPF" },
	{ SOL_SOCKET, 57, "SO_COOKIE" },
	{ SOL_SOCKET, 61, "SO_TXTIME" },
	{ SOL_SOCKET, 65, "SO_TIMESTAMPING_NEW" },
	{ SOL_SOCKET, 71, "SO_NETNS_COOKIE" },
	{ SOL_SOCKET, 80, "SO_DEVMEM_DONTNEED" },
	{ SOL_SOCKET, 82, "SO_RCVPRIORITY" },
	{ SOL_SOCKET, 83, "SO_PASSRIGHTS" },
	{ SOL_SOCKET, 84, "SO_INQ" },
	{ IPPROTO_IP, 4, "IP_OPTIONS" },
	{ IPPROTO_IP, 9, "IP_PKTOPTIONS" },
	{ IPPROTO_IP, 16, "IP_IPSEC_POLICY" },
	{ IPPROTO_IP, 17, "IP_XFRM_POLICY" },
	{ IPPROTO_IP, 48, "MCAST_MSFILTER" },
	{ IPPROTO_IP, 52, "IP_PROTOCOL" },
	{ IPPROTO_IP, 64, "netfilter" },
	{ IPPROTO_IP, 65, "netfilter" },
	{ IPPROTO_IPV6, 1, "IPV6_ADDRFORM" },
	{ IPPROTO_IPV6, 6, "IPV6_2292PKTOPTIONS" },
	{ IPPROTO_IPV6, 24, "IPV6_MTU" },
	{ IPPROTO_IPV6, 32, "IPV6_FLOWLABEL_MGR" },
	{ IPPROTO_IPV6, 33, "IPV6_FLOWINFO_SEND" },
	{ IPPROTO_IPV6, 34, "IPV6_IPSEC_POLICY" },
	{ IPPROTO_IPV6, 35, "IPV6_XFRM_POLICY" },
	{ IPPROTO_IPV6, 50, "IPV6_MSFILTER" },
	{ IPPROTO_IPV6, 54, "IPV6_HOPOPTS" },
	{ IPPROTO_IPV6, 55, "IPV6_RTHDRDSTOPTS" },
	{ IPPROTO_IPV6, 57, "IPV6_RTHDR" },
	{ IPPROTO_IPV6, 59, "IPV6_DSTOPTS" },
	{ IPPROTO_IPV6, 64, "netfilter" },
	{ IPPROTO_IPV6, 65, "netfilter" },
	{ IPPROTO_IPV6, 72, "IPV6_ADDR_PREFERENCES" },
	{ IPPROTO_TCP, 13, "TCP_CONGESTION: each machine has its own" },
	{ IPPROTO_TCP, 14, "TCP_MD5SIG" },
	{ IPPROTO_TCP, 19, "TCP_REPAIR" },
	{ IPPROTO_TCP, 20, "TCP_REPAIR_QUEUE" },
	{ IPPROTO_TCP, 21, "TCP_QUEUE_SEQ" },
	{ IPPROTO_TCP, 22, "TCP_REPAIR_OPTIONS" },
	{ IPPROTO_TCP, 24, "TCP_TIMESTAMP: random" },
	{ IPPROTO_TCP, 26, "TCP_CC_INFO: each machine has its own" },
	{ IPPROTO_TCP, 27, "TCP_SAVE_SYN" },
	{ IPPROTO_TCP, 28, "TCP_SAVED_SYN" },
	{ IPPROTO_TCP, 29, "TCP_REPAIR_WINDOW" },
	{ IPPROTO_TCP, 32, "TCP_MD5SIG_EXT" },
	{ IPPROTO_TCP, 33, "TCP_FASTOPEN_KEY" },
	{ IPPROTO_TCP, 34, "TCP_FASTOPEN_NO_COOKIE" },
	{ IPPROTO_TCP, 35, "TCP_ZEROCOPY_RECEIVE" },
	{ IPPROTO_TCP, 37, "TCP_TX_DELAY" },
	{ IPPROTO_TCP, 44, "TCP_RTO_MAX_MS" },
	{ IPPROTO_TCP, 45, "TCP_RTO_MIN_US" },
	{ IPPROTO_TCP, 46, "TCP_DELACK_MAX_US" },
	{ IPPROTO_UDP, 10, "UDP_NO_CHECK6_TX is not kept apart" },
	{ IPPROTO_UDP, 11, "the same" },
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
	int known = 0, s;

	s = open_one(k);
	for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++)
		at = get(at, s, l->number, option, rooms[i]);
	at = put(at, " | set");
	for (size_t i = 0; i < sizeof lens / sizeof *lens; i++)
		for (size_t j = 0; j < sizeof values / sizeof *values; j++) {
			/* What a whole number has set does not reach the next. */
			if (lens[i] == 4) {
				close(s);
				s = open_one(k);
			}
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
		}
	close(s);
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
