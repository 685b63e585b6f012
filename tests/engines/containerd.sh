#!/bin/bash
# containerd, with runsc in place of runc below its io.containerd.runc.v2 shim.
cd "$(dirname "$0")" && . ./lib.sh
need containerd ctr umoci skopeo nsenter
begin containerd
image || exit 1
cat >"$WORK/config.toml" <<-END
	version = 2
	root = "$WORK/root"
	state = "$WORK/state"
	disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.grpc.v1.cri"]
	[grpc]
	  address = "$WORK/sock"
END
daemon containerd containerd -c "$WORK/config.toml"
ctr() { inside ctr -a "$WORK/sock" "$@"; }
run() { inside ctr -a "$WORK/sock" run --runc-binary "$WORK/runsc" "$@"; }
for _ in $(seq 100); do ctr version >/dev/null 2>&1 && break; sleep 0.1; done
ctr image import "$WORK/image/oci.tar" >/dev/null || exit 1
IMAGE=localhost/bb:latest
export -f ctr run inside
export WORK HOLDER

check 'run gives output and status' 7 'hello.*uid=0' bash -c "run --rm $IMAGE r1 sh -c 'echo hello; id; exit 7'"
check 'a missing program is an error' 1 'no such file or directory' bash -c "run --rm $IMAGE r2 /nonexistent"
check 'run detached' 0 '' bash -c "run -d --memory-limit 134217728 --cpus 0.5 $IMAGE c1 sleep 600"
check 'task list shows it' 0 'c1 .*RUNNING' bash -c 'ctr task ls'
check 'exec gives output and status' 3 'exec-ok' bash -c "ctr task exec --exec-id e1 c1 sh -c 'echo exec-ok; exit 3'"
check 'ps shows its processes' 0 'PID.* [0-9]+' bash -c 'ctr task ps c1'
check 'metrics are real' 0 'memory.usage_in_bytes +[1-9]' bash -c 'ctr task metrics c1'
check 'pause' 0 '' bash -c 'ctr task pause c1'
check 'it is paused' 0 'c1 .*PAUSED' bash -c 'ctr task ls'
check 'resume' 0 '' bash -c 'ctr task resume c1'
check 'checkpoint is refused' 1 'not yet supported' bash -c "ctr task checkpoint --image-path $WORK/checkpoint c1"
check 'process 1 ignores SIGTERM' 0 '' bash -c 'ctr task kill -s SIGTERM c1; sleep 0.3'
check 'it runs still' 0 'c1 .*RUNNING' bash -c 'ctr task ls'
check 'kill' 0 '' bash -c 'ctr task kill -s SIGKILL c1; sleep 0.5'
check 'it has stopped' 0 'c1 .*STOPPED' bash -c 'ctr task ls'
check 'delete' 0 '' bash -c 'ctr task delete c1 || true; ctr container delete c1'
check 'run another' 0 '' bash -c "run -d $IMAGE c2 sleep 600"
kill -9 $DAEMONS
sleep 0.5
daemon containerd-again containerd -c "$WORK/config.toml"
for _ in $(seq 100); do ctr version >/dev/null 2>&1 && break; sleep 0.1; done
check 'it outlives its engine' 0 'c2 .*RUNNING' bash -c 'ctr task ls'
check 'and obeys the next one' 4 'exec-again' bash -c "ctr task exec --exec-id e2 c2 sh -c 'echo exec-again; exit 4'"
check 'its end is told' 0 'c2 .*STOPPED' bash -c 'ctr task kill -s SIGKILL c2; sleep 0.5; ctr task ls'
check 'delete it' 0 '' bash -c 'ctr task delete c2 || true; ctr container delete c2'
check 'nothing is left' 0 '^none' bash -c "pgrep -af '^$WORK/runsc' || find /sys/fs/cgroup -name "c[12]" | grep . || echo none"
