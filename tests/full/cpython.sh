#!/bin/sh
# CPython's own tests, natively and in the sandbox (about an hour). Prints each test whose result differs and fails
# unless cpython.explained has it. Needs Debian's libpython3.11-testsuite. Arguments: modules, instead of all.
#
# RUNSC: the runsc to test. PYTHON: the interpreter (Debian's). LIMIT: seconds for a module. KEEP: a directory for the
# results; natively taken ones that are there already are not taken again.
#
# Left out are the tests of VSOCK, some of which wait for ever natively, and of UDP-Lite, without which test_socket as a
# whole dies.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
runsc=${RUNSC:-$here/../../target/release/runsc}
limit=${LIMIT:-900}
python=${PYTHON:-/usr/bin/python3}
results=${KEEP:-$(mktemp -d)}
[ $# -gt 0 ] || set -- test_os test_posix test_subprocess test_threading test_signal test_select test_selectors \
	test_epoll test_mmap test_fcntl test_pty test_tempfile test_shutil test_pathlib test_io test_fileio test_socket \
	test_asyncio test_multiprocessing_fork test_multiprocessing_spawn test_concurrent_futures test_time \
	test_resource test_pwd test_grp test_wait3 test_wait4

# run MODULE XML WRAPPER...: the results as XML; none if it does not end in time.
run() {
	module=$1 xml=$2
	shift 2
	rm -f "$xml"
	(cd "$results" && timeout -k 10 "$limit" "$@" "$python" -m test -u all,-gui,-network,-urlfetch,-largefile \
		-i '*VSOCK*' -i '*UDPLITE*' --junit-xml "$xml" "$module" </dev/null >"$xml.log" 2>&1) || true
}

status=0
for module; do
	native=$results/$module.native.xml sandbox=$results/$module.sandbox.xml
	[ -n "${KEEP:-}" ] && [ -s "$native" ] || run "$module" "$native" env
	run "$module" "$sandbox" "$runsc" do --bind "$results" "$results" --
	"$here/compare.py" "$module" "$native" "$sandbox" "$here/cpython.explained" || status=1
done
echo "results in $results"
exit $status
