#!/bin/sh
# Installs what the tests need and the machine lacks (Debian and Ubuntu). Does nothing if all is there.
set -eu

# A program that is missed, and the package that has it.
wanted="bash:bash find:findutils grep:grep sed:sed awk:gawk tar:tar gzip:gzip xz:xz-utils make:make cc:build-essential
git:git perl:perl python3:python3 sqlite3:sqlite3 node:nodejs javac:default-jdk-headless go:golang-go
redis-server:redis-server redis-benchmark:redis-tools nginx:nginx-light wrk:wrk tmux:tmux setpriv:util-linux ps:procps
script:bsdutils busybox:busybox-static containerd:containerd dockerd:docker.io podman:podman
conmon:conmon newuidmap:uidmap runc:runc iptables:iptables ip:iproute2 nsenter:util-linux umoci:umoci skopeo:skopeo
protoc:protobuf-compiler curl:curl wget:wget ethtool:ethtool iperf3:iperf3 slirp4netns:slirp4netns
dig:bind9-dnsutils ping:iputils-ping psql:postgresql-client ssh:openssh-client sshd:openssh-server tcpdump:tcpdump
h2load:nghttp2-client nghttpd:nghttp2-server dpkg-scanpackages:dpkg-dev"

missing=
for pair in $wanted; do
	command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair##*:}"
done
python3 -c 'import ensurepip, sqlite3' 2>/dev/null || missing="$missing python3-venv"
/usr/bin/python3 -c 'import grpc, google.protobuf' 2>/dev/null || missing="$missing python3-grpcio python3-protobuf"
[ -x /usr/lib/cni/bridge ] || missing="$missing containernetworking-plugins"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
ls /usr/lib/postgresql/*/bin/pgbench >/dev/null 2>&1 || missing="$missing postgresql-contrib"
[ -z "$missing" ] && exit 0
echo "installing:$missing"
[ "$(id -u)" = 0 ] || { echo "setup.sh: run it as root once" >&2; exit 1; }
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# shellcheck disable=SC2086
apt-get install -qy --no-install-recommends $missing
