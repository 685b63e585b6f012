#!/bin/sh
# Every stressor of stress-ng, one instance for one second, natively and in the sandbox (about half an hour). Prints
# each whose exit status differs and fails unless stress-ng.explained has it. A stressor that does not end in LIMIT
# seconds (default 60) counts as status "late". Arguments: stressors, instead of all.
#
# RUNSC: the runsc to test. KEEP: a directory for the results; native ones that are there already are not taken again.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
runsc=${RUNSC:-$here/../../target/release/runsc}
limit=${LIMIT:-60}
results=${KEEP:-$(mktemp -d)}
[ $# -gt 0 ] || set -- $(stress-ng --stressors)
# These would disturb the machine: in the sandbox only, where they must end.
unsafe=" cpu-online memhotplug softlockup watchdog reboot smi oom-pipe binderfs swap rtc efivar klog "

# run NAME LOG WRAPPER...: prints the status.
run() {
	name=$1 log=$2
	shift 2
	work=$(mktemp -d)
	code=0
	(cd "$work" && exec timeout -k 10 "$limit" "$@" stress-ng "--$name" 1 -t 1 --verify </dev/null >"$log" 2>&1) || code=$?
	rm -rf "$work"
	case $code in 124 | 137) code=late ;; esac
	echo $code
}

status=0
for name; do
	native=$results/$name.native sandbox=$results/$name.sandbox
	case $unsafe in
	*" $name "*) echo - >"$native" ;;
	*) [ -n "${KEEP:-}" ] && [ -s "$native" ] || run "$name" "$native.log" env >"$native" ;;
	esac
	run "$name" "$sandbox.log" "$runsc" do -- >"$sandbox"
	was=$(cat "$native") there=$(cat "$sandbox")
	[ "$was" = "$there" ] && continue
	[ "$was" = - ] && [ "$there" != late ] && continue
	why=$(sed -n "s/^$name  *//p" "$here/stress-ng.explained")
	[ -n "$why" ] || status=1
	echo "$name: natively $was, in the sandbox $there: ${why:-NOT EXPLAINED}"
done
echo "results in $results"
exit $status
