# iproute2: what ip and ss say of a network that has only the loopback interface, and what ip may change there.
# Natively in a network namespace of its own, as the sandbox has it anyway.
[ -n "$INSIDE" ] || ! unshare -n true 2>/dev/null || exec env INSIDE=1 unshare -n bash "$0"
ip link set lo up
ip addr
ip -o link | sed 's/link\/.*//'
ip route
ip rule
ip -6 rule
ip neigh
ip route show table local
ip route get 127.0.0.1 | sed 's/ uid.*//'
ip addr add 10.1.2.3/24 dev lo; echo "add $?"
ip addr add 10.1.2.3/24 dev lo 2>&1; echo "again $?"
ip -4 addr show dev lo
ip route get 10.1.2.3 | sed 's/ uid.*//'
ip addr del 10.1.2.3/24 dev lo; echo "del $?"
ip addr del 10.1.2.3/24 dev lo 2>&1; echo "again $?"
ip addr add 10.1.2.3/24 dev nothing 2>&1; echo "nothing $?"
ip link set lo mtu 16000; ip -o link show lo | grep -o 'mtu [0-9]*'
ip link set lo mtu 65536
cat /sys/class/net/lo/mtu /sys/class/net/lo/ifindex
python3 - <<'P'
import os, re, socket, subprocess
def run(command):
    text = subprocess.run(command, shell=True, capture_output=True, text=True)
    return "\n".join(" ".join(line.split()) for line in (text.stdout + text.stderr).splitlines())
t = socket.socket(); t.bind(("127.0.0.1", 7801)); t.listen(9)
s = socket.socket(socket.AF_INET6); s.bind(("::", 7802)); s.listen(3)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("127.0.0.1", 7803))
c = socket.create_connection(("127.0.0.1", 7801)); c.send(b"abc")
a, _ = t.accept()
x = socket.socket(socket.AF_UNIX); x.bind("\0iproute"); x.listen(4)
def hidden(text):
    return re.sub(rf"\b{os.getpid()}\b", "PID", re.sub(rf":{c.getsockname()[1]}\b", ":PORT", text))
print(hidden(run("ss -tlnH; ss -ulnH; ss -tnH state established | sort; ss -xlH | sed 's/@iproute [0-9]*/@iproute INO/'")))
print(hidden(run("ss -tlnpH")))
P
