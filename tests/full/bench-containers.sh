#!/bin/bash
# Containers beside other runtimes, in turn within one run; medians, as root: tests/full/bench-containers.sh [NAME=PATH…]
# (runc, crun and runsc if none is named; a gVisor as gvisor=PATH). PAIRS (10) is how often each is timed. With Docker
# installed `docker run --rm` is timed as well.
set -u
HERE=$(cd "$(dirname "$0")" && pwd)
export RUNSC=${RUNSC:-$HERE/../../target/release/runsc}
PAIRS=${PAIRS:-10}
[ $# -gt 0 ] || set -- "runc=$(command -v runc)" "crun=$(command -v crun)" "runsc=$RUNSC"
declare -A PROGRAM
NAMES=
for given; do
	[ -x "${given#*=}" ] || { echo "SKIPPED: no program ${given#*=}"; continue; }
	PROGRAM[${given%%=*}]=$(realpath "${given#*=}")
	NAMES="$NAMES ${given%%=*}"
done

. "$HERE/../engines/lib.sh"
need umoci skopeo nsenter
begin bench
image || exit 1
cd "$WORK" || exit 1
cp -r image/bundle/rootfs rootfs
"$WORK/runsc" spec && sed -i 's/"terminal": true/"terminal": false/; s#"sh"#"sleep", "100000"#' config.json
# crun wants no hierarchy of version 2 beside those of version 1.
[ ! -d /sys/fs/cgroup/unified ] || inside umount /sys/fs/cgroup/unified

r() { # NAME ARGUMENTS: a command of a runtime
	name=$1
	shift
	case $name in gvisor) set -- --network=none --ignore-cgroups "$@" ;; esac
	inside "${PROGRAM[$name]}" --root "$WORK/state-$name" "$@" </dev/null >/dev/null 2>"$WORK/log/$name"
}
now() { date +%s%N; }
took() { echo "$2" >>"$WORK/times.$1.$name"; }
since() { echo $((($(now) - $1) / 1000)); }
median() { sort -n "$1" 2>/dev/null | awk '{ v[NR] = $1 } END { if (NR) printf "%.1f", v[int((NR + 1) / 2)] / 1000; else printf "-" }'; }

life() {
	start=$(now)
	r "$1" create --bundle "$WORK" "b-$1" && r "$1" start "b-$1" && r "$1" delete --force "b-$1" && name=$1 took life "$(since "$start")"
}
execs() {
	r "$1" run --detach --bundle "$WORK" "b-$1" || return
	start=$(now)
	r "$1" exec "b-$1" true && name=$1 took exec "$(since "$start")"
	r "$1" delete --force "b-$1"
}
# Proportional memory of all processes with a path of ours in their arguments, or in the containers' groups, in KiB.
memory() {
	count=$1 name=$2
	for n in $(seq "$count"); do r "$name" run --detach --bundle "$WORK" "m-$name-$n" || return; done
	sleep 1
	pids=$(pgrep -f "state-$name|runsc-(gofer|sandbox).*m-$name" ; find /sys/fs/cgroup -path "*m-$name-*" -name cgroup.procs -exec cat {} + 2>/dev/null)
	for n in $(seq "$count"); do
		pid=$(inside "${PROGRAM[$name]}" --root "$WORK/state-$name" state "m-$name-$n" 2>/dev/null | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p')
		pids="$pids $pid $(pgrep -P "${pid:-0}")"
	done
	total=0
	for pid in $(printf '%s\n' $pids | sort -un); do
		total=$((total + $(awk '/^Pss:/ { print $2 }' "/proc/$pid/smaps_rollup" 2>/dev/null || echo 0)))
	done
	echo $((total * 1000 / count)) >"$WORK/times.memory$count.$name"
	for n in $(seq "$count"); do r "$name" delete --force "m-$name-$n"; done
}

for _ in $(seq "$PAIRS"); do
	for name in $NAMES; do life "$name"; execs "$name"; done
done
for name in $NAMES; do memory 1 "$name"; memory 50 "$name"; done

if command -v dockerd >/dev/null; then
	runtimes=
	for name in $NAMES; do
		args=
		[ "$name" != gvisor ] || args=', "runtimeArgs": ["--network=none", "--ignore-cgroups"]'
		[ "$name" = runc ] || runtimes="$runtimes, \"x$name\": { \"path\": \"${PROGRAM[$name]}\"$args }"
	done
	cat >daemon.json <<-END
		{ "data-root": "$WORK/root", "exec-root": "$WORK/exec", "pidfile": "$WORK/pid", "hosts": ["unix://$WORK/sock"],
		  "runtimes": { ${runtimes#, } }, "exec-opts": ["native.cgroupdriver=cgroupfs"], "bip": "172.30.0.1/16" }
	END
	daemon dockerd dockerd --config-file "$WORK/daemon.json"
	D() { inside /usr/bin/docker -H "unix://$WORK/sock" "$@"; }
	for _ in $(seq 150); do D version >/dev/null 2>&1 && break; sleep 0.1; done
	D load -q -i "$WORK/image/docker.tar" >/dev/null
	for _ in $(seq "$PAIRS"); do
		for name in $NAMES; do
			runtime=x$name
			[ "$name" != runc ] || runtime=runc
			start=$(now)
			D run --rm --network none --runtime "$runtime" bb true >/dev/null 2>&1 && took docker "$(since "$start")"
		done
	done
fi

printf '%-34s' 'medians'
printf '%12s' $NAMES
echo
for row in 'life|create + start + delete, ms' 'exec|exec of true, ms' 'docker|docker run --rm true, ms' \
	'memory1|memory of one idle, KiB (PSS)' 'memory50|memory of each of 50 idle, KiB'; do
	printf '%-34s' "${row#*|}"
	for name in $NAMES; do printf '%12s' "$(median "$WORK/times.${row%%|*}.$name")"; done
	echo
done
