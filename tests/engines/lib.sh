# What the engines' tests share. Everything lives in a directory of its own and in private mount and network
# namespaces, and goes with the test. Usage: `. lib.sh`, then `begin NAME`; RUNSC is the runtime under test.
set -u
FAILED=0

# Makes the directory and the namespaces; `inside` runs commands there.
begin() {
	# One engine at a time on a machine: at its end each test removes the groups that engines have left empty.
	exec 9>/tmp/runsc-engines.lock
	flock -w 600 9 || exit 1
	WORK=$(mktemp -d "/tmp/runsc-engine-$1.XXXXXX")
	mkdir -p "$WORK/log" "$WORK/image"
	cp "$RUNSC" "$WORK/runsc"
	setsid unshare --mount --net --propagation private sh -c \
		'mount --make-rshared /; ip link set lo up; echo $$ > "$1/holder"; exec sleep 3600' sh "$WORK" >/dev/null 2>&1 9>&- &
	until [ -s "$WORK/holder" ]; do sleep 0.05; done
	HOLDER=$(cat "$WORK/holder")
	trap finish EXIT
}

inside() { nsenter -t "$HOLDER" -m -n -- "$@"; }

# A daemon inside, with a clean environment; its pid is remembered for the end.
daemon() {
	name=$1
	shift
	setsid nsenter -t "$HOLDER" -m -n -- env -i PATH="$PATH" HOME="$WORK" "$@" >"$WORK/log/$name" 2>&1 </dev/null 9>&- &
	DAEMONS="${DAEMONS:-} $!"
}

finish() {
	for pid in ${DAEMONS:-}; do
		kill "$pid" 2>/dev/null
		for _ in $(seq 50); do [ -d "/proc/$pid" ] || break; sleep 0.1; done
		kill -9 "$pid" 2>/dev/null
	done
	type cleanup >/dev/null 2>&1 && cleanup
	# What an engine has mounted in its own namespace goes with the namespace.
	kill -9 "$HOLDER" 2>/dev/null
	# Shims outlive their engine.
	pkill -9 -f "$WORK/" 2>/dev/null
	sleep 0.2
	# Groups that an engine made and nothing is in; others stay.
	find /sys/fs/cgroup -depth -type d \( -path '*/libpod_parent*' -o -path '*/docker*' -o -path '*/runsc-cri*' \) -exec rmdir {} + 2>/dev/null
	# For who looks for a fault.
	[ -z "${KEEP:-}" ] || cp -r "$WORK/log" "$KEEP"
	rm -rf "$WORK"
	[ "$FAILED" = 0 ] || echo "$FAILED checks failed"
	exit "$((FAILED > 0))"
}

# An image of busybox, called localhost/bb, as archives for docker and for OCI engines.
image() {
	umoci init --layout "$WORK/image/bb" && umoci new --image "$WORK/image/bb:latest" &&
		umoci unpack --image "$WORK/image/bb:latest" "$WORK/image/bundle" >/dev/null || return 1
	root=$WORK/image/bundle/rootfs
	mkdir -p "$root/bin" "$root/etc" "$root/tmp" "$root/root" "$root/mnt"
	cp "$(command -v busybox)" "$root/bin/busybox"
	for applet in $(busybox --list); do [ "$applet" = busybox ] || ln -sf busybox "$root/bin/$applet"; done
	printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$root/etc/passwd"
	printf 'root:x:0:\nnobody:x:65534:\n' >"$root/etc/group"
	chmod 1777 "$root/tmp"
	umoci config --image "$WORK/image/bb:latest" --config.cmd sh --config.env PATH=/bin &&
		umoci repack --image "$WORK/image/bb:latest" "$WORK/image/bundle" >/dev/null &&
		skopeo --insecure-policy copy -q "oci:$WORK/image/bb:latest" "docker-archive:$WORK/image/docker.tar:bb:latest" &&
		skopeo --insecure-policy copy -q "oci:$WORK/image/bb:latest" "oci-archive:$WORK/image/oci.tar:localhost/bb:latest"
}

# check NAME STATUS PATTERN COMMAND…: the exit status, and an extended regular expression for what it prints.
check() {
	name=$1 status=$2 pattern=$3
	shift 3
	out=$(timeout 60 "$@" 2>&1 </dev/null)
	got=$?
	if [ "$got" = "$status" ] && printf '%s\n' "$out" | tr '\n' ' ' | grep -Eq -e "$pattern"; then
		echo "ok   $name"
	else
		FAILED=$((FAILED + 1))
		echo "FAIL $name: status $got (wanted $status), output: $out (wanted: $pattern)"
	fi
}

# Stops with a loud line where an engine is not installed.
need() {
	for program in "$@"; do
		command -v "$program" >/dev/null || {
			echo "SKIPPED: $program is not installed (tests/setup.sh installs it)"
			exit 77
		}
	done
	[ "$(id -u)" = 0 ] || {
		echo "SKIPPED: engines are started as root"
		exit 77
	}
}
