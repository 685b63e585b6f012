# Version control: init, commit, branch, merge, gc, clone.
set -e
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b HOME=$PWD
export GIT_AUTHOR_DATE='2024-01-01T00:00:00Z' GIT_COMMITTER_DATE='2024-01-01T00:00:00Z'
git init -q -b main repo; cd repo
for i in $(seq 50); do echo "$i" >"file$i"; git add .; git commit -qm "commit $i"; done
git checkout -qb side HEAD~10; echo side >side; git add side; git commit -qm side
git checkout -q main; git merge -q --no-edit side
git log --oneline | sha1sum; git gc -q; git fsck --no-progress; git count-objects -v | grep -E '^(in-pack|packs)'
git clone -q . ../clone; cd ../clone; git log -1 --format=%H; git status --short; ls | wc -l
git diff --stat HEAD~3 | tail -1; git stash list; git rev-list --count HEAD
