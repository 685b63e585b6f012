#!/bin/bash
# Mixed load on a container's network for LOAD_SECONDS (an hour unless said), as root: nginx, redis, iperf3, short
# connections, pings, a thousand connections that are idle between a first and a last request, and traffic on `lo`, over
# a veth pair whose other end is a host of its own. The memory of the sandbox (RUNSC, or the release build) is told as it goes; in the last quarter of the time its
# median may not be more than a tenth above that of the second. PACE: seconds of rest after each piece of load.
set -u
RUNSC=${RUNSC:-$(dirname "$0")/../../target/release/runsc}
SECONDS_ALL=${LOAD_SECONDS:-3600} PACE=${PACE:-0}
WORK=$(mktemp -d /tmp/runsc-load.XXXXXX)
ID=load-$$ HOST=load-h-$$ INSIDE=load-c-$$
cleanup() {
	kill $(jobs -p) 2>/dev/null
	r kill "$ID" KILL 2>/dev/null
	wait
	r delete --force "$ID" 2>/dev/null
	ip netns del "$INSIDE" 2>/dev/null
	ip netns del "$HOST" 2>/dev/null
	rm -rf "$WORK"
}
r() { "$WORK/runsc" --root "$WORK/state" "$@"; }
h() { timeout 60 ip netns exec "$HOST" "$@"; }
trap cleanup EXIT
cp "$RUNSC" "$WORK/runsc" && cd "$WORK" || exit 1

ip netns add "$HOST" && ip netns add "$INSIDE" || exit 1
ip -n "$HOST" link add eth0 type veth peer name eth0 netns "$INSIDE"
for n in "$HOST 1" "$INSIDE 2"; do
	set -- $n
	ip -n "$1" addr add "10.78.0.$2/24" dev eth0
	ip -n "$1" addr add "fd78::$2/64" dev eth0 nodad
	ip -n "$1" link set lo up
	ip -n "$1" link set eth0 up
done

cat >nginx.conf <<'END'
daemon off; pid /tmp/nginx.pid; error_log /dev/null; worker_processes 1; events { worker_connections 4096; }
http { access_log off; client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f;
uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/s; keepalive_timeout 7200; server { listen [::]:80 ipv6only=off; location / { return 200 ok; } } }
END
cat >inside.sh <<'END'
ulimit -n 16384
nginx -c /srv/nginx.conf &
redis-server --save '' --protected-mode no --dir /tmp >/dev/null &
iperf3 -s >/dev/null &
while sleep "$1"; do
	redis-benchmark -q -n 2000 -c 10 -t set,get >/dev/null 2>&1
	curl -s -o /dev/null http://127.0.0.1/ http://[::1]/
done
END
"$WORK/runsc" spec && python3 - "$INSIDE" <<'END' || exit 1
import json, sys
c = json.load(open("config.json"))
c["root"] = {"path": "/", "readonly": True}
c["process"].update(terminal=False, args=["bash", "/srv/inside.sh", "1"])
caps = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID"]
c["process"]["capabilities"] = {kind: caps for kind in ("bounding", "effective", "permitted")}
c["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": 16384, "soft": 16384}]
for d in ("/tmp", "/run", "/var/log", "/var/lib"):
    c["mounts"].append({"destination": d, "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]})
c["mounts"].append({"destination": "/srv", "type": "bind", "source": ".", "options": ["rbind", "ro"]})
for n in c["linux"]["namespaces"]:
    if n["type"] == "network":
        n["path"] = "/run/netns/" + sys.argv[1]
json.dump(c, open("config.json", "w"))
END
r run -d "$ID" </dev/null >/dev/null 2>err || { cat err; exit 1; }
for _ in $(seq 100); do
	h bash -c 'for p in 80 6379 5201; do : 2>/dev/null </dev/tcp/10.78.0.2/$p || exit 1; done' 2>/dev/null && break
	sleep 0.1
done

# KiB of all processes of the runtime, which run no guest.
memory() { for pid in $(pgrep -f "^$WORK/runsc"); do awk '/^Pss:/ { print $2 }' "/proc/$pid/smaps_rollup"; done 2>/dev/null | awk '{ s += $1 } END { print s + 0 }'; }

mkfifo idle
ip netns exec "$HOST" python3 -c '
import socket, sys
def ask(s):
    s.sendall(b"GET / HTTP/1.1\r\nHost: load\r\n\r\n")
    return s.recv(4096).endswith(b"ok")
held = [socket.create_connection(("10.78.0.2", 80), 20) for _ in range(1000)]
alive = sum(map(ask, held))
sys.stdin.read()
sys.exit(alive < 1000 or sum(map(ask, held)) < 1000)' <idle &
IDLE=$!
exec 3>idle
ROUNDS=0 FAILED=0 NEXT=0
fail() { echo "FAIL $*"; FAILED=1; }
SECONDS=0
while [ "$SECONDS" -lt "$SECONDS_ALL" ]; do
	h wrk -t 1 -c 50 -d 2 http://10.78.0.2/ >out 2>&1 && grep -q Requests/sec out || fail "wrk: $(cat out)"
	sleep "$PACE"
	h wrk -t 1 -c 10 -d 1 -H 'Connection: close' http://[fd78::2]/ >out 2>&1 || fail "short connections: $(cat out)"
	sleep "$PACE"
	h redis-benchmark -h 10.78.0.2 -q -n 5000 -c 20 -t set,get >out 2>&1 || fail "redis: $(cat out)"
	sleep "$PACE"
	for flags in "-P 4" "-R" "-u -b 200M" "-6"; do
		address=10.78.0.2
		[ "$flags" = -6 ] && address=fd78::2
		h iperf3 -c "$address" $flags -t 1 -J >out 2>&1 || fail "iperf3 $flags: $(tail -3 out)"
		sleep "$PACE"
	done
	h ping -q -i 0.01 -c 50 10.78.0.2 >out 2>&1 || fail "ping: $(tail -2 out)"
	h timeout 2 curl -s -o /dev/null http://10.78.0.2:81/ && fail "a port where nobody listens answers"
	ROUNDS=$((ROUNDS + 1))
	if [ "$SECONDS" -ge "$NEXT" ]; then
		NOW=$(memory)
		echo "$((SECONDS / 60)) min, $ROUNDS rounds: $NOW KiB"
		echo "$SECONDS $NOW" >>readings
		NEXT=$((NEXT + SECONDS_ALL / 60))
	fi
done
exec 3>&-
wait "$IDLE" || fail "idle connections are lost"
# Of the readings between two sixtieths of the time.
median() { awk -v from=$((SECONDS_ALL * $1 / 60)) -v to=$((SECONDS_ALL * $2 / 60)) '$1 >= from && $1 < to { print $2 }' readings | sort -n | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] + 0 }'; }
BEFORE=$(median 15 30) AFTER=$(median 45 99)
echo "median of the second quarter: $BEFORE KiB, of the last: $AFTER KiB"
[ "$BEFORE" -gt 0 ] && [ "$AFTER" -le $((BEFORE + BEFORE / 10)) ] || fail "the sandbox has grown"
exit "$FAILED"
