# Package management: a simulated installation, a package built and installed.
apt-get --simulate -qq install hello 2>/dev/null | head -2 | cut -d' ' -f1,2
mkdir -p p/DEBIAN p/usr/share/runsc-test; echo content >p/usr/share/runsc-test/f
printf 'Package: runsc-test\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\nDescription: test\n' >p/DEBIAN/control
dpkg-deb -b p t.deb >/dev/null && dpkg-deb -I t.deb | grep Version
mkdir -p root/var/lib/dpkg/updates root/var/lib/dpkg/info root/var/lib/dpkg/triggers; : >root/var/lib/dpkg/status; : >root/var/lib/dpkg/available
dpkg --root="$PWD/root" --force-not-root --force-bad-path --log=/dev/null -i t.deb >/dev/null 2>&1; echo "status $?"
dpkg --root="$PWD/root" -s runsc-test | grep Status; cat root/usr/share/runsc-test/f
