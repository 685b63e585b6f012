/* SO_TIMESTAMPING for what is sent: when it was queued, sent and acknowledged, in the error queue. */
#include "veth.h"
#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <poll.h>

static const char *kinds[] = { "sent", "queued", "acknowledged" };

static void stamping(const char *name, int s, unsigned flags)
{
	CHECK(name, setsockopt(s, SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof flags));
}

/* One entry; whether there was one. */
static int entry(int s)
{
	unsigned char data[4096], control[512];
	struct sockaddr_in6 name;
	struct iovec iov = { data, sizeof data };
	struct msghdr msg = {
		.msg_name = &name, .msg_namelen = sizeof name, .msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof control,
	};
	long n = recvmsg(s, &msg, MSG_ERRQUEUE);

	if (n < 0) {
		printf("%s\n", strerrorname_np(errno));
		return 0;
	}
	printf("%ld bytes flags %#x name %d:", n, msg.msg_flags, msg.msg_namelen);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if (c->cmsg_level == SOL_SOCKET) {
			struct scm_timestamping t;
			struct timespec now;

			memcpy(&t, CMSG_DATA(c), sizeof t);
			clock_gettime(CLOCK_REALTIME, &now);
			printf(" times %d:", c->cmsg_type);
			for (int k = 0; k < 3; k++)
				printf(" %s", t.ts[k].tv_sec == 0 ? "none" : now.tv_sec - t.ts[k].tv_sec <= 1 ? "now" : "WRONG");
		} else {
			struct sock_extended_err e;

			memcpy(&e, CMSG_DATA(c), sizeof e);
			printf(" level %d type %d length %d: %s origin %d %s code %d id %u", c->cmsg_level, c->cmsg_type,
			       (int)c->cmsg_len, strerrorname_np(e.ee_errno), e.ee_origin, e.ee_info < 3 ? kinds[e.ee_info] : "?",
			       e.ee_code, e.ee_data);
		}
	}
	puts("");
	fflush(stdout);
	return 1;
}

static void all(const char *name, int s)
{
	struct pollfd p = { s, POLLIN, 0 };

	sleep_ms(30);
	int ready = poll(&p, 1, 0);
	printf("%s: poll %d %#x\n", name, ready, p.revents);
	while (entry(s))
		;
}

static void datagrams(int family, int a, int b, struct sockaddr *at, socklen_t len)
{
	const unsigned base = SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_OPT_TSONLY;
	int error = -1;
	socklen_t four = sizeof error;

	(void)family;
	MUST(bind(b, at, len));
	MUST(getsockname(b, at, &len));
	MUST(connect(a, at, len));
	all("nothing", a);
	stamping("statistics alone", a, SOF_TIMESTAMPING_OPT_STATS);
	stamping("sent", a, base | SOF_TIMESTAMPING_TX_SOFTWARE);
	SHOW(send(a, "abc", 3, 0));
	all("sent", a);
	stamping("with numbers", a, base | SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_TX_SCHED | SOF_TIMESTAMPING_OPT_ID);
	SHOW(send(a, "abc", 3, 0));
	SHOW(send(a, "", 0, 0));
	all("twice", a);
	SHOW(send(a, "abc", 3, 0));
	sleep_ms(20);
	SHOW(getsockopt(a, SOL_SOCKET, SO_ERROR, &error, &four));
	printf("error %d\n", error);
	all("third", a);
	stamping("not reported", a, SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_OPT_TSONLY);
	SHOW(send(a, "abc", 3, 0));
	all("not reported", a);
	stamping("off", a, 0);
	SHOW(send(a, "abc", 3, 0));
	all("off", a);
	stamping("from the start", a, base | SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_OPT_ID);
	SHOW(send(a, "ab", 2, MSG_MORE));
	SHOW(send(a, "cd", 2, 0));
	all("in parts", a);
	close(a);
	close(b);
}

static void streams(void (*make)(int *, int *))
{
	const unsigned all_kinds = SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_OPT_TSONLY | SOF_TIMESTAMPING_TX_SOFTWARE |
				   SOF_TIMESTAMPING_TX_SCHED | SOF_TIMESTAMPING_TX_ACK;
	int a, b, s = socket(AF_INET, SOCK_STREAM, 0);

	stamping("numbers without a connection", s, all_kinds | SOF_TIMESTAMPING_OPT_ID);
	stamping("without a connection", s, all_kinds);
	close(s);
	make(&a, &b);
	SHOW(send(a, "before", 6, 0));
	stamping("all", a, all_kinds | SOF_TIMESTAMPING_OPT_ID | (1 << 16));
	SHOW(send(a, "hello", 5, 0));
	all("five bytes", a);
	SHOW(send(a, "world!", 6, 0));
	all("six more", a);
	stamping("acknowledged alone", a, SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_OPT_TSONLY | SOF_TIMESTAMPING_TX_ACK);
	SHOW(send(a, "x", 1, 0));
	all("without a number", a);
	close(a);
	close(b);
}

int main(void)
{
	struct sockaddr_in lo = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in far = { .sin_family = AF_INET, .sin_addr.s_addr = inet_addr("10.9.0.2") };
	struct sockaddr_in6 far6 = { .sin6_family = AF_INET6 };

	veth_setup();
	inet_pton(AF_INET6, "fd09::2", &far6.sin6_addr);
	datagrams(AF_INET, socket(AF_INET, SOCK_DGRAM, 0), socket(AF_INET, SOCK_DGRAM, 0), (struct sockaddr *)&lo, sizeof lo);
	datagrams(AF_INET, socket(AF_INET, SOCK_DGRAM, 0), far_socket(AF_INET, SOCK_DGRAM, 0), (struct sockaddr *)&far, sizeof far);
	datagrams(AF_INET6, socket(AF_INET6, SOCK_DGRAM, 0), far_socket(AF_INET6, SOCK_DGRAM, 0), (struct sockaddr *)&far6,
		  sizeof far6);
	streams(lo_connect);
	streams(veth_connect);
	return 0;
}
