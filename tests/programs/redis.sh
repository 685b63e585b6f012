# Redis: a server on a socket in the file system, then on the loopback interface.
redis-server --port 0 --unixsocket "$PWD/s" --save '' --appendonly yes --dir "$PWD" --daemonize no >log 2>&1 & pid=$!
for i in $(seq 100); do redis-cli -s s ping 2>/dev/null && break; sleep 0.05; done
redis-benchmark -s s -n 5000 -c 20 -t set,get,incr --csv | cut -d, -f1
redis-cli -s s set k v; redis-cli -s s get k; redis-cli -s s shutdown nosave; wait $pid; echo "ended $?"
redis-server --port 16379 --save '' --daemonize no >log 2>&1 & pid=$!
for i in $(seq 100); do redis-cli -p 16379 ping 2>/dev/null && break; sleep 0.05; done
redis-benchmark -p 16379 -n 5000 -c 20 -t set,get --csv | cut -d, -f1
redis-cli -p 16379 dbsize; redis-cli -p 16379 shutdown nosave; wait $pid; echo "ended $?"
