# SQLite: 10,000 inserts, write-ahead log, two writers.
sqlite3 db 'pragma journal_mode=wal; create table t(a integer primary key, b text);'
{ echo 'begin;'; for i in $(seq 10000); do echo "insert into t values($i, 'row $i');"; done; echo 'commit;'; } | sqlite3 db
for w in 1 2; do for i in $(seq 20); do echo "pragma busy_timeout=20000; insert into t(b) values('w$w');"; done | sqlite3 db >/dev/null & done; wait
sqlite3 db 'select count(*), sum(length(b)) from t; pragma integrity_check; pragma wal_checkpoint(truncate);'
