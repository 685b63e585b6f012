/* netlink(7): requests, acknowledgements, errors; interfaces and addresses. */
#include "common.h"
#include "netlink.h"
#include <arpa/inet.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/inet_diag.h>
#include <linux/unix_diag.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static int nl;
static struct nl_request q;
static char answer[65536];

/* Sends the request; says what comes back: types, and the code of an error. */
static int talk(const char *name)
{
	int done = 0, code = 0, messages = 0;
	MUST(send(nl, &q, q.h.nlmsg_len, 0));
	printf("%s:", name);
	while (!done) {
		ssize_t n = recv(nl, answer, sizeof answer, MSG_DONTWAIT);
		if (n < 0) {
			printf(" (%s)", strerrorname_np(errno));
			break;
		}
		for (struct nlmsghdr *h = (void *)answer; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
			if (h->nlmsg_type == NLMSG_ERROR) {
				struct nlmsgerr *e = NLMSG_DATA(h);
				code = -e->error;
				printf(" error %s flags %#x about %d len %d", code ? strerrorname_np(code) : "0", h->nlmsg_flags,
				       e->msg.nlmsg_type, (int)h->nlmsg_len);
				if (h->nlmsg_flags & NLM_F_ACK_TLVS) {
					int at = sizeof *h + sizeof *e;
					if (!(h->nlmsg_flags & NLM_F_CAPPED))
						at += NLMSG_ALIGN(e->msg.nlmsg_len) - sizeof e->msg;
					struct nlattr *a = (void *)((char *)h + at);
					printf(" attribute %d", a->nla_type);
				}
				done = 1;
			} else if (h->nlmsg_type == NLMSG_DONE) {
				done = 1;
			} else {
				messages++;
				if (!(h->nlmsg_flags & NLM_F_MULTI) && !(q.h.nlmsg_flags & NLM_F_ACK))
					done = 1;
			}
		}
	}
	printf(" messages %s\n", messages ? "some" : "none");
	return code;
}

static void link_flags(const char *name, const char *dev)
{
	struct ifreq r = { 0 };
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	strcpy(r.ifr_name, dev);
	errno = 0;
	int got = ioctl(s, SIOCGIFFLAGS, &r);
	printf("%s: %d %s %#x\n", name, got, got ? strerrorname_np(errno) : "-", r.ifr_flags & 0xffff);
	close(s);
}

int main(void)
{
	struct sockaddr_nl me = { AF_NETLINK }, got;
	socklen_t len = sizeof got;
	SHOW(socket(AF_NETLINK, SOCK_STREAM, 0));
	SHOW(socket(AF_NETLINK, SOCK_RAW, 31));
	SHOW(socket(AF_NETLINK, SOCK_RAW, 32));
	WORKS("uevent", socket(AF_NETLINK, SOCK_DGRAM, NETLINK_KOBJECT_UEVENT));
	nl = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	SHOW(bind(nl, (struct sockaddr *)&me, sizeof me));
	SHOW(getsockname(nl, (struct sockaddr *)&got, &len));
	TRUE("own address is the process", got.nl_pid == (unsigned)getpid());
	int two = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	SHOW(bind(two, (struct sockaddr *)&got, sizeof got));
	SHOW(bind(two, (struct sockaddr *)&me, 5));

	struct ifinfomsg info = { .ifi_family = AF_UNSPEC };
	nl_begin(&q, RTM_GETLINK, NLM_F_DUMP, &info, sizeof info);
	talk("links");
	nl_begin(&q, RTM_GETLINK, 0, &info, sizeof info);
	talk("no link named");
	info.ifi_index = 1;
	nl_begin(&q, RTM_GETLINK, 0, &info, sizeof info);
	talk("link 1");
	nl_begin(&q, RTM_GETLINK, NLM_F_ACK, &info, sizeof info);
	talk("link 1 with ack");
	info.ifi_index = 12345;
	nl_begin(&q, RTM_GETLINK, 0, &info, sizeof info);
	talk("no such link");
	nl_begin(&q, RTM_GETLINK, NLM_F_ACK, &info, 3);
	talk("too short");
	nl_begin(&q, NLMSG_NOOP, NLM_F_ACK, "", 0);
	talk("noop with ack");
	nl_begin(&q, 200, NLM_F_ACK, &info, sizeof info);
	talk("unknown type");
	struct ifaddrmsg address = { .ifa_family = AF_INET, .ifa_prefixlen = 24, .ifa_index = 1 };
	unsigned ip = htonl(0x0a090807);
	nl_begin(&q, RTM_GETADDR, NLM_F_DUMP, &address, sizeof address);
	talk("addresses");
	nl_begin(&q, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &address, sizeof address);
	nl_attr(&q, IFA_LOCAL, &ip, 4);
	nl_attr(&q, IFA_ADDRESS, &ip, 4);
	talk("add address");
	talk("add it again");
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = ip };
	SHOW(bind(s, (struct sockaddr *)&in, sizeof in));
	SHOW(connect(s, (struct sockaddr *)&(struct sockaddr_in){ .sin_family = AF_INET, .sin_port = 9, .sin_addr.s_addr = ip }, sizeof in));
	close(s);
	int on = 1;
	SHOW(setsockopt(nl, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on));
	talk("add it again, extended");
	SHOW(setsockopt(nl, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on));
	talk("add it again, extended and capped");
	q.h.nlmsg_type = RTM_DELADDR;
	q.h.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	talk("remove address");
	talk("remove it again");
	s = socket(AF_INET, SOCK_DGRAM, 0);
	SHOW(bind(s, (struct sockaddr *)&in, sizeof in));
	address.ifa_index = 4711;
	nl_begin(&q, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE, &address, sizeof address);
	nl_attr(&q, IFA_LOCAL, &ip, 4);
	talk("add to no link");
	address.ifa_index = 1;
	address.ifa_prefixlen = 33;
	nl_begin(&q, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE, &address, sizeof address);
	nl_attr(&q, IFA_LOCAL, &ip, 4);
	talk("prefix too long");
	link_flags("lo", "lo");
	link_flags("nothing", "nothing0");

	/* Options. */
	int value = -1;
	len = sizeof value;
	SHOW(getsockopt(nl, SOL_NETLINK, NETLINK_EXT_ACK, &value, &len));
	printf("ext ack %d\n", value);
	SHOW(setsockopt(nl, SOL_NETLINK, 99, &on, sizeof on));
	SHOW(setsockopt(nl, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &(int){ 5 }, 4));
	SHOW(setsockopt(nl, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &(int){ 0 }, 4));
	SHOW(setsockopt(nl, SOL_NETLINK, NETLINK_EXT_ACK, &on, 2));
	/* A member hears of changes. */
	address.ifa_prefixlen = 32;
	nl_begin(&q, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &address, sizeof address);
	nl_attr(&q, IFA_LOCAL, &ip, 4);
	int other = nl;
	nl = two;
	talk("add from another socket");
	nl = other;
	ssize_t n = recv(nl, answer, sizeof answer, MSG_DONTWAIT);
	struct nlmsghdr *h = (void *)answer;
	printf("told: %d type %d seq %d pid %d\n", n > 0, h->nlmsg_type, h->nlmsg_seq, h->nlmsg_pid != 0);
	n = recv(nl, answer, sizeof answer, MSG_DONTWAIT);
	/* The route that comes with it belongs to another group. */
	printf("told more: %d\n", n > 0);
	/* Passed credentials are the kernel's. */
	SHOW(setsockopt(nl, SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
	info = (struct ifinfomsg){ .ifi_index = 1 };
	nl_begin(&q, RTM_GETLINK, 0, &info, sizeof info);
	MUST(send(nl, &q, q.h.nlmsg_len, 0));
	char control[128];
	struct iovec v = { answer, sizeof answer };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control,
			    .msg_name = &got, .msg_namelen = sizeof got };
	TRUE("received", recvmsg(nl, &m, 0) > 0);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		struct ucred *u = (void *)CMSG_DATA(c);
		printf("cmsg %d %d: %d %d %d\n", c->cmsg_level, c->cmsg_type, u->pid, u->uid, u->gid);
	}
	printf("from %d %d %d\n", (int)m.msg_namelen, got.nl_pid, got.nl_groups);
	/* A buffer too small. */
	MUST(send(nl, &q, q.h.nlmsg_len, 0));
	char small[8];
	v = (struct iovec){ small, sizeof small };
	m.msg_control = NULL;
	m.msg_controllen = 0;
	printf("small: %zd %d\n", recvmsg(nl, &m, 0), m.msg_flags & MSG_TRUNC);
	CHECK("bad destination", sendto(nl, &q, q.h.nlmsg_len, 0,
	      (struct sockaddr *)&(struct sockaddr_nl){ AF_NETLINK, 0, 999999, 0 }, sizeof got));
	SHOW(listen(nl, 1));
	SHOW(shutdown(nl, SHUT_RD));
	SHOW(getpeername(nl, (struct sockaddr *)&got, &len));

	/* sock_diag: the listener that we make is found. */
	int t = socket(AF_INET, SOCK_STREAM, 0);
	in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	MUST(bind(t, (struct sockaddr *)&in, sizeof in));
	MUST(listen(t, 5));
	len = sizeof in;
	getsockname(t, (struct sockaddr *)&in, &len);
	nl = socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG);
	struct inet_diag_req_v2 d = { .sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_TCP, .idiag_states = 1 << 10 };
	nl_begin(&q, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &d, sizeof d);
	MUST(send(nl, &q, q.h.nlmsg_len, 0));
	n = recv(nl, answer, sizeof answer, 0);
	struct stat st;
	fstat(t, &st);
	for (h = (void *)answer; NLMSG_OK(h, n) && h->nlmsg_type == SOCK_DIAG_BY_FAMILY; h = NLMSG_NEXT(h, n)) {
		struct inet_diag_msg *g = NLMSG_DATA(h);
		if (g->id.idiag_sport == in.sin_port)
			printf("listener: family %d state %d timer %d queues %u %u uid %u inode %d\n", g->idiag_family, g->idiag_state,
			       g->idiag_timer, g->idiag_rqueue, g->idiag_wqueue, g->idiag_uid, g->idiag_inode == st.st_ino);
	}
	recv(nl, answer, sizeof answer, MSG_DONTWAIT);
	d.id.idiag_sport = in.sin_port;
	d.id.idiag_src[0] = in.sin_addr.s_addr;
	d.id.idiag_cookie[0] = d.id.idiag_cookie[1] = -1;
	nl_begin(&q, SOCK_DIAG_BY_FAMILY, 0, &d, sizeof d);
	talk("one listener");
	d.id.idiag_sport = 1;
	nl_begin(&q, SOCK_DIAG_BY_FAMILY, 0, &d, sizeof d);
	talk("none such");
	nl_begin(&q, SOCK_DIAG_BY_FAMILY, 0, &(struct unix_diag_req){ .sdiag_family = AF_UNIX, .udiag_ino = 77 }, sizeof(struct unix_diag_req));
	talk("no such unix socket");
	nl_begin(&q, 55, 0, &d, sizeof d);
	talk("unknown request");
	return 0;
}
