#!/bin/bash
# Kubernetes' interface of containerd (CRI), with runsc as a runtime class: pods with a network of CNI's.
cd "$(dirname "$0")" && . ./lib.sh
need containerd ctr umoci skopeo nsenter iptables protoc
[ -x /usr/lib/cni/bridge ] && /usr/bin/python3 -c 'import grpc' 2>/dev/null || { echo "SKIPPED: no CNI plugins or no grpc for Python"; exit 77; }
HERE=$PWD
begin cri
image || exit 1
# What a pod is kept by.
umoci config --image "$WORK/image/bb:latest" --tag pause --config.cmd sleep --config.cmd 1000000 &&
	skopeo --insecure-policy copy -q "oci:$WORK/image/bb:pause" "oci-archive:$WORK/image/pause.tar:localhost/pause:latest" || exit 1
mkdir -p "$WORK/cni" "$WORK/pods"
cat >"$WORK/cni/10-bridge.conflist" <<-END
	{ "cniVersion": "0.4.0", "name": "pods", "plugins": [
	  { "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
	    "ipam": { "type": "host-local", "dataDir": "$WORK/cni/data", "ranges": [[{ "subnet": "10.77.0.0/16" }]],
	              "routes": [{ "dst": "0.0.0.0/0" }] } },
	  { "type": "portmap", "capabilities": { "portMappings": true } } ] }
END
cat >"$WORK/config.toml" <<-END
	version = 2
	root = "$WORK/root"
	state = "$WORK/state"
	disabled_plugins = ["io.containerd.internal.v1.opt"]
	[grpc]
	  address = "$WORK/sock"
	[plugins."io.containerd.grpc.v1.cri"]
	  sandbox_image = "localhost/pause:latest"
	  restrict_oom_score_adj = true
	  [plugins."io.containerd.grpc.v1.cri".cni]
	    bin_dir = "/usr/lib/cni"
	    conf_dir = "$WORK/cni"
	  [plugins."io.containerd.grpc.v1.cri".containerd]
	    default_runtime_name = "runsc"
	  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runsc]
	    runtime_type = "io.containerd.runc.v2"
	    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runsc.options]
	      BinaryName = "$WORK/runsc"
END
daemon containerd containerd -c "$WORK/config.toml"
for _ in $(seq 100); do inside ctr -a "$WORK/sock" version >/dev/null 2>&1 && break; sleep 0.1; done
for tar in oci pause; do
	inside ctr -a "$WORK/sock" -n k8s.io image import "$WORK/image/$tar.tar" >/dev/null || exit 1
done
cri() { inside "$HERE/cri.py" "$WORK/sock" "$@"; }
export -f cri inside
export WORK HOLDER HERE
c() { name=$1 status=$2 pattern=$3; shift 3; check "$name" "$status" "$pattern" bash -c 'cri "$@"' cri "$@"; }
GET='printf "GET / HTTP/1.0\r\n\r\n" | nc -w 5'
fetch() { name=$1; shift; check "$name" 0 'web' bash -c "for _ in \$(seq 30); do inside busybox sh -c '$GET $*' | grep web && exit; sleep 0.1; done; exit 1"; }

c 'a pod' 0 '^[0-9a-f]{64}' run p1 12100
POD=$out
c 'its address' 0 '^10\.77\.0\.' ip "$POD"
IP=$out
c 'a server in it' 0 '^[0-9a-f]{64}' create "$POD" server sh -c 'mkdir /www; echo web >/www/index.html; exec httpd -f -p 80 -h /www'
SERVER=$out
c 'it is created' 0 '^created' state "$SERVER"
c 'start' 0 '' start "$SERVER"
c 'it runs' 0 '^running' state "$SERVER"
c 'exec gives output and status' 4 'p1-host nameserver 10.10.10.10' exec "$SERVER" sh -c 'hostname; cat /etc/resolv.conf; exit 4'
fetch 'by its address' "$IP" 80
fetch 'by the port of the host' 10.77.0.1 12100
c 'the processes of its pod' 0 'sleep 1000000' exec "$SERVER" ps -o args
c 'a second container' 0 '^[0-9a-f]{64}' create-alone "$POD" client sleep 1000
CLIENT=$out
c 'its start' 0 '' start "$CLIENT"
c 'one loopback for both' 0 'web' exec "$CLIENT" sh -c "$GET 127.0.0.1 80"
c 'roots of their own' 1 '' exec "$CLIENT" test -e /www
c 'processes of its own' 0 '^ +1 sleep 1000' exec "$CLIENT" sh -c 'ps -o pid,args | grep "[s]leep"'
c 'memory follows the limit' 0 'MemTotal: +131072' exec "$CLIENT" grep MemTotal /proc/meminfo
c 'update' 0 '' memory "$CLIENT" 67108864
c 'memory follows the update' 0 'MemTotal: +65536' exec "$CLIENT" grep MemTotal /proc/meminfo
c 'stats' 0 '^[1-9][0-9]* [1-9]' stats "$CLIENT"
c 'stop' 0 '' stop "$CLIENT"
c 'it has exited' 0 '^exited 137' state "$CLIENT"
c 'the other goes on' 0 'alive' exec "$SERVER" echo alive
c 'remove' 0 '' remove "$CLIENT"
c 'another in its place' 0 '^[0-9a-f]{64}' create "$POD" client sh -c 'exit 9'
AGAIN=$out
c 'its start too' 0 '' start "$AGAIN"
check 'its end' 0 '^exited 9' bash -c 'for _ in $(seq 30); do cri state "$1" | grep exited && exit; sleep 0.1; done' state "$AGAIN"
c 'a second pod' 0 '^[0-9a-f]{64}' run p2
POD2=$out
c 'a client there' 0 '^[0-9a-f]{64}' create "$POD2" far sleep 1000
FAR=$out
c 'which starts' 0 '' start "$FAR"
c 'pods talk' 0 'web' exec "$FAR" sh -c "$GET $IP 80"
for pod in "$POD" "$POD2"; do
	c 'stop of a pod' 0 '' stop-pod "$pod"
	c 'removal of a pod' 0 '' remove-pod "$pod"
done
check 'nothing is left' 0 '^none' bash -c "pgrep -af '^$WORK/runsc' || find /sys/fs/cgroup -path '*runsc-cri/p?/*' | grep . || echo none"
