/*
 * veth(4): a pair of interfaces between two namespaces. State, MTU and addresses of both ends, sockets of either
 * namespace that talk over it, and what becomes of them when an end goes down, elsewhere or away.
 */
#include "address.h"
#include "veth.h"
#include <dirent.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <sys/mount.h>

static void enter(int namespace)
{
	MUST(setns(namespace, CLONE_NEWNET));
}

/* Ioctls about interfaces of the current namespace. */

static int control(unsigned long request, struct ifreq *r)
{
	int s = socket(AF_INET, SOCK_DGRAM, 0), result = ioctl(s, request, r), error = errno;

	close(s);
	errno = error;
	return result;
}

static struct ifreq named(const char *name)
{
	struct ifreq r = { 0 };

	strcpy(r.ifr_name, name);
	return r;
}

static void set_up(const char *name, int up)
{
	struct ifreq r = named(name);

	MUST(control(SIOCGIFFLAGS, &r));
	r.ifr_flags = up ? r.ifr_flags | IFF_UP : r.ifr_flags & ~IFF_UP;
	CHECK(up ? "up" : "down", control(SIOCSIFFLAGS, &r));
}

/* Whether the other end is there and up: IFF_RUNNING says so too, but up to a second late. */
static int carrier_of(const char *name)
{
	struct nlmsghdr *h = (void *)answer;

	link_request(RTM_GETLINK, 0, if_nametoindex(name), NULL);
	MUST(nl = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	MUST(send(nl, &q, q.h.nlmsg_len, 0));
	MUST(recv(nl, answer, sizeof answer, 0));
	close(nl);
	return h->nlmsg_type == RTM_NEWLINK && ((struct ifinfomsg *)NLMSG_DATA(h))->ifi_flags & 0x10000 /* IFF_LOWER_UP */;
}

static void flags_of(const char *what, const char *name)
{
	struct ifreq r = named(name);

	CHECK(what, control(SIOCGIFFLAGS, &r));
	printf("%s: %s up %d carrier %d broadcast %d loopback %d\n", what, name, !!(r.ifr_flags & IFF_UP),
	       carrier_of(name), !!(r.ifr_flags & IFF_BROADCAST), !!(r.ifr_flags & IFF_LOOPBACK));
}

/* Waits for a link that comes up: IFF_RUNNING tells when it takes packets. */
static void settles(const char *what, const char *name)
{
	struct ifreq r = named(name);

	for (int i = 0; i < 200; i++) {
		MUST(control(SIOCGIFFLAGS, &r));
		if (r.ifr_flags & IFF_RUNNING)
			break;
		sleep_ms(5);
	}
	printf("%s: %s running %d carrier %d\n", what, name, !!(r.ifr_flags & IFF_RUNNING), carrier_of(name));
}

static void address_by(unsigned long request, const char *what, const char *name)
{
	struct ifreq r = named(name);

	CHECK(what, control(request, &r));
	printf("%s: %s family %d %s\n", what, name, r.ifr_addr.sa_family,
	       inet_ntoa(((struct sockaddr_in *)&r.ifr_addr)->sin_addr));
}

static void ioctls(const char *name)
{
	struct ifreq r = named(name), list[8];
	struct ifconf all = { .ifc_len = sizeof list, .ifc_req = list };
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	flags_of("SIOCGIFFLAGS", name);
	address_by(SIOCGIFADDR, "SIOCGIFADDR", name);
	address_by(SIOCGIFNETMASK, "SIOCGIFNETMASK", name);
	CHECK("SIOCGIFMTU", control(SIOCGIFMTU, &r));
	printf("mtu %d\n", r.ifr_mtu);
	CHECK("SIOCGIFHWADDR", control(SIOCGIFHWADDR, &r));
	printf("hardware type %d, own %d, group %d\n", r.ifr_hwaddr.sa_family, !!(r.ifr_hwaddr.sa_data[0] & 2),
	       r.ifr_hwaddr.sa_data[0] & 1);
	CHECK("SIOCGIFMETRIC", control(SIOCGIFMETRIC, &r));
	printf("metric %d\n", r.ifr_metric);
	CHECK("SIOCGIFINDEX", control(SIOCGIFINDEX, &r));
	CHECK("SIOCGIFNAME", control(SIOCGIFNAME, &r));
	printf("name %s\n", r.ifr_name);
	r.ifr_ifindex = 4711;
	CHECK("SIOCGIFNAME of none", control(SIOCGIFNAME, &r));
	r = named("nothing0");
	CHECK("SIOCGIFINDEX of none", control(SIOCGIFINDEX, &r));
	CHECK("SIOCGIFADDR of none", control(SIOCGIFADDR, &r));
	CHECK("SIOCGIFMTU of none", control(SIOCGIFMTU, &r));
	CHECK("SIOCGIFHWADDR of none", control(SIOCGIFHWADDR, &r));
	CHECK("SIOCGIFCONF", ioctl(s, SIOCGIFCONF, &all));
	for (size_t i = 0; i < all.ifc_len / sizeof *list; i++)
		printf("  %s %s\n", list[i].ifr_name, inet_ntoa(((struct sockaddr_in *)&list[i].ifr_addr)->sin_addr));
	close(s);
}

static void mtu(const char *name, int value)
{
	struct ifreq r = named(name);

	r.ifr_mtu = value;
	printf("mtu %d: ", value);
	CHECK("SIOCSIFMTU", control(SIOCSIFMTU, &r));
	MUST(control(SIOCGIFMTU, &r));
	printf("mtu is %d\n", r.ifr_mtu);
}

/* What files say of the namespace that the caller is in; the order of addresses there is random. */

static void files(const char *name)
{
	char line[512];
	FILE *f = fopen("/proc/thread-self/net/dev", "r");

	while (f && fgets(line, sizeof line, f)) {
		char device[64];

		if (sscanf(line, " %63[^:|]:", device) == 1 && strchr(line, ':'))
			printf("  /proc/net/dev: %s\n", device);
	}
	if (f)
		fclose(f);
	f = fopen("/proc/thread-self/net/if_inet6", "r");
	while (f && fgets(line, sizeof line, f)) {
		char ip[33], device[64];
		unsigned index, prefix, scope, flags;

		if (sscanf(line, "%32s %x %x %x %x %63s", ip, &index, &prefix, &scope, &flags, device) == 6 && !strcmp(device, name) && strncmp(ip, "fe80", 4))
			printf("  if_inet6: %.4s..%s /%u scope %#x\n", ip, ip + 28, prefix, scope);
	}
	if (f)
		fclose(f);
}

static void sysfs_file(const char *name, const char *file)
{
	char path[128], text[64] = "";
	int fd;
	ssize_t n;

	snprintf(path, sizeof path, "/sys/class/net/%s/%s", name, file);
	fd = open(path, O_RDONLY);
	n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (n < 0)
		printf("  %s/%s: %s\n", name, file, strerrorname_np(errno));
	else
		printf("  %s/%s: %s", name, file, text);
	close(fd);
}

/* A sysfs shows the namespace that it was mounted from. */
static void sysfs(int namespace, const char *name)
{
	enter(namespace);
	MUST(unshare(CLONE_NEWNS));
	MUST(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	MUST(mount("sysfs", "/sys", "sysfs", 0, NULL));
	DIR *d = opendir("/sys/class/net");
	int count = 0, found = 0, lo = 0;

	for (struct dirent *e; d && (e = readdir(d));) {
		count += e->d_name[0] != '.';
		found |= !strcmp(e->d_name, name);
		lo |= !strcmp(e->d_name, "lo");
	}
	printf("/sys/class/net of %s: %d, it %d, lo %d\n", name, count, found, lo);
	sysfs_file(name, "mtu");
	sysfs_file(name, "carrier");
	sysfs_file(name, "operstate");
	sysfs_file(name, "type");
	sysfs_file(name, "addr_len");
	sysfs_file("lo", "mtu");
	fflush(stdout);
}

/* Sockets. */

static void say_peer(const struct any *a)
{
	printf("from %s\n", text_of(&a->sa));
}

/* A stream from `here` to a listener of `there`, at `ip`, with much data both ways. */
static void tcp(const char *what, int here, int there, const char *ip)
{
	struct any to = at(ip, 7000), peer = { .len = sizeof peer.in6 };
	char data[4096];
	int l, a, b, on = 1;
	long got = 0;

	printf("%s:\n", what);
	enter(there);
	MUST(l = socket(to.sa.sa_family, SOCK_STREAM, 0));
	MUST(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
	CHECK("bind", bind(l, &to.sa, to.len));
	CHECK("listen", listen(l, 1));
	enter(here);
	MUST(a = socket(to.sa.sa_family, SOCK_STREAM, 0));
	CHECK("connect", connect(a, &to.sa, to.len));
	MUST(b = accept(l, &peer.sa, &peer.len));
	say_peer(&peer);
	memset(data, 'x', sizeof data);
	for (int i = 0; i < 8; i++) {
		MUST(write(a, data, sizeof data));
		MUST(write(b, data, sizeof data));
	}
	CHECK("shutdown", shutdown(a, SHUT_WR));
	for (ssize_t n; (n = read(b, data, sizeof data)) > 0;)
		got += n;
	printf("there %ld\n", got);
	close(b);
	got = 0;
	for (ssize_t n; (n = read(a, data, sizeof data)) > 0;)
		got += n;
	printf("here %ld\n", got);
	close(a);
	close(l);
	MUST(a = socket(to.sa.sa_family, SOCK_STREAM, 0));
	CHECK("connect to nobody", connect(a, &to.sa, to.len));
	close(a);
}

static void udp(const char *what, int here, int there, const char *ip)
{
	struct any to = at(ip, 7001), peer = { .len = sizeof peer.in6 };
	char data[9000];
	int a, b;

	printf("%s:\n", what);
	enter(there);
	MUST(b = socket(to.sa.sa_family, SOCK_DGRAM, 0));
	CHECK("bind", bind(b, &to.sa, to.len));
	enter(here);
	MUST(a = socket(to.sa.sa_family, SOCK_DGRAM, 0));
	CHECK("sendto", sendto(a, "hello", 5, 0, &to.sa, to.len));
	CHECK("recvfrom", recvfrom(b, data, sizeof data, 0, &peer.sa, &peer.len));
	say_peer(&peer);
	CHECK("answer", sendto(b, "hi", 2, 0, &peer.sa, peer.len));
	CHECK("recv", recv(a, data, sizeof data, 0));
	memset(data, 'y', sizeof data);
	CHECK("in fragments", sendto(a, data, sizeof data, 0, &to.sa, to.len));
	CHECK("recv", recv(b, data, sizeof data, 0));
	close(b);
	CHECK("connect", connect(a, &to.sa, to.len));
	CHECK("send to nobody", send(a, "x", 1, 0));
	CHECK("poll", poll(&(struct pollfd){ .fd = a, .events = POLLIN }, 1, 1000));
	CHECK("refused", recv(a, data, sizeof data, MSG_DONTWAIT));
	close(a);
}

static void ping(const char *what, const char *ip)
{
	struct any to = at(ip, 0), from = { .len = sizeof from.in6 };
	int v6 = to.sa.sa_family == AF_INET6;
	char echo[16] = { v6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO, 0, 0, 0, 0, 0, 0, 1, 'd', 'a', 't', 'a' }, got[64] = "";
	int s;

	printf("%s:\n", what);
	write_to("/proc/sys/net/ipv4/ping_group_range", "0 0");
	MUST(s = socket(to.sa.sa_family, SOCK_DGRAM, v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP));
	CHECK("sendto", sendto(s, echo, sizeof echo, 0, &to.sa, to.len));
	CHECK("poll", poll(&(struct pollfd){ .fd = s, .events = POLLIN }, 1, 1000));
	CHECK("recvfrom", recvfrom(s, got, sizeof got, MSG_DONTWAIT, &from.sa, &from.len));
	say_peer(&from);
	printf("type %d code %d sequence %d data %.4s\n", (unsigned char)got[0], got[1], got[7], got + 8);
	CHECK("no more", recv(s, got, sizeof got, MSG_DONTWAIT));
	close(s);
}

/* Down and up again. */
static void carrier(void)
{
	struct any to = at("10.9.0.2", 7002), other = at("10.9.0.3", 7002);
	int s = socket(AF_INET, SOCK_DGRAM, 0), b;

	MUST(b = far_socket(AF_INET, SOCK_DGRAM, 0));
	MUST(bind(b, &to.sa, to.len));
	settles("at first", "near");
	enter(veth_far);
	set_up("far", 0);
	flags_of("down", "far");
	enter(veth_near);
	printf("peer down: carrier %d\n", carrier_of("near"));
	CHECK("sent while the peer is down", sendto(s, "lost", 4, 0, &other.sa, other.len));
	enter(veth_far);
	set_up("far", 1);
	enter(veth_near);
	settles("peer up", "near");
	CHECK("sent when it is up", sendto(s, "back", 4, 0, &to.sa, to.len));
	char data[8] = "";
	struct pollfd p = { .fd = b, .events = POLLIN };
	TRUE("arrives", poll(&p, 1, 1000) == 1 && recv(b, data, sizeof data, MSG_DONTWAIT) == 4);
	set_up("near", 0);
	CHECK("sent while down", sendto(s, "x", 1, 0, &to.sa, to.len));
	address_by(SIOCGIFADDR, "the address remains", "near");
	set_up("near", 1);
	flags_of("up", "near");
	CHECK("sent while up", sendto(s, "x", 1, 0, &to.sa, to.len));
	close(s);
	close(b);
}

static void move(const char *name, int to)
{
	link_request(RTM_NEWLINK, 0, 0, name);
	put_u32(IFLA_NET_NS_FD, to);
	veth_ask();
}

static void delete(const char *name)
{
	link_request(RTM_DELLINK, 0, 0, name);
	veth_ask();
}

static void has(const char *where, int namespace, const char *name)
{
	enter(namespace);
	printf("%s has %s: %d\n", where, name, if_nametoindex(name) != 0);
}

/* An end that goes to a third namespace loses its addresses and goes down; the peer stays. */
static void moved(void)
{
	int third;

	MUST(unshare(CLONE_NEWNET));
	MUST(third = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
	veth_up("lo");
	enter(veth_far);
	move("far", third);
	has("the old one", veth_far, "far");
	has("the third", third, "far");
	has("this one", veth_near, "near");
	printf("peer elsewhere: carrier %d\n", carrier_of("near"));
	enter(third);
	flags_of("moved", "far");
	address_by(SIOCGIFADDR, "moved", "far");
	files("far");
	quiet();
	veth_up("far");
	veth_address("far", "10.9.0.2");
	enter(veth_near);
	settles("peer up there", "near");
	tcp("TCP to a third namespace", veth_near, third, "10.9.0.2");
	enter(third);
	move("far", veth_far);
	enter(veth_far);
	veth_up("far");
	veth_address("far", "10.9.0.2");
	veth_address("far", "fd09::2");
	enter(veth_near);
	settles("peer back", "near");
	close(third);
}

/* Both ends go with one; sockets stay, without a way. */
static void removed(void)
{
	struct any to = at("10.9.0.2", 7003), own = at("10.9.0.1", 7004), name;
	char device[IFNAMSIZ] = "?";
	socklen_t len = sizeof device;
	int a, b, bound, bound_to_ip;

	MUST(bound = socket(AF_INET, SOCK_DGRAM, 0));
	CHECK("bind to the device", setsockopt(bound, SOL_SOCKET, SO_BINDTODEVICE, "near", 5));
	CHECK("bind to another's device", setsockopt(bound, SOL_SOCKET, SO_BINDTODEVICE, "far", 4));
	CHECK("name of the device", getsockopt(bound, SOL_SOCKET, SO_BINDTODEVICE, device, &len));
	printf("%s\n", device);
	CHECK("connect", connect(bound, &to.sa, to.len));
	MUST(bound_to_ip = socket(AF_INET, SOCK_DGRAM, 0));
	CHECK("bind", bind(bound_to_ip, &own.sa, own.len));
	veth_connect(&a, &b);
	enter(veth_far);
	delete("far");
	has("the far one", veth_far, "far");
	has("the near one", veth_near, "near");
	CHECK("send by the device", send(bound, "x", 1, 0));
	CHECK("send from its address", sendto(bound_to_ip, "x", 1, 0, &to.sa, to.len));
	name.len = sizeof name.in;
	CHECK("getsockname", getsockname(bound_to_ip, &name.sa, &name.len));
	printf("%s\n", inet_ntoa(name.in.sin_addr));
	CHECK("bind to the device again", setsockopt(bound, SOL_SOCKET, SO_BINDTODEVICE, "near", 5));
	CHECK("unbind", setsockopt(bound, SOL_SOCKET, SO_BINDTODEVICE, "", 0));
	CHECK("write to a connection", write(a, "x", 1));
	CHECK("nothing to read", recv(a, device, sizeof device, MSG_DONTWAIT));
	CHECK("peer of a connection", getpeername(a, &name.sa, &name.len));
	CHECK("at the other end", recv(b, device, sizeof device, MSG_DONTWAIT));
	close(a);
	close(b);
	close(bound);
	close(bound_to_ip);
	MUST(a = socket(AF_INET, SOCK_STREAM, 0));
	CHECK("bind to an address that is gone", bind(a, &own.sa, own.len));
	CHECK("connect without a way", connect(a, &to.sa, to.len));
	close(a);
	files("near");
}

int main(void)
{
	veth_setup();
	settles("near is ready", "near");
	ioctls("near");
	files("near");
	enter(veth_far);
	ioctls("far");
	files("far");
	IN_CHILD("sysfs of near", sysfs(veth_near, "near"));
	IN_CHILD("sysfs of far", sysfs(veth_far, "far"));

	tcp("TCP", veth_near, veth_far, "10.9.0.2");
	tcp("TCP back", veth_far, veth_near, "10.9.0.1");
	tcp("TCP, 6", veth_near, veth_far, "fd09::2");
	tcp("TCP back, 6", veth_far, veth_near, "fd09::1");
	udp("UDP", veth_near, veth_far, "10.9.0.2");
	udp("UDP back", veth_far, veth_near, "10.9.0.1");
	udp("UDP, 6", veth_near, veth_far, "fd09::2");
	udp("UDP back, 6", veth_far, veth_near, "fd09::1");
	enter(veth_near);
	ping("ping", "10.9.0.2");
	ping("ping, 6", "fd09::2");

	mtu("near", 1400);
	mtu("near", 67);
	mtu("near", 70000);
	udp("UDP with a small MTU", veth_near, veth_far, "10.9.0.2");
	tcp("TCP with a small MTU", veth_far, veth_near, "10.9.0.1");
	enter(veth_near);
	mtu("near", 1500);
	carrier();
	moved();
	removed();
	return 0;
}
