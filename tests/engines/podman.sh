#!/bin/bash
# Podman, with runsc as its runtime.
cd "$(dirname "$0")" && . ./lib.sh
need podman conmon umoci skopeo nsenter
begin podman
image || exit 1
mkdir -p "$WORK/cni"
cat >"$WORK/containers.conf" <<-END
	[containers]
	default_ulimits = ["nofile=1024:4096", "nproc=4096:8192"]
	[engine]
	cgroup_manager = "cgroupfs"
	events_logger = "file"
	runtime = "runsc"
	tmp_dir = "$WORK/tmp"
	runtime_supports_json = ["runsc"]
	[engine.runtimes]
	runsc = ["$WORK/runsc"]
	[network]
	network_backend = "cni"
	network_config_dir = "$WORK/cni"
END
cat >"$WORK/storage.conf" <<-END
	[storage]
	driver = "overlay"
	graphroot = "$WORK/root"
	runroot = "$WORK/run"
END
P() {
	inside env -i PATH="$PATH" HOME="$WORK" TERM=xterm CONTAINERS_CONF="$WORK/containers.conf" \
		CONTAINERS_STORAGE_CONF="$WORK/storage.conf" podman "$@"
}
export -f P inside
export WORK HOLDER
P load -q -i "$WORK/image/oci.tar" >/dev/null || exit 1

p() { name=$1 status=$2 pattern=$3; shift 3; check "$name" "$status" "$pattern" bash -c 'P "$@"' P "$@"; }
mkdir -p "$WORK/volume"
p 'run gives output and status' 7 'uid=0' run --rm --network none bb sh -c 'id; exit 7'
p 'run detached' 0 '^[0-9a-f]{64}' run -d --name t --network none -v "$WORK/volume:/data" bb \
	sh -c 'echo started; mkdir /www; echo web > /www/f; trap "exit 4" TERM; while :; do sleep 0.1; done'
check 'logs' 0 'started' bash -c 'for i in $(seq 20); do P logs t | grep started && exit; sleep 0.1; done'
p 'it is up' 0 't Up' ps -a --format '{{.Names}} {{.Status}}'
p 'exec gives output and status' 5 'in it' exec t sh -c 'echo in it; exit 5'
p 'exec as a user' 0 'uid=1000.*/tmp b' exec -u 1000:1000 -w /tmp -e A=b t sh -c 'id; pwd; echo $A'
p 'stats' 0 't ' stats --no-stream t
p 'top shows the processes' 0 'sleep' top t
p 'pause' 0 '' pause t
p 'it is paused' 0 't Paused' ps -a --format '{{.Names}} {{.Status}}'
p 'unpause' 0 '' unpause t
p 'cp from the container' 0 'web' cp t:/www/f -
p 'stop' 0 '' stop -t 3 t
p 'the status of the end' 0 'exited 4 false' inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}' t
p 'start again' 0 '' start t
p 'kill' 0 '' kill -s KILL t
p 'remove' 0 '' rm -f t
p 'a read-only root' 0 'ro-ok' run --rm --network none --read-only bb sh -c 'echo x > /f || echo ro-ok'
p 'privileged may mount' 0 'mounted' run --rm --network none --privileged bb sh -c 'mount -t tmpfs t /mnt && echo mounted'
p 'a missing program is 127' 127 'no such file' run --rm --network none bb /nonexistent
p 'one that cannot run is 126' 126 'permission denied' run --rm --network none bb /etc/passwd
check 'standard input' 0 'cat me' bash -c 'echo cat me | P run --rm -i --network none bb cat'
p 'another' 0 '' run -d --name box2 --network none bb sleep 100
# Without CRIU Podman refuses before it has asked the runtime.
p 'checkpoint is refused' 125 'does not support checkpoint|requires at least CRIU' container checkpoint box2
p 'remove the other' 0 '' rm -f -t 0 box2

p 'a pod' 0 '' pod create --name pod1 --network none --share net,ipc,uts --infra-image bb --infra-command '/bin/sleep 600'
p 'a server in it' 0 '' run -d --pod pod1 --name server bb sh -c 'while :; do echo of-the-server | nc -l -p 777; done'
p 'another container of it talks to the server' 0 'of-the-server' run --rm --pod pod1 bb \
	sh -c 'for i in $(seq 50); do nc 127.0.0.1 777 </dev/null && exit; sleep 0.1; done'
p 'processes are apart' 0 'COMMAND +1 root +ps' run --rm --pod pod1 bb ps
p 'a pod with common processes' 0 '' pod create --name pod2 --network none --share net,pid --infra-image bb --infra-command '/bin/sleep 600'
p 'they are seen' 0 '1 root +/bin/sleep 600.*ps' run --rm --pod pod2 bb ps
p 'stop a pod' 0 '' pod stop -t 1 pod1
p 'start it again' 0 '' pod start pod1
p 'remove the pods' 0 '' pod rm -f -t 0 pod1 pod2
p 'a server' 0 '' run -d --name alone --network none bb sh -c 'while :; do echo of-the-server | nc -l -p 777; done'
p 'the network of a container' 0 'of-the-server' run --rm --network container:alone bb \
	sh -c 'for i in $(seq 50); do nc 127.0.0.1 777 </dev/null && exit; sleep 0.1; done'
p 'remove the server' 0 '' rm -f -t 0 alone
daemon of-the-host busybox sh -c 'while :; do echo of-the-host | busybox nc -l -p 778; done'
p 'the network of the host' 0 'of-the-host' --runtime-flag network=host run --rm --network host bb \
	sh -c 'for i in $(seq 50); do nc 127.0.0.1 778 </dev/null && exit; sleep 0.1; done'
p 'not without being asked' 0 'refused' run --rm --network host bb sh -c 'nc 127.0.0.1 778 </dev/null || echo refused'

# The same as an ordinary user, who has subordinate ids, and then has none.
SOMEBODY=runsc-test-$$
cleanup() {
	pkill -9 -u "$SOMEBODY"
	sleep 0.2
	userdel -r "$SOMEBODY" 2>/dev/null
}
useradd -m -d "$WORK/home" "$SOMEBODY" || exit 1
mkdir -p "$WORK/home/run" "$WORK/home/cni"
sed -e 's#/tmp"$#/home/tmp"#' -e 's#/cni"$#/home/cni"#' "$WORK/containers.conf" >"$WORK/home/containers.conf"
printf '[storage]\ndriver = "vfs"\ngraphroot = "%s"\nrunroot = "%s"\n' "$WORK/home/root" "$WORK/home/run" >"$WORK/home/storage.conf"
chmod 755 "$WORK" "$WORK/image"
chmod 644 "$WORK/image/oci.tar"
chown -R "$SOMEBODY:" "$WORK/home"
R() {
	inside setpriv --reuid "$SOMEBODY" --regid "$SOMEBODY" --init-groups env -i -C "$WORK/home" PATH="$PATH" HOME="$WORK/home" \
		XDG_RUNTIME_DIR="$WORK/home/run" CONTAINERS_CONF="$WORK/home/containers.conf" \
		CONTAINERS_STORAGE_CONF="$WORK/home/storage.conf" podman "$@"
}
export -f R
export SOMEBODY
r() { name=$1 status=$2 pattern=$3; shift 3; check "rootless: $name" "$status" "$pattern" bash -c 'R "$@"' R "$@"; }
r 'an image' 0 '' load -q -i "$WORK/image/oci.tar"
r 'run gives output and status' 3 'uid=0.* 0 +0 +0 .*/x' run --rm --network none bb sh -c 'id; touch /x; ls -ln /x; exit 3'
r 'another user' 0 'uid=1000' run --rm --network none --user 1000:1000 bb id
r 'run detached' 0 '^[0-9a-f]{64}' run -d --name d --network none bb sleep 100
r 'exec gives output and status' 4 'in it' exec d sh -c 'echo in it; exit 4'
r 'kill' 0 '' kill d
r 'remove' 0 '' rm -f -t 0 d
if command -v slirp4netns >/dev/null; then
	# Some hosts leave the device to root.
	mknod "$WORK/tun" c 10 200 && chmod 666 "$WORK/tun" && inside mount --bind "$WORK/tun" /dev/net/tun
	r 'a network' 0 'default via 10.0.2.2 dev tap0.*bytes from 10.0.2.2' run --rm --network slirp4netns bb \
		sh -c 'ip route; ping -c 1 -W 5 10.0.2.2'
fi
r 'other ids' 0 '0 +1 +100' run --rm --uidmap 0:1:100 --gidmap 0:1:100 --network none bb cat /proc/self/uid_map
sed -i "/^$SOMEBODY:/d" /etc/subuid /etc/subgid
r 'let go of the old ids' 0 '' system migrate
rm -rf "$WORK/home/root" "$WORK/home/run" "$WORK/home/.local"
inside setpriv --reuid "$SOMEBODY" --regid "$SOMEBODY" --clear-groups mkdir "$WORK/home/run"
printf '[storage.options.vfs]\nignore_chown_errors = "true"\n' >>"$WORK/home/storage.conf"
r 'the image again' 0 '' load -q -i "$WORK/image/oci.tar"
r 'without subordinate ids' 5 'uid=0' run --rm --network none bb sh -c 'id; exit 5'
