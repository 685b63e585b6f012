# Network namespaces, pairs of interfaces and changes over netlink, as iproute2 makes them.
[ -n "$INSIDE" ] || INSIDE=1 exec unshare -mn bash "$0"
set -e
mount --make-rprivate /
mount -t tmpfs none /run
say() { echo "# $*"; "$@" 2>&1 || echo "failed: $?"; }

ip netns add a
ip netns add b
ip netns list | sort
# Hardware addresses of one's own, and no looking for doubles: else the output would differ from run to run.
for ns in a b; do
	ip netns exec $ns sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0
done
say ip link add v0 netns a address 02:00:00:00:00:01 type veth peer name v1 netns b address 02:00:00:00:00:02
say ip -n a addr add 10.9.0.1/24 dev v0
say ip -n b addr add 10.9.0.2/24 brd + dev v1
say ip -n a link set lo up
say ip -n a link set v0 up
ip -n a -br link show v0 | tr -s ' '
say ip -n b link set v1 up
ip -n a -br link show v0 | tr -s ' '
say ip -n b link set lo up
say ip -n a -4 addr show v0
say ip -n b -4 addr show v1
say ip -n a -6 addr show v0
say ip -n a -4 route
say ip -n a -6 route
say ip -n a route get 10.9.0.2
say ip -n a route get 10.9.0.1
say ip -n a route get 10.10.0.1
ip netns exec a ping -c 2 -i 0.1 -W 2 10.9.0.2 | sed 's/time.*//; /^rtt/d'
ip netns exec a ping -c 1 -W 2 fe80::ff:fe00:2%v0 | sed 's/time.*//; s/%v0//g; /^rtt/d'
ip netns exec a cat /proc/net/arp | tr -s ' '
say ip -n b neigh show 10.9.0.1 nud reachable nud stale nud delay | sed 's/ [A-Z]*\( *\)$//'

echo "# connections"
ip netns exec b python3 - <<'P' &
import socket
s = socket.create_server(("10.9.0.2", 5000))
c, peer = s.accept()
n = 0
while True:
    d = c.recv(65536)
    if not d:
        break
    n += len(d)
c.sendall(b"%d" % n)
c.close()
P
ip netns exec a python3 - <<'P'
import socket, time
for n in range(100):
    try:
        s = socket.create_connection(("10.9.0.2", 5000), timeout=10)
        break
    except ConnectionRefusedError:
        time.sleep(0.05)
print(s.getsockname()[0], s.getpeername())
for n in range(64):
    s.sendall(bytes(65536))
s.shutdown(socket.SHUT_WR)
print(s.recv(100))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.settimeout(2)
u.connect(("10.9.0.2", 9))
u.send(b"nobody")
try:
    u.recv(1)
except OSError as e:
    print(e)
t = socket.socket()
t.settimeout(5)
try:
    t.connect(("10.9.0.2", 6000))
except OSError as e:
    print(e)
P
wait

echo "# changes"
say ip -n a addr add 10.9.0.1/24 dev v0
say ip -n a addr add 10.9.0.7/24 dev v0
say ip -n a addr add 10.8.0.7/16 dev v0 label v0:x
say ip -n a -4 addr show v0
say ip -n a -4 route
say ip -n a addr del 10.9.0.1/24 dev v0
say ip -n a addr del 10.9.0.1/24 dev v0
say ip -n a -4 addr show v0
say ip -n a -4 route
say ip -n a addr add 10.9.0.1/24 dev v0
say ip -n a link set v0 mtu 9000
say ip -n a link set v0 mtu 60
say ip -n a link set v0 mtu 70000
say ip -n a link set v0 address 01:00:00:00:00:01
say ip -n a link set v0 txqueuelen 77 group 5 alias "the first"
say ip -n a link set nothing up
say ip -n a link set v0 name eth0
say ip -n a link set eth0 name lo
say ip -n a link show eth0
say ip -n a route add default via 10.9.0.2
say ip -n a route add default via 10.9.0.2
say ip -n a route add 10.1.0.0/16 via 10.77.0.1
say ip -n a route add 10.1.0.0/16 via 10.9.0.2 metric 5
say ip -n a route add unreachable 10.2.0.0/16
say ip -n a route add blackhole 10.3.0.0/16
say ip -n a route add prohibit 10.4.0.0/16
say ip -n a route replace 10.1.0.0/16 via 10.9.0.3 metric 5
say ip -n a -4 route
ip netns exec a cat /proc/net/route | tr -s ' '
for to in 10.1.0.1 10.2.0.1 10.3.0.1 10.4.0.1 8.8.8.8; do
	say ip -n a route get $to
	ip netns exec a python3 -c "
import socket
try:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('$to', 1)); print('ok')
except OSError as e: print(e)"
done
say ip -n a route del 10.1.0.0/16
say ip -n a route del 10.1.0.0/16
say ip -n a route add 10.5.0.0/16 via 10.9.0.2 table 100
say ip -n a rule add from 10.8.0.7 lookup 100 pref 1000
say ip -n a rule add fwmark 7 lookup 100
say ip -n a rule add to 10.5.9.9 prohibit pref 900
say ip -n a rule
say ip -n a route get 10.5.0.1 from 10.8.0.7
say ip -n a route get 10.5.0.1 mark 7
say ip -n a route get 10.5.9.9
say ip -n a rule del fwmark 7
say ip -n a rule del pref 1000
say ip -n a rule del pref 1000
say ip -n a rule
say ip -n a neigh add 10.9.0.50 lladdr 02:00:00:00:00:50 dev eth0
say ip -n a neigh add 10.9.0.50 lladdr 02:00:00:00:00:50 dev eth0
say ip -n a neigh show 10.9.0.50
say ip -n a neigh del 10.9.0.50 dev eth0
say ip -n a link set eth0 down
say ip -n a -4 route
say ip -n a -4 addr show eth0
say ip -n a link set eth0 up
say ip -n a -4 route

echo "# moving and going"
say ip -n a link set eth0 netns b
say ip -n a -br link
ip -n b -br link show eth0 | tr -s ' '
say ip -n b -4 addr show eth0
say ip -n b link set eth0 netns nothing
say ip -n b link del v1
say ip -n b -br link show type veth
say ip link add name d1 type nonsense
say ip -n b link del lo
say ip link add w0 type veth peer name w1 netns a
say ip netns del a
# A kernel takes its time.
for i in $(seq 100); do ip link show w0 >/dev/null 2>&1 || break; sleep 0.1; done
say ip -br link show w0
ip netns list | sort
