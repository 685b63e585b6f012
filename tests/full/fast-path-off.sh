#!/bin/sh
# The test suite with `--fast-path=off` wherever a test does not say otherwise: all calls are notifications then.
# Arguments go to the test runner.
set -eu
cd "$(dirname "$0")/../.."
tests/setup.sh
cargo build --release
target=$(cargo metadata --no-deps --format-version 1 | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
mkdir -p "$target/fast-path-off"
RUNSC=$target/fast-path-off/runsc
export RUNSC
cat >"$RUNSC" <<-END
	#!/bin/sh
	case " \$* " in
	*" --fast-path"*) exec '$target/release/runsc' "\$@" ;;
	*) exec '$target/release/runsc' --fast-path=off "\$@" ;;
	esac
END
chmod +x "$RUNSC"
cargo nextest run --workspace --no-fail-fast -E 'not test(/_fast$/)' "$@"
