/*
 * All parameters of /proc/sys/net of a new network namespace: names, permission bits, values, and
 * which values they take. Of the interfaces, some parameters of lo are unlike those of others.
 */
#include "rtnetlink.h"
#include <dirent.h>
#include <limits.h>

struct left {
	const char *name, *why;
};

/* What is left out, by the end of the path or by a directory. */
static const struct left left[] = {
	{ "/bridge", "modules of the host" },
	{ "/mptcp", "not supported" },
	{ "/netfilter", "not supported" },
	{ "_congestion_control", "each machine has its own" },
	{ "/tcp_rmem", "depends on memory" },
	{ "/tcp_wmem", "depends on memory" },
	{ "/tcp_max_syn_backlog", "depends on memory" },
	{ "/tcp_max_tw_buckets", "depends on memory" },
	{ "hash_entries", "depends on memory" },
	{ "/tcp_fastopen_key", "a secret" },
	{ "/stable_secret", "a secret" },
};
/* The same by a part of the name: what a kernel is built with or not. */
static const char *const parts[] = { "xfrm_", "xfrm4", "xfrm6", "l3mdev", "ioam6", "seg6", "rpl_seg", "nf_" };

/* Whose values are not tried: milliseconds that wrap, masks of processors, one thing under two names, bounds that bound
 * each other. */
static const char *const special[] = {
	"_ms", "ratelimit", "_delay", "_report_interval", "/locktime", "/retrans_time", "/unres_qlen", "/gc_min_interval",
	"/rps_default_mask", "frag_high_thresh", "frag_low_thresh",
};

static int ends(const char *path, const char *end)
{
	size_t whole = strlen(path), part = strlen(end);

	return whole >= part && !strcmp(path + whole - part, end);
}

static int is_left(const char *path)
{
	const char *name = strrchr(path, '/') + 1;

	for (size_t i = 0; i < sizeof left / sizeof *left; i++)
		if (ends(path, left[i].name))
			return 1;
	/* Of this there is one that each interface has. */
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		if (strstr(name, parts[i]) && strcmp(name, "disable_xfrm"))
			return 1;
	return 0;
}

static int is_special(const char *path)
{
	for (size_t i = 0; i < sizeof special / sizeof *special; i++)
		if (ends(path, special[i]))
			return 1;
	return 0;
}

/* Which values may be written: a letter for each. */
static void try(const char *path, const char *old)
{
	static const char *const values[] = { "-1", "0", "2", "300", "70000", "2147483647", "2147483648", "5000000000", "x", "", "\n" };

	printf(" ");
	for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
		ssize_t len = strlen(values[i]);
		int fd = open(path, O_WRONLY);

		printf("%s", write(fd, values[i], len) == len ? "y" : errno == EINVAL ? "n" : strerrorname_np(errno));
		MUST(pwrite(fd, old, strlen(old), 0));
		close(fd);
	}
}

static void show(const char *path, const struct stat *st)
{
	char value[4096];
	ssize_t n;
	int fd;

	printf("%s %o:", path, st->st_mode);
	/* Whether root may read all the same is another matter. */
	if (st->st_mode & S_IRUSR) {
		fd = open(path, O_RDONLY);
		n = read(fd, value, sizeof value - 1);
		value[n < 0 ? 0 : n] = 0;
		printf(" %zd %s", n, strtok(value, "\n") ?: "-");
		close(fd);
		if (st->st_mode & S_IWUSR && !is_special(path))
			try(path, value);
	}
	printf("\n");
}

static void walk(const char *path)
{
	struct dirent **entries;
	int n = scandir(path, &entries, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		char below[PATH_MAX];
		struct stat st;

		snprintf(below, sizeof below, "%s/%s", path, entries[i]->d_name);
		if (entries[i]->d_name[0] == '.' || is_left(below))
			continue;
		MUST(stat(below, &st));
		if (S_ISDIR(st.st_mode))
			walk(below);
		else
			show(below, &st);
	}
}

int main(void)
{
	MUST(unshare(CLONE_NEWNET));
	MUST(nl = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	pair_request(MAKE, "one", "two");
	ask("pair");
	MUST(chdir("/proc/sys"));
	walk("net");
	return 0;
}
