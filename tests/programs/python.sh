# Python: venv, subprocess, threads, multiprocessing, asyncio, sqlite3, sockets.
set -e
python3 -m venv --without-pip venv && ./venv/bin/python -c 'import sys; print(sys.prefix != sys.base_prefix)'
cat >t.py <<'END'
import asyncio, multiprocessing, os, queue, signal, socket, sqlite3, subprocess, tempfile, threading, mmap, select
print(subprocess.run(["tr", "a-z", "A-Z"], input=b"pipe", capture_output=True).stdout)
print([p.wait() for p in [subprocess.Popen(["sh", "-c", f"exit {n}"]) for n in range(8)]])
try: subprocess.run(["sleep", "10"], timeout=0.2)
except subprocess.TimeoutExpired: print("timeout")
q = queue.Queue()
ts = [threading.Thread(target=lambda n=n: q.put(sum(range(n * 1000)))) for n in range(16)]
[t.start() for t in ts]; [t.join() for t in ts]; print(sorted(q.get() for _ in ts)[-1])
def square(x): return x * x
if __name__ == "__main__":
    with multiprocessing.Pool(3) as pool: print(sum(pool.map(square, range(500))))
    async def main():
        async def echo(r, w):
            w.write(await r.readline()); await w.drain(); w.close()
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async def client(n):
            r, w = await asyncio.open_connection("127.0.0.1", port)
            w.write(b"%d\n" % n); await w.drain(); line = await r.readline(); w.close(); return int(line)
        print(sum(await asyncio.gather(*[client(n) for n in range(50)])))
        p = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
        print((await p.communicate(b"async"))[0]); server.close()
    asyncio.run(main())
    db = sqlite3.connect("db"); db.execute("create table t(a, b)")
    with db: db.executemany("insert into t values(?, ?)", [(n, str(n)) for n in range(5000)])
    print(db.execute("select count(*), sum(a) from t").fetchone())
    a, b = socket.socketpair(); a.sendall(b"x" * 100000); n = 0
    while n < 100000: n += len(b.recv(65536))
    print(n)
    with tempfile.TemporaryFile() as f:
        f.truncate(1 << 20); m = mmap.mmap(f.fileno(), 1 << 20); m[5:8] = b"map"; f.seek(5); print(f.read(3))
    signal.signal(signal.SIGALRM, lambda *_: print("alarm")); signal.setitimer(signal.ITIMER_REAL, 0.05); signal.pause()
    print(sorted(os.listdir("/proc/self/fd"))[:3], os.cpu_count() == len(os.sched_getaffinity(0)))
END
python3 t.py
# A module of its own: these ways import it anew in each child.
cat >s.py <<'END'
import multiprocessing
def square(x): return x * x
if __name__ == "__main__":
    for way in "fork", "spawn", "forkserver":
        with multiprocessing.get_context(way).Pool(3) as pool: print(way, sum(pool.map(square, range(500))))
END
python3 s.py
