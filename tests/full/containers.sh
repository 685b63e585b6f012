#!/bin/bash
# Fifty containers at once and a thousand in sequence (RUNSC, or the release build), as root: figures, and whether
# anything is left of them: processes, mounts, cgroups, open files. AT_ONCE and IN_SEQUENCE are other numbers.
set -u
RUNSC=${RUNSC:-$(dirname "$0")/../../target/release/runsc}
AT_ONCE=${AT_ONCE:-50} IN_SEQUENCE=${IN_SEQUENCE:-1000}
WORK=$(mktemp -d /tmp/runsc-full.XXXXXX)
trap 'rm -rf "$WORK"' EXIT
cp "$RUNSC" "$WORK/runsc" && cd "$WORK" || exit 1
mkdir -p rootfs/bin rootfs/proc rootfs/dev
cp "$(command -v busybox)" rootfs/bin/busybox
for applet in sh sleep true; do ln -s busybox rootfs/bin/$applet; done
"$WORK/runsc" spec && sed -i 's/"terminal": true/"terminal": false/; s#"sh"#"sleep", "100000"#' config.json
r() { "$WORK/runsc" --root "$WORK/state" "$@"; }
ms() { echo $((($(date +%s%N) - $1) / 1000000)); }
FAILED=0
fail() { echo "FAIL $*"; FAILED=1; }

# What there is on the host of these containers, and of everybody.
processes() { pgrep -fc "^$WORK/runsc|^stub$"; }
groups() { find /sys/fs/cgroup -type d -name 'full-*' 2>/dev/null | wc -l; }
snapshot() { echo "processes $(processes) groups $(groups) mounts $(wc -l </proc/self/mountinfo) states $(ls state 2>/dev/null | wc -l)"; }
files() { cut -f1 /proc/sys/fs/file-nr; }
BEFORE=$(snapshot) FILES=$(files)

start=$(date +%s%N)
for n in $(seq "$AT_ONCE"); do
	r run -d "full-$n" </dev/null >/dev/null 2>"err-$n" &
done
wait
echo "$AT_ONCE containers started at once: $(ms "$start") ms"
running=$(r list | grep -c ' running ')
[ "$running" = "$AT_ONCE" ] || fail "only $running run: $(cat err-* | head -3)"
sleep 1
pss=0
for pid in $(pgrep -f "^$WORK/runsc") $(find /sys/fs/cgroup -path '*full-*' -name cgroup.procs -exec cat {} + | sort -u); do
	[ -n "${seen[$pid]:-}" ] && continue
	seen[$pid]=1
	pss=$((pss + $(awk '/^Pss:/ { print $2 }' "/proc/$pid/smaps_rollup" 2>/dev/null || echo 0)))
done
echo "memory for each of them: $((pss / AT_ONCE)) KiB (PSS)"
start=$(date +%s%N)
for n in $(seq "$AT_ONCE"); do
	r exec "full-$n" true </dev/null >/dev/null 2>&1 || fail "exec in full-$n" &
done
wait
echo "exec in each at once: $(ms "$start") ms"
start=$(date +%s%N)
for n in $(seq "$AT_ONCE"); do r delete --force "full-$n" & done
wait
echo "deleted at once: $(ms "$start") ms"
[ "$(snapshot)" = "$BEFORE" ] || fail "left by $AT_ONCE at once: $(snapshot), before: $BEFORE"

# From the kill of the first process to the moment when nothing of the sandbox runs.
sed -i 's#"sleep", "100000"#"sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do sleep 100000 \& done; sleep 100000"#' config.json
for n in $(seq 20); do
	r run -d "full-$n" </dev/null || fail "run $n"
	sleep 0.2
	start=$(date +%s%N)
	r kill "full-$n" KILL
	while pgrep -f "^$WORK/runsc" >/dev/null; do :; done
	ms "$start" >>deaths
	r delete "full-$n"
done
echo "a container of ten processes is gone after $(sort -n deaths | sed -n 10p) ms, at most $(sort -n deaths | tail -1) ms"

sed -i 's#"sh", "-c", .*#"true"#' config.json
start=$(date +%s%N)
for n in $(seq "$IN_SEQUENCE"); do
	r run "full-$n" </dev/null || fail "run $n"
done
took=$(ms "$start")
echo "$IN_SEQUENCE containers in sequence: $took ms, $((took / IN_SEQUENCE)) ms each"
sleep 1
[ "$(snapshot)" = "$BEFORE" ] || fail "left by $IN_SEQUENCE in sequence: $(snapshot), before: $BEFORE"
echo "open files of the host: $FILES before, $(files) after"
exit "$FAILED"
