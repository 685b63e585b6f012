# Trees of files: find, grep, sed, awk, tar, gzip, xz, checksums.
set -e
mkdir tree
for d in $(seq 20); do
	mkdir -p "tree/d$d/sub"
	for f in $(seq 20); do seq "$f" $((f * d)) >"tree/d$d/sub/f$f"; done
done
find tree -type f | wc -l
find tree -type f -size +1k | sort | sha256sum
find tree -name 'f1*' -newer tree/d1 -print0 | sort -z | xargs -0 cat | md5sum
grep -r '^7' tree | sort | sha1sum
sed -i 's/1/one/g' tree/d5/sub/f*; cat tree/d5/sub/* | sha256sum
awk '{ s += $1 } END { print s }' tree/d7/sub/*
tar cf - --sort=name --mtime=@0 tree | gzip -n | tee t.tgz | sha256sum
tar cJf t.txz tree; mkdir out; tar xf t.txz -C out; diff -r tree out/tree && echo equal
xz -t t.txz && gunzip -t t.tgz && echo intact
cp -a tree copy; chmod -R go-rwx copy; find copy -perm /077 | wc -l
ln -s tree link; ln tree/d1/sub/f1 hard; stat -c '%h %F' hard link
rm -r copy; ls; du -s --apparent-size tree >/dev/null && df . >/dev/null && echo sizes
dd if=/dev/zero of=sparse bs=1 count=1 seek=1M 2>/dev/null; stat -c %s sparse
truncate -s 10 sparse; wc -c <sparse; touch -d @86400 sparse; stat -c %Y sparse
split -n 4 t.tgz part.; cat part.* | cmp - t.tgz && echo joined
sort -R tree/d20/sub/f1 | sort -n | head -3; comm -12 <(seq 1 9) <(seq 3 5)
