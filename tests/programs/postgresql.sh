# PostgreSQL: initdb, a server, pgbench.
# timeout: 120
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -1)
mkdir data; as=; chmod 755 . ; [ "$(id -u)" = 0 ] && { chown postgres data . ; as='setpriv --reuid postgres --regid postgres --clear-groups'; }
export PGHOST=$PWD PGPORT=15432 PGUSER=postgres PGDATABASE=postgres
$as "$bin/initdb" -D data -U postgres -A trust --no-sync >/dev/null && echo made
$as "$bin/pg_ctl" -D data -w -s -o "-k $PWD -p 15432 -c listen_addresses=127.0.0.1 -c fsync=off" -l data/log start && echo up
psql -Atc 'select 1 + 1'; psql -qc 'create table t as select generate_series(1, 10000) n'; psql -Atc 'select sum(n) from t'
"$bin/pgbench" -q -i -s 1 >/dev/null 2>&1; "$bin/pgbench" -c 4 -j 2 -t 50 2>/dev/null | grep processed
psql -h 127.0.0.1 -Atc "select count(*) from pgbench_history"
$as "$bin/pg_ctl" -D data -s -m fast stop && echo down
