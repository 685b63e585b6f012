#!/bin/bash
# Docker, with runsc as its default runtime.
cd "$(dirname "$0")" && . ./lib.sh
need dockerd umoci skopeo nsenter iptables
begin docker
image || exit 1
DOCKER=/usr/bin/docker
cat >"$WORK/daemon.json" <<-END
	{
	  "data-root": "$WORK/root", "exec-root": "$WORK/exec", "pidfile": "$WORK/pid", "hosts": ["unix://$WORK/sock"],
	  "runtimes": { "runsc": { "path": "$WORK/runsc" } }, "default-runtime": "runsc",
	  "exec-opts": ["native.cgroupdriver=cgroupfs"], "bip": "172.30.0.1/16"
	}
END
daemon dockerd dockerd --config-file "$WORK/daemon.json"
D() { inside "$DOCKER" -H "unix://$WORK/sock" "$@"; }
for _ in $(seq 150); do D version >/dev/null 2>&1 && break; sleep 0.1; done
D load -q -i "$WORK/image/docker.tar" >/dev/null || { cat "$WORK/log/dockerd"; exit 1; }
export -f D inside
export DOCKER WORK HOLDER

d() { name=$1 status=$2 pattern=$3; shift 3; check "$name" "$status" "$pattern" bash -c 'D "$@"' D "$@"; }
mkdir -p "$WORK/volume"
d 'run gives output and status' 7 'uid=0' run --rm bb sh -c 'id; exit 7'
d 'run detached' 0 '^[0-9a-f]{64}' run -d --name box1 --init -v "$WORK/volume:/data" --memory 128m --cpus 0.5 --pids-limit 64 \
	--tmpfs /scratch -e FOO=bar bb sh -c 'echo started; mkdir /www; echo web > /www/f; while :; do sleep 0.1; done'
check 'logs' 0 'started' bash -c 'for i in $(seq 20); do D logs box1 | grep started && exit; sleep 0.1; done'
d 'exec gives output and status' 5 'exec-bar' exec box1 sh -c 'echo exec-$FOO; exit 5'
d 'exec as a user' 0 'uid=1000 gid=1000.*/tmp b' exec -u 1000:1000 -w /tmp -e A=b box1 sh -c 'id; pwd; echo $A'
d 'volumes write through' 0 '' exec box1 sh -c 'echo vol > /data/f'
check 'the host sees it' 0 '^vol' cat "$WORK/volume/f"
d 'memory follows the limit' 0 'MemTotal: +131072' exec box1 grep MemTotal /proc/meminfo
d 'stats' 0 '128MiB.* [1-9][0-9.]*k?B / [0-9]' stats --no-stream box1
d 'top shows the processes' 0 'while' top box1
d 'pause' 0 '' pause box1
d 'it is paused' 0 'paused' inspect -f '{{.State.Status}}' box1
d 'unpause' 0 '' unpause box1
d 'update' 0 '' update --memory 256m --memory-swap 256m box1
d 'memory follows the update' 0 'MemTotal: +262144' exec box1 grep MemTotal /proc/meminfo
d 'cp from the container' 0 'web' cp box1:/www/f -
d 'commit' 0 'sha256' commit box1 committed
d 'stop' 0 '' stop -t 3 box1
d 'start again' 0 '' start box1
d 'kill' 0 '' kill -s KILL box1
d 'remove' 0 '' rm -f box1
d 'the committed image' 0 'web' run --rm committed cat /www/f
d 'a read-only root' 0 'ro-ok' run --rm --read-only bb sh -c 'echo x > /f || echo ro-ok'
d 'no capabilities' 0 'CapEff:.0000000000000000.*NoNewPrivs:.1' run --rm --user nobody --cap-drop ALL \
	--security-opt no-new-privileges bb grep -E 'CapEff|NoNew' /proc/self/status
d 'limits, names, parameters' 0 '^100 hh 1.2.3.4.a nameserver 9.9.9.9' run --rm --ulimit nofile=100:200 --hostname hh \
	--add-host a:1.2.3.4 --dns 9.9.9.9 bb sh -c 'ulimit -n; hostname; grep 1.2.3.4 /etc/hosts; cat /etc/resolv.conf'
d 'no network' 0 'lo' run --rm --network none bb ip a
d 'out of memory kills one process' 0 'rc=137' run --rm --memory 32m bb sh -c 'tail /dev/zero; echo rc=$?'
d 'an init that is killed for memory' 137 '' run --name oom --memory 32m bb tail /dev/zero
d 'is shown as that' 0 '^true 137' inspect -f '{{.State.OOMKilled}} {{.State.ExitCode}}' oom
d 'start again on failure' 0 '^[0-9a-f]{64}' run -d --name again --restart on-failure:2 bb sh -c 'exit 3'
check 'twice' 0 '^exited 2 3' bash -c "for i in \$(seq 50); do D inspect -f '{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}' again | grep '^exited 2' && exit; sleep 0.2; done"
d 'remove both' 0 '' rm -f oom again
echo '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}' >"$WORK/seccomp.json"
d 'a seccomp profile' 0 'not permitted.*refused' run --rm --security-opt "seccomp=$WORK/seccomp.json" bb sh -c 'mkdir /x 2>&1 || echo refused'
d 'privileged may mount' 0 'mounted' run --rm --privileged bb sh -c 'mount -t tmpfs t /mnt && echo mounted'
d 'a missing program is 127' 127 'no such file or directory' run --rm bb /nonexistent
d 'one that cannot run is 126' 126 'permission denied' run --rm bb /etc/passwd
check 'a terminal' 0 '/dev/pts/0.*istty' script -qec "nsenter -t $HOLDER -m -n -- $DOCKER -H unix://$WORK/sock \
	run --rm -it bb sh -c 'tty; test -t 0 && echo istty'" /dev/null
check 'standard input' 0 'cat me' bash -c "echo cat me | D run --rm -i bb cat"
mkdir "$WORK/build"
printf 'FROM bb\nRUN echo built > /built && id\nUSER 1000\nCOPY f /f\nENTRYPOINT ["cat","/built","/f"]\n' >"$WORK/build/Dockerfile"
echo copied >"$WORK/build/f"
check 'build' 0 'Successfully built' bash -c 'DOCKER_BUILDKIT=0 D build -t built "$WORK/build"'
d 'what was built' 0 'built copied' run --rm built
