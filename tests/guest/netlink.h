/* Requests to netlink(7), piece by piece. */
#ifndef NETLINK_H
#define NETLINK_H

#include <linux/rtnetlink.h>
#include <string.h>

struct nl_request {
	struct nlmsghdr h;
	char body[1024];
};

/* Appends a fixed part, aligned. */
static inline void *nl_put(struct nl_request *r, const void *data, size_t len)
{
	void *at = (char *)r + NLMSG_ALIGN(r->h.nlmsg_len);

	if (len)
		memcpy(at, data, len);
	r->h.nlmsg_len = NLMSG_ALIGN(r->h.nlmsg_len) + len;
	return at;
}

/* Begins a request with the fixed part of its kind. */
static inline void nl_begin(struct nl_request *r, int type, int flags, const void *fixed, size_t len)
{
	memset(r, 0, sizeof *r);
	r->h.nlmsg_type = type;
	r->h.nlmsg_flags = NLM_F_REQUEST | flags;
	r->h.nlmsg_seq = 7;
	r->h.nlmsg_len = NLMSG_HDRLEN;
	nl_put(r, fixed, len);
}

static inline struct rtattr *nl_attr(struct nl_request *r, int type, const void *data, size_t len)
{
	struct rtattr head = { .rta_type = type, .rta_len = RTA_LENGTH(len) };
	struct rtattr *at = nl_put(r, &head, sizeof head);

	if (len)
		nl_put(r, data, len);
	return at;
}

/* Ends an attribute that holds all that followed it. */
static inline void nl_end(struct nl_request *r, struct rtattr *nest)
{
	nest->rta_len = (char *)r + r->h.nlmsg_len - (char *)nest;
}

#endif
