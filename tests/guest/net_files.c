/* /proc/net and /proc/sys/net: sockets as lines of text, parameters. */
#include "common.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Prints the line of `file` that has `needle`, without columns that differ from run to run. */
static void show_line(const char *file, const char *needle, int columns)
{
	char path[64], line[512];
	snprintf(path, sizeof path, "/proc/net/%s", file);
	FILE *f = fopen(path, "r");
	if (!f) {
		printf("%s: %s\n", file, strerrorname_np(errno));
		return;
	}
	while (fgets(line, sizeof line, f)) {
		if (!strstr(line, needle))
			continue;
		size_t len = strlen(line);
		printf("%s (%zu):", file, len > 127 ? len : 0);
		char *save, *word = strtok_r(line, " \n", &save);
		for (int at = 0; word && at < columns; at++, word = strtok_r(NULL, " \n", &save))
			if (at > 0)
				printf(" %s", word);
		printf("\n");
		break;
	}
	fclose(f);
}

static void show_head(const char *file)
{
	char path[64], line[2048];
	snprintf(path, sizeof path, "/proc/net/%s", file);
	FILE *f = fopen(path, "r");
	if (f && fgets(line, sizeof line, f))
		printf("%s: %s", file, line);
	else
		printf("%s: none\n", file);
	if (f)
		fclose(f);
}

static void put(const char *path, const char *text)
{
	char name[200];
	snprintf(name, sizeof name, "/proc/sys/net/%s", path);
	int fd = open(name, O_WRONLY | O_TRUNC);
	errno = 0;
	long n = write(fd, text, strlen(text));
	snprintf(name, sizeof name, "write %s %s", path, text);
	report(name, n);
	close(fd);
}

static void get(const char *path)
{
	char name[200], text[200] = "";
	snprintf(name, sizeof name, "/proc/sys/net/%s", path);
	int fd = open(name, O_RDONLY);
	if (fd < 0 || read(fd, text, sizeof text - 1) < 0)
		printf("%s: %s\n", path, strerrorname_np(errno));
	else
		printf("%s: %s", path, text);
	close(fd);
}

int main(void)
{
	/* Ports that nobody else has, in a network that may be shared: natively the test makes its own. */
	unsigned short port = 21000 + getpid() % 9000;
	char hex[8];
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port) };
	struct sockaddr_in6 b = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT, .sin6_port = htons(port) };
	(void)hex;
	for (const char **f = (const char *[]){ "tcp", "tcp6", "udp", "udp6", "raw", "raw6", "unix", "dev", "route",
						"packet", "netlink", "arp", "igmp", NULL }; *f; f++)
		show_head(*f);

	int s = socket(AF_INET, SOCK_STREAM, 0), s6 = socket(AF_INET6, SOCK_STREAM, 0);
	MUST(bind(s, (struct sockaddr *)&a, sizeof a));
	MUST(bind(s6, (struct sockaddr *)&b, sizeof b));
	snprintf(hex, sizeof hex, ":%04X", port);
	show_line("tcp", hex, 1);
	MUST(listen(s, 7));
	MUST(listen(s6, 7));
	/* 4 columns behind the addresses: state and queues. */
	char needle[32];
	snprintf(needle, sizeof needle, "0100007F:%04X 00000000:0000 0A", port);
	FILE *f = fopen("/proc/net/tcp", "r");
	char line[512];
	int found = 0;
	while (f && fgets(line, sizeof line, f))
		if (strstr(line, needle))
			found = (int)strlen(line);
	TRUE("a listener has a line of 150", found == 150);
	fclose(f);
	int c = socket(AF_INET, SOCK_STREAM, 0);
	MUST(connect(c, (struct sockaddr *)&a, sizeof a));
	MUST(send(c, "abc", 3, 0));
	int accepted = accept(s, NULL, NULL);
	MUST(accepted);
	snprintf(needle, sizeof needle, "0100007F:%04X 0100007F:", port);
	f = fopen("/proc/net/tcp", "r");
	while (fgets(line, sizeof line, f))
		if (strstr(line, needle)) {
			char *state = strstr(line, needle) + 28;
			TRUE("an established line has the state", strncmp(state, "01", 2) == 0);
			TRUE("and the queues", strncmp(state + 3, "00000000:00000003", 17) == 0);
		}
	fclose(f);
	struct sockaddr_un u = { AF_UNIX, "" };
	int len = sprintf(u.sun_path + 1, "net_files_%d", getpid());
	int x = socket(AF_UNIX, SOCK_STREAM, 0);
	MUST(bind(x, (struct sockaddr *)&u, 3 + len));
	MUST(listen(x, 3));
	snprintf(needle, sizeof needle, "@net_files_%d", getpid());
	f = fopen("/proc/net/unix", "r");
	struct stat st;
	fstat(x, &st);
	while (fgets(line, sizeof line, f))
		if (strstr(line, needle)) {
			unsigned long refs, protocol, flags, type, state, ino;
			int n = sscanf(line, "%*s %lx %lx %lx %lx %lx %lu", &refs, &protocol, &flags, &type, &state, &ino);
			printf("unix: %d %lx %lx %lx %lx %lx\n", n, refs, protocol, flags, type, state);
			TRUE("its inode", ino == st.st_ino);
		}
	fclose(f);

	/* Parameters: in a network of its own, or in the sandbox. */
	get("core/somaxconn");
	get("ipv4/ip_local_port_range");
	put("ipv4/ip_local_port_range", "x");
	put("ipv4/ip_local_port_range", "0 5");
	put("ipv4/ip_local_port_range", "60000 50000");
	put("ipv4/ip_local_port_range", "1 2 3");
	put("ipv4/ip_local_port_range", "40000 40001\n");
	get("ipv4/ip_local_port_range");
	int e[3];
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	for (int i = 0; i < 3; i++) {
		e[i] = socket(AF_INET, SOCK_STREAM, 0);
		errno = 0;
		int r = bind(e[i], (struct sockaddr *)&any, sizeof any);
		struct sockaddr_in got;
		socklen_t l = sizeof got;
		getsockname(e[i], (struct sockaddr *)&got, &l);
		printf("ephemeral: %d %s %d\n", r, r ? strerrorname_np(errno) : "-", r == 0 && ntohs(got.sin_port) / 2 == 20000);
	}
	put("ipv4/ip_unprivileged_port_start", "70000");
	put("ipv4/ip_unprivileged_port_start", "80");
	get("ipv4/ip_unprivileged_port_start");
	put("ipv4/ip_forward", "1");
	get("ipv4/ip_forward");
	put("core/somaxconn", "17");
	get("core/somaxconn");
	put("core/somaxconn", "-5");
	SHOW(access("/proc/sys/net/nonsense", F_OK));
	get("ipv4/tcp_keepalive_time");
	get("ipv4/conf/all/forwarding");
	get("ipv6/conf/lo/disable_ipv6");
	get("unix/max_dgram_qlen");
	return 0;
}
