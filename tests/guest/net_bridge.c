/*
 * Bridges: making them, their ports, what they say of themselves; that frames go where they are to, to all where
 * nobody knows, and nowhere else; and that a bridge is an interface as others are.
 */
#include "hub.h"
#include <linux/if_bridge.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>

#define FRAME 0x88b5 /* for experiments */

static void bridge_request(int flags, const char *name, int attribute, uint32_t value)
{
	struct rtattr *info, *data;

	link_request(RTM_NEWLINK, flags, 0, name);
	info = nl_attr(&q, IFLA_LINKINFO, NULL, 0);
	put_name(IFLA_INFO_KIND, "bridge");
	if (attribute) {
		data = nl_attr(&q, IFLA_INFO_DATA, NULL, 0);
		put_u32(attribute, value);
		nl_end(&q, data);
	}
	nl_end(&q, info);
}

static int master(const char *name, int index)
{
	char what[64];

	link_request(RTM_NEWLINK, 0, 0, name);
	put_u32(IFLA_MASTER, index);
	snprintf(what, sizeof what, "%s to %s", name, index ? "a master" : "nobody");
	return ask(what);
}

/* What a link says of itself, as far as it does not change from run to run. */
static void shown(const char *name)
{
	struct ifinfomsg l = { .ifi_index = if_nametoindex(name) };
	struct nlmsghdr *h = (void *)answer;
	const struct rtattr *a;
	int n;

	nl_begin(&q, RTM_GETLINK, 0, &l, sizeof l);
	MUST(send(nl, &q, q.h.nlmsg_len, 0));
	MUST(n = recv(nl, answer, sizeof answer, 0));
	if (h->nlmsg_type == NLMSG_ERROR) {
		printf("%s: none\n", name);
		return;
	}
	l = *(struct ifinfomsg *)NLMSG_DATA(h);
	printf("%s: up %d lower up %d broadcast %d multicast %d mtu %u", name, !!(l.ifi_flags & IFF_UP), !!(l.ifi_flags & 0x10000),
	       !!(l.ifi_flags & IFF_BROADCAST), !!(l.ifi_flags & IFF_MULTICAST), u32_of(find(h, sizeof l, IFLA_MTU)));
	a = find(h, sizeof l, IFLA_OPERSTATE);
	printf(" state %d master %d", a ? *(char *)RTA_DATA(a) : -1, u32_of(find(h, sizeof l, IFLA_MASTER)) != 0);
	a = find(h, sizeof l, IFLA_ADDRESS);
	printf(" address %d", a && memcmp(RTA_DATA(a), "\0\0\0\0\0\0", 6));
	a = find(h, sizeof l, IFLA_LINKINFO);
	for (const struct rtattr *k = a ? RTA_DATA(a) : NULL; k && (char *)k < (char *)a + a->rta_len; k = (void *)((char *)k + RTA_ALIGN(k->rta_len)))
		if (k->rta_type == IFLA_INFO_KIND)
			printf(" kind %s", (char *)RTA_DATA(k));
		else if (k->rta_type == IFLA_INFO_SLAVE_KIND)
			printf(" port of a %s", (char *)RTA_DATA(k));
		else if (k->rta_type == IFLA_INFO_DATA)
			for (const struct rtattr *d = RTA_DATA(k); (char *)d < (char *)k + k->rta_len; d = (void *)((char *)d + RTA_ALIGN(d->rta_len)))
				if (d->rta_type >= IFLA_BR_FORWARD_DELAY && d->rta_type <= IFLA_BR_STP_STATE)
					printf(" %d=%u", d->rta_type, *(uint32_t *)RTA_DATA(d));
	printf("\n");
	fflush(stdout);
}

static void mac_of(const char *name, unsigned char *mac)
{
	struct ifreq r = { 0 };
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	strcpy(r.ifr_name, name);
	MUST(ioctl(s, SIOCGIFHWADDR, &r));
	memcpy(mac, r.ifr_hwaddr.sa_data, 6);
	close(s);
}

static int tap(int namespace)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(FRAME) };
	int s;

	enter(namespace);
	at.sll_ifindex = if_nametoindex("eth0");
	MUST(s = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(FRAME)));
	MUST(bind(s, (struct sockaddr *)&at, sizeof at));
	return s;
}

/* Sends a frame of leaf 0 to somebody, and says which of the others get it. */
static void frame(const char *what, int from, const unsigned char *to, const int taps[])
{
	unsigned char bytes[64] = { 0 }, got[128];

	enter(leaf[from]);
	memcpy(bytes, to, 6);
	mac_of("eth0", bytes + 6);
	bytes[12] = FRAME >> 8;
	bytes[13] = FRAME & 0xff;
	MUST(send(taps[from], bytes, sizeof bytes, 0));
	printf("%s:", what);
	for (int i = 0; i < LEAVES; i++) {
		if (i == from)
			continue;
		if (!ready(taps[i], 100))
			continue;
		printf(" %d has %zd", i, recv(taps[i], got, sizeof got, 0));
	}
	printf("\n");
	fflush(stdout);
}

static void making(void)
{
	bridge_request(MAKE, "br0", 0, 0);
	ask("a bridge");
	ask("again");
	shown("br0");
	set_up("br0", 1);
	shown("br0");
	bridge_request(MAKE, "br1", IFLA_BR_AGEING_TIME, 1000);
	ask("another with an ageing time");
	shown("br1");
	bridge_request(0, "br1", IFLA_BR_AGEING_TIME, 2000);
	ask("change of it");
	shown("br1");
	bridge_request(0, "p0", IFLA_BR_AGEING_TIME, 2000);
	ask("change of what is none");
	link_request(RTM_NEWLINK, 0, 0, "br1");
	put_u32(IFLA_NET_NS_FD, leaf[0]);
	ask("to another namespace");
}

static void ports(void)
{
	unsigned char bridge[6], port[6];
	int br0 = if_nametoindex("br0");

	master("p0", NOWHERE);
	master("p0", if_nametoindex("p1"));
	master("lo", br0);
	master("br1", br0);
	master("br0", br0);
	master("p0", 0);
	shown("p0");
	master("p0", br0);
	master("p0", br0);
	shown("p0");
	shown("br0");
	mac_of("br0", bridge);
	mac_of("p0", port);
	TRUE("the bridge has its port's address", !memcmp(bridge, port, 6));
	link_request(RTM_NEWLINK, 0, 0, "p0");
	put_u32(IFLA_MTU, 1400);
	ask("mtu of a port");
	shown("br0");
	master("p0", if_nametoindex("br1"));
	shown("br0");
	shown("br1");
	master("p0", 0);
	shown("br1");
	link_request(RTM_NEWLINK, 0, 0, "p0");
	put_u32(IFLA_MTU, 1500);
	ask("mtu of none");
	for (int i = 0; i < LEAVES; i++)
		master((const char *[]){ "p0", "p1", "p2" }[i], br0);
	set_up("p0", 0);
	set_up("p1", 0);
	set_up("p2", 0);
	shown("br0");
	for (int i = 0; i < LEAVES; i++)
		set_up((const char *[]){ "p0", "p1", "p2" }[i], 1);
	shown("br0");
}

static void frames(void)
{
	static const unsigned char all[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }, group[6] = { 1, 0, 0x5e, 1, 2, 3 },
				   kept[6] = { 1, 0x80, 0xc2, 0, 0, 3 }, stranger[6] = { 2, 9, 9, 9, 9, 9 };
	unsigned char one[6];
	int taps[LEAVES];

	for (int i = 0; i < LEAVES; i++)
		taps[i] = tap(leaf[i]);
	enter(leaf[1]);
	mac_of("eth0", one);
	frame("to all", 0, all, taps);
	frame("to a group", 0, group, taps);
	frame("to a group that bridges keep", 0, kept, taps);
	frame("to a stranger", 0, stranger, taps);
	frame("from the other", 1, all, taps);
	frame("to one that was heard of", 0, one, taps);
	enter(hub);
	set_up("p1", 0);
	frame("to one whose port is off", 0, one, taps);
	enter(hub);
	set_up("p1", 1);
	enter(leaf[1]);
	settle("eth0");
	frame("from the other again", 1, all, taps);
	frame("to it", 2, one, taps);
	enter(hub);
	master("p1", 0);
	frame("to one that is no port", 0, one, taps);
	enter(hub);
	master("p1", if_nametoindex("br0"));
	set_up("br0", 0);
	frame("while the bridge is off", 0, all, taps);
	enter(hub);
	set_up("br0", 1);
	frame("when it is on", 0, all, taps);
	for (int i = 0; i < LEAVES; i++)
		close(taps[i]);
}

static void traffic(void)
{
	for (int i = 0; i < LEAVES; i++) {
		char ip[32];

		enter(leaf[i]);
		snprintf(ip, sizeof ip, "10.7.0.%d", i + 1);
		own("eth0", ip, 24);
		snprintf(ip, sizeof ip, "fd07::%d", i + 1);
		own("eth0", ip, 64);
	}
	ping("ping", leaf[0], "10.7.0.2");
	ping("ping, 6", leaf[0], "fd07::2");
	udp("UDP", leaf[0], leaf[1], "10.7.0.2", 100);
	udp("UDP, 6", leaf[1], leaf[2], "fd07::3", 100);
	udp("UDP in fragments", leaf[0], leaf[2], "10.7.0.3", 5000);
	tcp("TCP", leaf[0], leaf[1], "10.7.0.2");
	tcp("TCP, 6", leaf[2], leaf[0], "fd07::1");
	enter(hub);
	own("br0", "10.7.0.254", 24);
	own("br0", "fd07::254", 64);
	ping("ping the bridge", leaf[0], "10.7.0.254");
	ping("ping the bridge, 6", leaf[0], "fd07::254");
	ping("ping from the bridge", hub, "10.7.0.3");
	udp("UDP to the bridge", leaf[0], hub, "10.7.0.254", 100);
	udp("UDP from the bridge", hub, leaf[1], "10.7.0.2", 5000);
	tcp("TCP to the bridge", leaf[0], hub, "10.7.0.254");
	tcp("TCP from the bridge, 6", hub, leaf[1], "fd07::2");
	enter(hub);
	link_request(RTM_NEWLINK, 0, 0, "p1");
	put_u32(IFLA_MTU, 1300);
	ask("a port that carries less");
	udp("UDP that fits", leaf[0], leaf[1], "10.7.0.2", 1200);
	udp("UDP that does not", leaf[0], leaf[1], "10.7.0.2", 1400);
}

static void gone(void)
{
	enter(hub);
	link_request(RTM_DELLINK, 0, 0, "br0");
	ask("remove the bridge");
	shown("br0");
	shown("p0");
	shown("p1");
	udp("UDP without a bridge", leaf[0], leaf[2], "10.7.0.3", 100);
	enter(hub);
	bridge_request(MAKE, "br0", 0, 0);
	ask("make it again");
	set_up("br0", 1);
	master("p0", if_nametoindex("br0"));
	link_request(RTM_NEWLINK, 0, 0, "p2");
	put_u32(IFLA_MASTER, if_nametoindex("br0"));
	ask("a port again");
	udp("UDP again", leaf[0], leaf[2], "10.7.0.3", 100);
	enter(hub);
	link_request(RTM_DELLINK, 0, 0, "p0");
	ask("remove a port");
	shown("br0");
}

int main(void)
{
	hub_setup();
	making();
	ports();
	frames();
	traffic();
	gone();
	return 0;
}
