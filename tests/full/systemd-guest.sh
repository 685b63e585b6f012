#!/bin/bash
# Run by systemd.sh inside its virtual machine, as root, with /opt/runsc and the bundle /opt/b.
cd /opt/b || exit 1
check() { # NAME WANTED COMMAND…: what a command prints, its lines in one
	name=$1 wanted=$2
	shift 2
	got=$(timeout 120 bash -c '"$@"' check "$@" 2>&1 | tr '\n' ' ')
	case $got in
	$wanted) echo "ok   $name" ;;
	*) echo "FAIL $name: $got (wanted: $wanted)" ;;
	esac
}
config() { # PATH [CPUS]: config.json for a container at this place
	cat >config.json <<-END
		{ "ociVersion": "1.2.1", "root": { "path": "rootfs" },
		  "process": { "user": { "uid": 0, "gid": 0 }, "args": ["sleep", "1000"], "env": ["PATH=/bin"], "cwd": "/" },
		  "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
		  "linux": { "cgroupsPath": "$1",
		    "namespaces": [{ "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }],
		    "resources": { "memory": { "limit": 67108864, "swap": 67108864, "reservation": 33554432 }, "pids": { "limit": 20 },
		      "cpu": { "shares": 512, "quota": 50000, "period": 100000${2:-, \"cpus\": \"0\"} } } } }
	END
}
r() { /opt/runsc --root /run/rt "$@"; }
s() { /opt/runsc --root /run/rt --systemd-cgroup "$@"; }
show() { systemctl show "$1" -p Slice,MemoryMax,MemoryLow,MemorySwapMax,TasksMax,CPUWeight,CPUQuotaPerSecUSec,AllowedCPUs,Delegate; }
export -f r s show
group() { sed -n 's/^0:://p' "/proc/$(cat /run/pid)/cgroup"; }
export -f group

mount | grep -q '/sys/fs/cgroup type cgroup2' || echo "FAIL the machine has not cgroups of version 2 alone"

config /plain/c1
check 'version 2: run' '' bash -c 'r run -d --pid-file /run/pid c1 </dev/null >/run/out 2>&1; cat /run/out'
check 'version 2: the place' '/plain/c1 ' group
check 'version 2: limits' '67108864 0 33554432 216 50000 100000 20 0 ' \
	bash -c 'cd /sys/fs/cgroup/plain/c1; cat memory.max memory.swap.max memory.low pids.max cpu.max cpu.weight cpuset.cpus'
check 'version 2: what the guest sees' 'MemTotal: *65536 kB 1 ' r exec c1 sh -c 'grep MemTotal /proc/meminfo; nproc'
check 'version 2: update' '134217728 396 ' bash -c 'r update --memory 134217728 --memory-swap 134217728 --pids-limit 50 c1
	cat /sys/fs/cgroup/plain/c1/memory.max /sys/fs/cgroup/plain/c1/pids.max'
check 'version 2: pause' 'paused running ' bash -c 'r pause c1; r state c1 | grep -o "paused"; r resume c1; r state c1 | grep -o running'
check 'version 2: out of memory' '*oom=137 oom_kill 1 *running*' bash -c 'r exec c1 sh -c "tail /dev/zero; echo oom=\$?"
	grep "oom_kill " /sys/fs/cgroup/plain/c1/memory.events; r state c1'
check 'version 2: figures' '*"limit":134217728*' r events --stats c1
check 'version 2: delete leaves nothing' '' bash -c 'r delete --force c1; find /sys/fs/cgroup -path "*plain*"'

config machine.slice:runsc:s1
check 'systemd: run' '' bash -c 's run -d --pid-file /run/pid s1 </dev/null >/run/out 2>&1; cat /run/out'
check 'systemd: the place' '/machine.slice/runsc-s1.scope ' group
check 'systemd: properties' 'Slice=machine.slice Delegate=yes CPUWeight=20 CPUQuotaPerSecUSec=500ms AllowedCPUs=0 MemoryLow=33554432 MemoryMax=67108864 MemorySwapMax=0 TasksMax=216 ' \
	show runsc-s1.scope
check 'systemd: exec is in the scope' '*runsc-s1.scope*' bash -c 's exec s1 sleep 3 & sleep 1; cat /proc/$(pgrep -nf "exec s1 sleep")/cgroup; wait'
check 'systemd: update lasts' '*MemoryMax=134217728*TasksMax=396 134217728 396 ' bash -c \
	's update --memory 134217728 --memory-swap 134217728 --pids-limit 50 s1; show runsc-s1.scope; systemctl daemon-reload; sleep 1
	cat /sys/fs/cgroup/machine.slice/runsc-s1.scope/memory.max /sys/fs/cgroup/machine.slice/runsc-s1.scope/pids.max'
check 'systemd: out of memory' '*oom=137 running *' bash -c 's exec s1 sh -c "tail /dev/zero; echo oom=\$?"; s state s1 | grep -o running'
check 'systemd: a unit that is there is left alone' '*not empty* running *' bash -c '/opt/runsc --root /run/other --systemd-cgroup run -d s1 </dev/null 2>&1 | cat; s state s1 | grep -o running'
check 'systemd: the end ends the unit' 'inactive ' bash -c 's kill s1 KILL; sleep 1; systemctl is-active runsc-s1.scope'
check 'systemd: delete leaves nothing' '0 loaded*' bash -c 's delete s1; find /sys/fs/cgroup -name "*s1*"; systemctl list-units --all --no-legend "runsc-*" | wc -l | sed "s/$/ loaded/"'
config machine.slice:runsc:s4
sed -i 's/"ociVersion"/"annotations": { "org.systemd.property.TimeoutStopSec": "7", "org.systemd.property.Documentation": "['"'"'man:a'"'"', '"'"'man:b'"'"']" }, &/' config.json
check 'systemd: annotations' 'TimeoutStopUSec=7s Documentation=man:a man:b ' bash -c 's run -d s4 </dev/null >/run/out 2>&1; cat /run/out
	systemctl show runsc-s4.scope -p TimeoutStopUSec,Documentation; s delete -f s4'
config a-b.slice::s2
check 'systemd: slices' '/a.slice/a-b.slice/s2.scope ' bash -c 's run -d --pid-file /run/pid s2 </dev/null >/run/out 2>&1; cat /run/out; group; s delete -f s2'
config /plain
check 'systemd: another form of path' '*expected cgroupsPath to be of format*' bash -c 's run -d s3 </dev/null 2>&1 | cat'

mkdir -p /etc/containers && cp -r /opt/b/rootfs /run/image
p() { podman --runtime /opt/runsc --cgroup-manager systemd "$@"; }
export -f p
check 'Podman with systemd: run' '*MemTotal: *65536 kB*' p run --rm --memory 64m --network none --rootfs /run/image grep MemTotal /proc/meminfo
check 'Podman with systemd: scopes' '*libpod-*.scope*' bash -c 'p run -d --name pd --network none --rootfs /run/image sleep 100 >/dev/null; systemctl list-units --no-legend "libpod-*"; p rm -f -t 0 pd >/dev/null'

useradd -m user && loginctl enable-linger user
for _ in $(seq 100); do [ -S "/run/user/$(id -u user)/bus" ] && break; sleep 0.2; done
# Delegation to users leaves processors out.
config :runsc:u1 ' '
cp -r /opt/b /home/user/b && chown -R user: /home/user/b
u() { setpriv --reuid user --regid user --init-groups env -i PATH="$PATH" HOME=/home/user XDG_RUNTIME_DIR="/run/user/$(id -u user)" \
	/opt/runsc --root /home/user/state --systemd-cgroup "$@"; }
export -f u
cd /home/user/b
check "a user's systemd: run" '' bash -c 'u run -d --pid-file /home/user/pid u1 </dev/null >/run/out 2>&1; cat /run/out'
check "a user's systemd: the place" '*/user@*.service/user.slice/runsc-u1.scope ' bash -c 'sed -n "s/^0:://p" /proc/$(cat /home/user/pid)/cgroup'
check "a user's systemd: memory" '67108864 ' bash -c 'cat /sys/fs/cgroup$(sed -n "s/^0:://p" /proc/$(cat /home/user/pid)/cgroup)/memory.max'
check "a user's systemd: exec" 'in ' u exec u1 echo in
check "a user's systemd: pause" 'paused ' bash -c 'u pause u1; u state u1 | grep -o paused; u resume u1'
check "a user's systemd: delete leaves nothing" '' bash -c 'u delete -f u1; find /sys/fs/cgroup -name "*u1*"'
echo 'all checks done'
