# Talks to the servers of tests/tests/network_user.rs and says what came of it, in words that are the same wherever it
# runs: net_client.py HOST STREAM ECHO CLOSER SINK DATAGRAM NOBODY
import errno, hashlib, select, socket, sys, threading

host = sys.argv[1]
stream, echo, closer, sink, datagram, nobody = map(int, sys.argv[2:8])


def connected(port):
    s = socket.socket()
    s.settimeout(20)
    s.connect((host, port))
    assert s.getpeername() == (host, port)
    return s


def name(error):
    return errno.errorcode.get(error, error)


def all_of(s):
    data = hashlib.sha256()
    while chunk := s.recv(1 << 18):
        data.update(chunk)
    return data.hexdigest()


pattern = b''.join((n * 2654435761 % 2**32).to_bytes(4, 'little') for n in range(1 << 20))

s = socket.socket()
try:
    s.connect((host, nobody))
except OSError as e:
    print('refused:', name(e.errno), s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

s = socket.socket()
s.setblocking(False)
print('begun:', name(s.connect_ex((host, nobody))))
p = select.poll()
p.register(s, select.POLLOUT)
events = p.poll(20000)[0][1]
print('failed:', bool(events & select.POLLERR), name(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)))

s = socket.socket()
s.setblocking(False)
s.connect_ex((host, echo))
p = select.poll()
p.register(s, select.POLLOUT)
print('connected:', p.poll(20000)[0][1] == select.POLLOUT, s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
try:
    s.recv(1)
except OSError as e:
    print('nothing yet:', name(e.errno))
s.close()

print('received:', all_of(connected(stream)))
s = connected(sink)
for _ in range(8):
    s.sendall(pattern)
s.shutdown(socket.SHUT_WR)
answer = b''
while chunk := s.recv(64):
    answer += chunk
print('sent:', answer.decode())

s = connected(echo)
s.sendall(b'half')
s.shutdown(socket.SHUT_WR)
try:
    s.send(b'x')
except OSError as e:
    print('after the end:', name(e.errno))
print('half closed:', s.recv(16), s.recv(16))

s = connected(closer)
s.sendall(b'x')
try:
    print('reset:', s.recv(1))
except OSError as e:
    print('reset:', name(e.errno))
s.close()

# Whoever closes with unread data breaks the connection: the server then ends as well, and takes the next.
s = connected(echo)
s.sendall(b'x' * 100)
s.close()

both = connected(echo)
got = hashlib.sha256()
def reader():
    left = len(pattern)
    while left:
        chunk = both.recv(1 << 16)
        got.update(chunk)
        left -= len(chunk)
t = threading.Thread(target=reader)
t.start()
both.sendall(pattern)
t.join()
print('both ways:', got.hexdigest() == hashlib.sha256(pattern).hexdigest())

many = [connected(echo) for _ in range(100)]
for n, s in enumerate(many):
    s.sendall(b'%d' % n)
print('many:', all(s.recv(16) == b'%d' % n for n, s in enumerate(many)))
for s in many:
    s.close()

done = 0
for n in range(200):
    with connected(echo) as s:
        s.sendall(b'x')
        done += s.recv(1) == b'x'
print('in turn:', done)

u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.settimeout(20)
for size in (0, 1, 1400, 9000, 60000):
    u.sendto(bytes(size), (host, datagram))
    data, peer = u.recvfrom(65536)
    print('datagram:', size, len(data), peer == (host, datagram))
u.connect((host, nobody))
u.send(b'x')
try:
    print('unheard:', u.recv(1))
except OSError as e:
    print('unheard:', name(e.errno))
