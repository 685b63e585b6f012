#!/bin/bash
# Cgroups of version 2 alone, and systemd's driver, in a virtual machine whose first process is systemd; as root.
#
# Needs qemu-system-x86, debootstrap and busybox-static (Debian's), and a kernel of 6.18 or later that has NVMe, ext4
# and virtio consoles built in: KERNEL=vmlinuz, for example that of Debian's linux-binary-*-cloud-amd64 package.
# Without KVM it takes some minutes. RUNSC: the runsc to test. ROOT: a directory to keep the machine's files in.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
runsc=${RUNSC:-$here/../../target/release/runsc}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=${ROOT:-$work/root}
[ -f "${KERNEL:?the kernel to boot}" ]
if [ ! -x "$root/sbin/init" ]; then
	debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,podman,conmon,uidmap,iproute2,procps \
		bookworm "$root" >"$work/debootstrap.log" 2>&1 || { tail "$work/debootstrap.log"; exit 1; }
fi
mkdir -p "$root/opt/b/rootfs/bin" "$root/opt/b/rootfs/proc" "$root/opt/b/rootfs/dev"
cp "$runsc" "$root/opt/runsc"
cp "$here/systemd-guest.sh" "$root/opt/test.sh"
cp "$(command -v busybox)" "$root/opt/b/rootfs/bin/busybox"
for applet in sh sleep tail grep echo true nproc; do ln -sf busybox "$root/opt/b/rootfs/bin/$applet"; done
cat >"$root/etc/systemd/system/test.service" <<-END
	[Unit]
	After=dbus.service systemd-logind.service
	[Service]
	Type=oneshot
	ExecStart=/bin/bash /opt/test.sh
	StandardOutput=file:/dev/hvc0
	StandardError=inherit
	ExecStopPost=/bin/systemctl poweroff --force
	[Install]
	WantedBy=multi-user.target
END
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -sf ../test.service "$root/etc/systemd/system/multi-user.target.wants/test.service"
truncate -s 3G "$work/disk"
mkfs.ext4 -q -F -d "$root" "$work/disk"
masked=
for unit in serial-getty@ttyS0 serial-getty@hvc0 getty@tty1; do masked="$masked systemd.mask=$unit.service"; done
timeout "${LIMIT:-900}" qemu-system-x86_64 -M q35 -accel "${ACCEL:-tcg,thread=multi}" -cpu max -smp 2 -m 3072 -display none -no-reboot \
	-kernel "$KERNEL" -append "console=ttyS0 root=/dev/nvme0n1 rw quiet$masked" \
	-drive "file=$work/disk,if=none,id=disk,format=raw,cache=unsafe" -device nvme,drive=disk,serial=1 \
	-device virtio-serial -chardev "file,path=$work/out,id=out" -device virtconsole,chardev=out \
	-serial "file:$work/log" -monitor none </dev/null || true
tr -d '\r' <"$work/out" >"$work/lines"
cat "$work/lines"
grep -q '^all checks done$' "$work/lines" || { tail "$work/log"; echo "FAIL: the machine did not come to the end"; exit 1; }
! grep -q '^FAIL' "$work/lines"
