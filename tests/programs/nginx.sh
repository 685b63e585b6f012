# nginx with wrk on the loopback interface.
mkdir html logs; seq 1000 >html/index.html
cat >c <<END
daemon off; worker_processes 2; pid $PWD/pid; error_log $PWD/logs/e; $([ "$(id -u)" = 0 ] && echo 'user root;')
events { worker_connections 256; }
http { access_log off; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
server { listen 127.0.0.1:18080; root $PWD/html; } }
END
nginx -p "$PWD" -c "$PWD/c" 2>/dev/null & pid=$!
for i in $(seq 100); do (exec 3<>/dev/tcp/127.0.0.1/18080) 2>/dev/null && break; sleep 0.05; done
exec 3<>/dev/tcp/127.0.0.1/18080; printf 'GET / HTTP/1.0\r\n\r\n' >&3; sed 1,/^.$/d <&3 | md5sum
wrk -t2 -c16 -d2 http://127.0.0.1:18080/ >out; grep -c 'requests in' out; grep -E 'Non-2xx|Socket errors' out
kill -QUIT $pid; wait $pid; echo "ended $?"
