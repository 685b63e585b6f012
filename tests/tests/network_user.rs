//! `--network=user`: connections that a relay outside opens. The servers are the test's own, on the host's loopback,
//! which guests reach as 10.0.2.2 when they may.

use anyhow::{Context, Result, ensure};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tests::{Bundle, Scratch, eventually, here, runsc};

/// What large transfers consist of.
fn pattern() -> Vec<u8> {
    (0..1u32 << 20).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

/// A server that does `serve` with each connection; its port.
fn server(serve: impl Fn(TcpStream) -> std::io::Result<()> + Clone + Send + 'static) -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    Ok(port)
}

fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = stream.try_clone()?;
    std::io::copy(&mut reader, &mut stream)?;
    stream.shutdown(std::net::Shutdown::Write)
}

/// Ends with a reset.
fn close_hard(mut stream: TcpStream) -> std::io::Result<()> {
    stream.read_exact(&mut [0])?;
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).map_err(Into::into)
}

fn datagram_echo() -> Result<u16> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = socket.local_addr()?.port();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65536];
        while let Ok((count, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..count], from);
        }
    });
    Ok(port)
}

/// A port that nobody has.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn command(options: &[&str], program: &[&str]) -> Result<Command> {
    let mut command = Command::new("timeout");
    command.args(["-k", "5", "60"]).arg(runsc()?).args(["do", "--network=user"]).args(options).arg("--").args(program);
    command.env_remove("http_proxy").env_remove("HTTP_PROXY").env_remove("all_proxy").stdin(Stdio::null());
    Ok(command)
}

fn run(options: &[&str], program: &[&str]) -> Result<Output> {
    Ok(command(options, program)?.output()?)
}

fn shell(options: &[&str], script: &str) -> Result<String> {
    let output = run(options, &["sh", "-c", script])?;
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.0.id() as i32), nix::sys::signal::SIGTERM);
        let _ = self.0.wait();
    }
}

#[test]
fn a_client_sees_what_it_sees_natively() -> Result<()> {
    let data = pattern();
    let sum = |data: &[u8]| data.iter().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
    let whole = data.clone();
    let stream = server(move |mut stream| (0..8).try_for_each(|_| stream.write_all(&whole)))?;
    let sink = server(move |mut stream| {
        let mut got = Vec::new();
        stream.read_to_end(&mut got)?;
        write!(stream, "{} {:x}", got.len(), sum(&got))
    })?;
    let ports = [stream, server(echo)?, server(close_hard)?, sink, datagram_echo()?, free_port()?];
    let ports = ports.map(|port| port.to_string());
    let script = here().join("programs/net_client.py");
    let script = script.to_str().context("path")?;
    let program = |host| [&["/usr/bin/python3", script, host][..], &ports.each_ref().map(String::as_str)].concat();
    let host = program("127.0.0.1");
    let native = Command::new(host[0]).args(&host[1..]).output()?;
    ensure!(native.status.success(), "natively: {native:?}");
    let ours = run(&["--host-loopback"], &program("10.0.2.2"))?;
    let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text(&ours), text(&native), "{}", String::from_utf8_lossy(&ours.stderr));
    Ok(())
}

#[test]
fn the_network_is_shown_and_the_host_itself_is_closed() -> Result<()> {
    let port = server(echo)?;
    let script = format!(
        "ip -4 -o addr show eth0; ip route; busybox ping -c 1 -W 2 10.0.2.2 | grep -c '1 packets received'; \
         for to in 10.0.2.2 10.0.2.99 0.0.0.0; do busybox nc -w 5 $to {port} </dev/null && echo reached; done"
    );
    let text = shell(&[], &script)?;
    assert!(text.contains("inet 10.0.2.15/24") && text.contains("default via 10.0.2.2 dev eth0"), "{text}");
    assert!(text.contains("\n1\n") && !text.contains("reached"), "{text}");
    Ok(())
}

#[test]
fn published_ports_lead_in() -> Result<()> {
    let (tcp, udp) = (free_port()?, free_port()?);
    let options = [format!("--publish=127.0.0.1:{tcp}:80"), format!("--publish=127.0.0.1:{udp}:7/udp")];
    let script = "\
        import socket, threading\n\
        def datagrams():\n\
        \x20   u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
        \x20   u.bind(('0.0.0.0', 7))\n\
        \x20   while True:\n\
        \x20       data, peer = u.recvfrom(65536)\n\
        \x20       u.sendto(peer[0].encode() + b' ' + data, peer)\n\
        threading.Thread(target=datagrams, daemon=True).start()\n\
        s = socket.create_server(('0.0.0.0', 80))\n\
        while True:\n\
        \x20   c, peer = s.accept()\n\
        \x20   data = b''\n\
        \x20   while chunk := c.recv(65536): data += chunk\n\
        \x20   c.sendall(peer[0].encode() + b' ' + data)\n\
        \x20   c.close()\n";
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let server = command(&options, &["/usr/bin/python3", "-c", script])?.spawn()?;
    let _server = Running(server);
    let data = pattern();
    let ask = || -> Result<Vec<u8>> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, tcp))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(&data)?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    };
    eventually("it answers", || Ok(ask().is_ok_and(|answer| !answer.is_empty())))?;
    let expected = [b"10.0.2.2 ".as_slice(), &data].concat();
    for _ in 0..3 {
        assert!(ask()? == expected);
    }
    let clients: Vec<UdpSocket> =
        (0..3).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
    for (n, client) in clients.iter().enumerate() {
        client.set_read_timeout(Some(Duration::from_secs(10)))?;
        client.send_to(format!("{n}").as_bytes(), (Ipv4Addr::LOCALHOST, udp))?;
    }
    for (n, client) in clients.iter().enumerate() {
        let mut buffer = [0; 64];
        let (count, from) = client.recv_from(&mut buffer)?;
        assert_eq!((&buffer[..count], from.port()), (format!("10.0.2.2 {n}").as_bytes(), udp));
    }
    let taken = run(&[options[0]], &["true"])?;
    assert!(String::from_utf8_lossy(&taken.stderr).contains("cannot publish port"), "{taken:?}");
    Ok(())
}

#[test]
fn ordinary_users_have_it() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let port = server(|mut stream| stream.write_all(b"served\n"))?;
    let scratch = Scratch::new("network-user")?;
    let runtime = scratch.path().join("runsc");
    std::fs::copy(runsc()?, &runtime)?;
    let world = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    std::fs::set_permissions(scratch.path(), world)?;
    let output = Command::new("timeout")
        .args(["-k", "5", "60", "setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups"])
        .arg(&runtime)
        .args(["do", "--network=user", "--host-loopback", "--chdir", "/", "--"])
        .args(["sh", "-c", &format!("id -u; busybox nc 10.0.2.2 {port} </dev/null")])
        .current_dir("/")
        .stdin(Stdio::null())
        .output()?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1000\nserved\n", "{output:?}");
    Ok(())
}

#[test]
fn bundles_have_it_and_a_resolver_that_is_reached() -> Result<()> {
    let port = server(|mut stream| stream.write_all(b"served\n"))?;
    let script = format!("cat /etc/resolv.conf; nc 10.0.2.2 {port} </dev/null");
    let bundle = Bundle::new("network-user", &script)?;
    std::fs::create_dir_all(bundle.in_root("etc"))?;
    std::fs::write(bundle.in_root("etc/resolv.conf"), "nameserver 127.0.0.53\nsearch lan\n")?;
    let output = bundle.run(&["--network=user", "--host-loopback", "run", "--bundle", ".", "user-net-1"])?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text, "search lan\nnameserver 10.0.2.3\nserved\n", "{output:?}");
    let kept = std::fs::read_to_string(bundle.in_root("etc/resolv.conf"))?;
    assert_eq!(kept, "nameserver 127.0.0.53\nsearch lan\n");
    Ok(())
}

/// More connections than the relay has room for, and datagrams to more places: what does not fit fails, nothing hangs,
/// and the network lives on.
#[test]
fn a_greedy_guest_is_held_within_bounds() -> Result<()> {
    let port = server(echo)?;
    let script = format!(
        "import errno, resource, socket\n\
         resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))\n\
         held, failed = [], set()\n\
         for n in range(1500):\n\
         \x20   s = socket.socket()\n\
         \x20   try:\n\
         \x20       s.connect(('10.0.2.2', {port}))\n\
         \x20       held.append(s)\n\
         \x20   except OSError as e:\n\
         \x20       failed.add(errno.errorcode[e.errno])\n\
         print(len(held), *failed)\n\
         u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
         for n in range(3000):\n\
         \x20   u.sendto(b'x', ('10.0.2.2', 20000 + n))\n\
         for s in held: s.close()\n\
         import time\n\
         time.sleep(0.5)\n\
         s = socket.create_connection(('10.0.2.2', {port}))\n\
         s.sendall(b'alive')\n\
         print(s.recv(5))\n"
    );
    let output = run(&["--host-loopback"], &["/usr/bin/python3", "-c", &script])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text, "1024 EHOSTUNREACH\nb'alive'\n", "{output:?}");
    Ok(())
}

#[test]
fn the_relay_has_nothing_and_ends_with_the_sandbox() -> Result<()> {
    let child = command(&[], &["sleep", "30"])?.spawn()?;
    let running = Running(child);
    let mut relay = None;
    eventually("there is a relay", || {
        let runtime = tests::children(running.0.id());
        let all: Vec<u32> = runtime.iter().flat_map(|pid| tests::children(*pid)).collect();
        relay = all.into_iter().find(|pid| {
            let links = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            let names = links.filter_map(|fd| std::fs::read_link(fd.path()).ok());
            let names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
            let is_filtered = tests::status_field(*pid, "Seccomp:").is_ok_and(|mode| mode == "2");
            // Standard descriptors, the link, the epoll.
            names.len() == 5 && names.iter().filter(|name| *name == "/dev/null").count() == 3 && is_filtered
        });
        Ok(relay.is_some())
    })?;
    let relay = relay.context("relay")?;
    for (field, value) in [("NoNewPrivs:", "1"), ("CapEff:", "0000000000000000"), ("CapPrm:", "0000000000000000")] {
        assert_eq!(tests::status_field(relay, field)?, value, "{field}");
    }
    drop(running);
    eventually("the relay has ended", || {
        Ok(tests::status_field(relay, "State:").map_or(true, |state| state.starts_with('Z')))
    })
}

/// A name server that knows one address, over UDP and TCP.
const NAME_SERVER: &str = r"
import socket, threading
def answer(query):
    return query[:2] + b'\x81\x80\0\1\0\1\0\0\0\0' + query[12:] + b'\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\1\2\3\4'
def streams():
    s = socket.create_server(('127.0.0.53', 53))
    while True:
        c, _ = s.accept()
        query = answer(c.recv(4096)[2:])
        c.sendall(len(query).to_bytes(2, 'big') + query)
        c.close()
threading.Thread(target=streams, daemon=True).start()
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind(('127.0.0.53', 53))
while True:
    query, asker = u.recvfrom(4096)
    u.sendto(answer(query), asker)
";

/// What the guest asks with: a query for the address of `a.b`, over UDP and over TCP.
const ASK: &str = r"
import socket
query = b'\x12\x34\1\0\0\1\0\0\0\0\0\0\1a\1b\0\0\1\0\1'
resolver = open('/etc/resolv.conf').read().split()[-1]
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.settimeout(10)
u.sendto(query, (resolver, 53))
print(resolver, u.recv(4096)[-4:])
t = socket.create_connection((resolver, 53), 10)
t.sendall(len(query).to_bytes(2, 'big') + query)
print(t.recv(4096)[-4:])
for to in ('203.0.113.1', '10.0.2.2', '10.0.2.3'):
    try:
        socket.create_connection((to, 80), 10)
    except OSError as e:
        print(e.errno)
";

/// In a network namespace of the test's own, with a resolver on its loopback as systemd's: guests ask it at 10.0.2.3. There
/// is no way to anywhere else.
#[test]
fn the_resolver_of_the_host_is_asked() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let scratch = Scratch::new("network-names")?;
    let file = |name: &str, text: &str| -> Result<String> {
        let path = scratch.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.to_string_lossy().into_owned())
    };
    let resolv = file("resolv.conf", "nameserver 127.0.0.53\n")?;
    let (server, ask) = (file("server.py", NAME_SERVER)?, file("ask.py", ASK)?);
    let script = format!(
        "mount --bind {resolv} $(readlink -f /etc/resolv.conf) && ip link set lo up && \
         {{ /usr/bin/python3 {server} & }} && pid=$! && sleep 1 && \
         timeout -k 5 40 {} do --network=user -- /usr/bin/python3 {ask}; kill $pid",
        runsc()?.display()
    );
    let output = Command::new("timeout").args(["-k", "5", "60", "unshare", "-nm", "sh", "-c", &script]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let expected = "10.0.2.3 b'\\x01\\x02\\x03\\x04'\nb'\\x01\\x02\\x03\\x04'\n101\n113\n113\n";
    assert_eq!(text, expected, "{output:?}");
    Ok(())
}

/// Programs that people use, against servers of the host's.
#[test]
fn programs_fetch() -> Result<()> {
    let scratch = Scratch::new("network-programs")?;
    let www = scratch.path().join("www");
    std::fs::create_dir_all(&www)?;
    std::fs::write(www.join("file"), pattern())?;
    let git = |args: &[&str]| -> Result<()> {
        let output = Command::new("git").args(args).current_dir(&www).output()?;
        ensure!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    git(&["init", "-q", "work"])?;
    git(&["-C", "work", "-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "--allow-empty", "-m", "first"])?;
    git(&["clone", "-q", "--bare", "work", "repo.git"])?;
    git(&["-C", "repo.git", "update-server-info"])?;
    std::fs::create_dir_all(www.join("dists/d/main/binary-amd64"))?;
    std::fs::write(www.join("dists/d/main/binary-amd64/Packages"), "")?;
    std::fs::write(www.join("dists/d/Release"), "Suite: d\nCodename: d\nComponents: main\nArchitectures: amd64\n")?;
    let port = free_port()?;
    let listen = format!("127.0.0.1:{port}");
    let www = www.to_string_lossy().into_owned();
    let httpd = Command::new("busybox").args(["httpd", "-f", "-p", &listen, "-h", &www]).spawn()?;
    let _httpd = Running(httpd);
    eventually("it listens", || Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()))?;
    let url = format!("http://10.0.2.2:{port}");
    let script = format!(
        "cd /mnt && export no_proxy='*' NO_PROXY='*'; unset http_proxy https_proxy; \
         curl -sSf -o a {url}/file; wget -q --no-proxy -O b {url}/file; \
         /usr/bin/python3 -c 'import urllib.request as r; open(\"c\", \"wb\").write(r.urlopen(\"{url}/file\").read())'; \
         for f in a b c; do cmp $f {www}/file && echo same; done; \
         git ls-remote {url}/repo.git HEAD | cut -f2; \
         echo 'deb [trusted=yes] {url} d main' > l; \
         apt-get -o Dir::Etc::SourceList=/mnt/l -o Dir::Etc::SourceParts=/none -o Acquire::http::Proxy=false \
         -o APT::Sandbox::User=root update 2>&1 | grep -o 'd Release '"
    );
    let text = shell(&["--host-loopback", "--tmpfs", "/mnt"], &script)?;
    assert_eq!(text, "same\nsame\nsame\nHEAD\nd Release \n");
    Ok(())
}
