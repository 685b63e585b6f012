/*
 * rtnetlink(7): NLM_F_ECHO. Who asks for it hears what its request has changed, before the acknowledgement, whether it
 * has joined a group or not; and only once if it has.
 */
#include "rtnetlink.h"

/* Sends the request and says all that comes back. */
static void echoed(const char *what)
{
	int s = nl, done = 0;

	q.h.nlmsg_flags |= NLM_F_ECHO | NLM_F_ACK;
	MUST(send(s, &q, q.h.nlmsg_len, 0));
	printf("%s:\n", what);
	while (!done) {
		ssize_t n = recv(s, answer, sizeof answer, 0);

		MUST(n);
		for (struct nlmsghdr *h = (void *)answer; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
			if (h->nlmsg_type == NLMSG_ERROR) {
				int error = ((struct nlmsgerr *)NLMSG_DATA(h))->error;

				printf("  acknowledged: %s\n", error ? strerrorname_np(-error) : "0");
				done = 1;
			} else {
				printf("  number %u mine %d", h->nlmsg_seq, h->nlmsg_pid != 0);
				say(h);
			}
		}
	}
	/* Of IPv6 addresses those hear who joined a group, a moment later. */
	usleep(20000);
	while (recv(s, answer, sizeof answer, MSG_DONTWAIT) > 0)
		printf("  and more\n");
	fflush(stdout);
}

static void changes(int index)
{
	for (int v6 = 0; v6 < 2; v6++) {
		const char *own = v6 ? "fd09::1" : "10.9.0.1", *net = v6 ? "fd30::" : "172.30.0.0", *by = v6 ? "fd09::9" : "10.9.0.9";
		int prefix = v6 ? 48 : 16;

		address_request(RTM_NEWADDR, MAKE, index, own, v6 ? 64 : 24);
		echoed("address");
		echoed("address again");
		route_request(RTM_NEWROUTE, MAKE, net, prefix, by, 0);
		echoed("route");
		route_request(RTM_NEWROUTE, NLM_F_REPLACE, net, prefix, by, 0);
		echoed("replaced by itself");
		route_request(RTM_DELROUTE, 0, net, prefix, NULL, 0);
		echoed("route gone");
		rule_request(RTM_NEWRULE, MAKE, v6 ? AF_INET6 : AF_INET, 500, NULL, 0);
		echoed("rule");
		rule_request(RTM_DELRULE, 0, v6 ? AF_INET6 : AF_INET, 500, NULL, 0);
		echoed("rule gone");
		neighbour_request(RTM_NEWNEIGH, MAKE, index, by, 9);
		echoed("neighbour");
		neighbour_request(RTM_DELNEIGH, 0, index, by, 0);
		echoed("neighbour gone");
		address_request(RTM_DELADDR, 0, index, own, v6 ? 64 : 24);
		echoed("address gone");
	}
}

int main(void)
{
	static const int groups[] = { RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE };
	int index;

	alone();
	index = device();
	changes(index);
	for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
		MUST(setsockopt(nl, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i], sizeof groups[i]));
	printf("members:\n");
	changes(index);
	return 0;
}
