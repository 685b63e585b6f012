//! Programs that everybody uses, in a container whose interface the sentry drives, with the same programs at the other
//! end of its cable. What is missing on this machine is left out.

use anyhow::{Context, Result};
use std::process::{Command, Stdio};
use tests::{Bundle, Cable, HTTPD, eventually, may_make_namespaces};

/// Whether all of these programs are there, and namespaces may be made.
fn can_run(programs: &[&str]) -> bool {
    let is_there = |program: &&str| {
        let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).stdout(Stdio::null()).status();
        found.is_ok_and(|status| status.success())
    };
    match programs.iter().find(|program| !is_there(program)) {
        Some(missing) => eprintln!("SKIPPED: {missing} is not there; tests/setup.sh installs it"),
        None => return may_make_namespaces(),
    }
    false
}

/// A container that runs a script, ready when it says so.
struct Container {
    cable: Cable,
    bundle: Bundle,
    id: String,
}

impl Container {
    /// With files for its `/srv`; the script says `ready` when others may come.
    fn start(name: &str, files: &[(&str, &str)], script: &str) -> Result<Container> {
        let cable = Cable::new(name)?;
        let bundle = cable.whole_bundle(name, script)?;
        for (file, text) in files {
            std::fs::write(bundle.path().join("srv").join(file), text)?;
        }
        let id = bundle.id.clone();
        bundle.create(&id, &[])?;
        bundle.ok(&["start", &id])?;
        let container = Container { cable, bundle, id };
        eventually("it is ready", || Ok(container.said("ready"))).with_context(|| container.words())?;
        Ok(container)
    }

    fn said(&self, what: &str) -> bool {
        self.bundle.stdout(&self.id).is_ok_and(|text| text.contains(what))
    }

    fn words(&self) -> String {
        format!("{:?} {:?}", self.bundle.stdout(&self.id), self.bundle.stderr(&self.id))
    }

    /// A command at the other end, which must succeed.
    fn outside(&self, script: &str) -> Result<String> {
        self.cable
            .ok(&["env", "-u", "http_proxy", "-u", "https_proxy", "sh", "-c", script])
            .with_context(|| self.words())
    }
}

/// Runs a script in a container, against a server at the other end; what it printed.
fn inside(name: &str, server: &[&str], port: u16, files: &[(&str, &str)], script: &str) -> Result<String> {
    let cable = Cable::new(name)?;
    let bundle = cable.whole_bundle(name, script)?;
    for (file, text) in files {
        std::fs::write(bundle.path().join("srv").join(file), text)?;
    }
    let srv = bundle.path().join("srv");
    let _server = cable.serve(server, port, &srv)?;
    let output = bundle.run(&["run", &bundle.id])?;
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

const NGINX: &str = "daemon off; pid /tmp/nginx.pid; error_log stderr; worker_processes 2; events { worker_connections 512; }
http { access_log off; sendfile on; tcp_nopush on; client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f;
uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/s; server { listen 80 deferred; listen [::]:80; root /srv; } }";

#[test]
fn nginx_serves_curl_and_wrk() -> Result<()> {
    if !can_run(&["nginx", "wrk", "curl"]) {
        return Ok(());
    }
    let files = [("nginx.conf", NGINX), ("index.html", "hello\n")];
    let script = "dd if=/dev/urandom of=/srv/large bs=1M count=20 2>/dev/null; (sleep 0.5; echo ready) & nginx -c /srv/nginx.conf";
    let container = Container::start("nginx", &files, script)?;
    for address in ["10.77.0.2", "[fd77::2]"] {
        assert_eq!(container.outside(&format!("curl -sS http://{address}/"))?, "hello\n");
        let sums = container.outside(&format!("curl -sS http://{address}/large | sha256sum"))?;
        let large = container.bundle.path().join("srv/large");
        let expected = Command::new("sha256sum").stdin(std::fs::File::open(large)?).output()?;
        assert_eq!(sums, String::from_utf8_lossy(&expected.stdout));
    }
    let report = container.outside("wrk -t 2 -c 50 -d 2 http://10.77.0.2/")?;
    assert!(!report.contains("Socket errors") && !report.contains("Non-2xx"), "{report}");
    Ok(())
}

#[test]
fn redis_serves_redis_benchmark() -> Result<()> {
    if !can_run(&["redis-server", "redis-benchmark"]) {
        return Ok(());
    }
    let script = "redis-server --save '' --protected-mode no --dir /tmp >/dev/null & \
                  until redis-cli ping >/dev/null 2>&1; do sleep 0.05; done; echo ready; wait";
    let container = Container::start("redis", &[], script)?;
    let report = container.outside("redis-benchmark -h 10.77.0.2 -n 5000 -c 20 -P 4 -q -t set,get,lpush,mset")?;
    assert_eq!(report.matches("requests per second").count(), 4, "{report}");
    assert_eq!(container.outside("redis-cli -h 10.77.0.2 --pipe-timeout 5 get key:__rand_int__ | wc -c")?.trim(), "4");
    Ok(())
}

#[test]
fn iperf3_measures_both_ways_both_protocols_and_families() -> Result<()> {
    if !can_run(&["iperf3"]) {
        return Ok(());
    }
    let script = "(sleep 0.3; echo ready) & exec iperf3 -s";
    let container = Container::start("iperf", &[], script)?;
    for options in ["", "-R", "-P 8", "-u -b 50M", "-u -b 50M -R", "--bidir"] {
        let report = container.outside(&format!("iperf3 -c 10.77.0.2 -t 1 {options}"))?;
        assert!(report.contains("iperf Done"), "{options}: {report}");
    }
    assert!(container.outside("iperf3 -6 -c fd77::2 -t 1")?.contains("iperf Done"));
    Ok(())
}

#[test]
fn ssh_logs_in_and_copies() -> Result<()> {
    if !can_run(&["sshd", "ssh", "ssh-keygen"]) {
        return Ok(());
    }
    let script = "mkdir -p /run/sshd /root/.ssh && ssh-keygen -qt ed25519 -N '' -f /tmp/host && ssh-keygen -qt ed25519 -N '' -f /srv/key \
                  && cp /srv/key.pub /root/.ssh/authorized_keys && chmod 755 /root && chmod -R go-rwx /root/.ssh && (sleep 0.5; echo ready) & \
                  sleep 0.3; while [ ! -e /tmp/host ]; do sleep 0.05; done; \
                  exec /usr/sbin/sshd -D -e -h /tmp/host -o StrictModes=no -o UsePAM=no -o PidFile=none";
    let container = Container::start("ssh", &[], script)?;
    let key = container.bundle.path().join("srv/key").display().to_string();
    let ssh = format!(
        "ssh -n -i {key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR root@10.77.0.2"
    );
    eventually("it lets in", || Ok(container.cable.ok(&["sh", "-c", &format!("{ssh} true")]).is_ok()))
        .with_context(|| container.words())?;
    assert_eq!(container.outside(&format!("{ssh} 'echo $((6*7))'"))?, "42\n");
    let sum = container.outside(&format!("{ssh} 'head -c 10000000 /dev/zero' | sha256sum"))?;
    let expected = container.outside("head -c 10000000 /dev/zero | sha256sum")?;
    assert_eq!(sum, expected);
    Ok(())
}

const NODE_SERVER: &str = "const http = require('http');
http.createServer((q, r) => { let n = 0; q.on('data', d => n += d.length); q.on('end', () => r.end(q.method + ' ' + n + '\\n')); })
    .listen(8000, '::', () => console.log('ready'));";

#[test]
fn node_serves_and_asks() -> Result<()> {
    if !can_run(&["node", "curl"]) {
        return Ok(());
    }
    let container = Container::start("node", &[("server.js", NODE_SERVER)], "exec node /srv/server.js")?;
    assert_eq!(container.outside("curl -sS http://10.77.0.2:8000/")?, "GET 0\n");
    assert_eq!(
        container.outside("head -c 3000000 /dev/zero | curl -sS --data-binary @- http://[fd77::2]:8000/")?,
        "POST 3000000\n"
    );
    drop(container);
    const CLIENT: &str =
        "const all = [...Array(50).keys()].map(() => fetch('http://10.77.0.1:8000/small').then(r => r.text()));
Promise.all(all).then(t => console.log(t.filter(t => t == 'small\\n').length));";
    let printed =
        inside("node-c", &HTTPD, 8000, &[("small", "small\n"), ("client.js", CLIENT)], "node /srv/client.js")?;
    assert_eq!(printed, "50\n");
    Ok(())
}

#[test]
fn name_servers_are_asked_over_both_protocols() -> Result<()> {
    if !can_run(&["dig", "python3"]) {
        return Ok(());
    }
    const SERVER: &str = "import socket, threading
def answer(q): return q[:2] + b'\\x81\\x80\\0\\1\\0\\1\\0\\0\\0\\0' + q[12:].split(b'\\0\\0)')[0] + b'\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4\\1\\2\\3\\4'
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('10.77.0.1', 53))
t = socket.create_server(('10.77.0.1', 53))
def tcp():
    while True:
        c, _ = t.accept(); n = int.from_bytes(c.recv(2), 'big'); r = answer(c.recv(n)); c.sendall(len(r).to_bytes(2, 'big') + r); c.close()
threading.Thread(target=tcp, daemon=True).start()
while True:
    q, who = u.recvfrom(4096); u.sendto(answer(q), who)";
    let script = "for how in +notcp +tcp; do dig $how +noedns +short +time=5 some.name @10.77.0.1; done";
    let printed = inside("dig", &["/usr/bin/python3", "-c", SERVER], 53, &[], script)?;
    assert_eq!(printed, "1.2.3.4\n1.2.3.4\n");
    Ok(())
}

#[test]
fn http2_is_served_to_h2load() -> Result<()> {
    if !can_run(&["nghttpd", "h2load"]) {
        return Ok(());
    }
    let script = "(sleep 0.5; echo ready) & exec nghttpd --no-tls -d /srv 8080";
    let container = Container::start("h2", &[("small", "small\n")], script)?;
    let report = container.outside("h2load -n 5000 -c 10 -m 20 http://10.77.0.2:8080/small")?;
    assert!(report.contains("5000 succeeded, 0 failed"), "{report}");
    Ok(())
}

#[test]
fn postgresql_is_asked() -> Result<()> {
    let postgres = "ls /usr/lib/postgresql/*/bin/initdb";
    let is_there = Command::new("sh").args(["-c", postgres]).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if !is_there.success() || !can_run(&["psql"]) {
        return Ok(());
    }
    let script = "B=$(dirname /usr/lib/postgresql/*/bin/initdb); mkdir /tmp/pg; chown nobody /tmp/pg; cd /tmp; \
                  S='setpriv --reuid 65534 --regid 65534 --clear-groups'; $S $B/initdb -D /tmp/pg/d -A trust -U me >/dev/null && \
                  echo host all all all trust >>/tmp/pg/d/pg_hba.conf && \
                  $S $B/pg_ctl -D /tmp/pg/d -w -o \"-h '*' -k /tmp/pg\" -l /tmp/pg/log start >/dev/null && echo ready; sleep 60";
    let container = Container::start("psql", &[], script)?;
    let asked =
        container.outside("psql -h 10.77.0.2 -U me -d postgres -Atc 'select sum(n) from generate_series(1,1000) n'")?;
    assert_eq!(asked, "500500\n");
    let large =
        container.outside("psql -h 10.77.0.2 -U me -d postgres -Atc \"select repeat('x', 5000000)\" | wc -c")?;
    assert_eq!(large.trim(), "5000001");
    Ok(())
}

const GO: &str = "package main
import (\"fmt\"; \"io\"; \"net\"; \"net/http\"; \"os\"; \"sync\")
func main() {
	if len(os.Args) > 1 {
		var done sync.WaitGroup; var all sync.Map
		for n := 0; n < 50; n++ { n := n; done.Add(1); go func() { defer done.Done()
			r, e := http.Get(os.Args[1]); if e != nil { fmt.Println(e); return }
			b, _ := io.ReadAll(r.Body); all.Store(n, string(b)) }() }
		done.Wait(); count := 0; all.Range(func(_, v any) bool { if v == \"small\\n\" { count++ }; return true }); fmt.Println(count)
		links, _ := net.Interfaces(); for _, l := range links { a, _ := l.Addrs(); fmt.Println(l.Name, l.MTU, a) }
		return
	}
	l, _ := net.Listen(\"tcp\", \":8000\"); fmt.Println(\"ready\")
	http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { n, _ := io.Copy(io.Discard, r.Body); fmt.Fprintln(w, r.Method, n) }))
}";

#[test]
fn go_serves_and_asks() -> Result<()> {
    if !can_run(&["go", "curl"]) {
        return Ok(());
    }
    let scratch = tests::Scratch::new("go-net")?;
    std::fs::write(scratch.path().join("main.go"), GO)?;
    let cache = std::env::temp_dir().join("runsc-go-cache");
    let mut build = Command::new("go");
    build
        .args(["build", "-o", "net", "main.go"])
        .env("GOCACHE", cache)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=mod");
    let built = build.current_dir(scratch.path()).output()?;
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let program = scratch.path().join("net");
    let container = {
        let cable = Cable::new("go")?;
        let bundle = cable.whole_bundle("go", "exec /srv/net")?;
        std::fs::copy(&program, bundle.path().join("srv/net"))?;
        let id = bundle.id.clone();
        bundle.create(&id, &[])?;
        bundle.ok(&["start", &id])?;
        Container { cable, bundle, id }
    };
    eventually("it is ready", || Ok(container.said("ready"))).with_context(|| container.words())?;
    assert_eq!(container.outside("curl -sS http://10.77.0.2:8000/")?, "GET 0\n");
    assert_eq!(
        container.outside("head -c 3000000 /dev/zero | curl -sS --data-binary @- http://[fd77::2]:8000/")?,
        "POST 3000000\n"
    );
    drop(container);
    let cable = Cable::new("go-c")?;
    let bundle = cable.whole_bundle("go-c", "/srv/net http://10.77.0.1:8000/small")?;
    std::fs::copy(&program, bundle.path().join("srv/net"))?;
    std::fs::write(bundle.path().join("srv/small"), "small\n")?;
    let _server = cable.serve(&HTTPD, 8000, &bundle.path().join("srv"))?;
    let output = bundle.run(&["run", &bundle.id])?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        printed.starts_with("50\nlo 65536 [127.0.0.1/8 ::1/128]\neth0 1500 [10.77.0.2/24 fd77::2/64"),
        "{printed} {output:?}"
    );
    Ok(())
}

#[test]
fn packets_are_captured() -> Result<()> {
    if !can_run(&["tcpdump", "ping"]) {
        return Ok(());
    }
    let script = "tcpdump -Z root -c 4 -n -i eth0 icmp 2>/tmp/err & until grep -q listening /tmp/err; do sleep 0.05; done; echo ready; wait; \
                  echo captured; cat /tmp/err";
    let container = Container::start("tcpdump", &[], script)?;
    container.outside("ping -c 2 -i 0.2 10.77.0.2")?;
    eventually("it has captured", || Ok(container.said("captured"))).with_context(|| container.words())?;
    let words = container.bundle.stdout(&container.id)?;
    assert_eq!(words.matches("ICMP echo request").count(), 2, "{words}");
    assert_eq!(words.matches("ICMP echo reply").count(), 2, "{words}");
    Ok(())
}

#[test]
fn addresses_of_the_link_alone_are_reached_both_ways() -> Result<()> {
    if !can_run(&["ping"]) {
        return Ok(());
    }
    let script = "echo ready; until ping -6 -c 1 -W 1 fe80::77:1%eth0; do sleep 0.2; done; echo reached; sleep 30";
    let container = Container::start("link-local", &[], script)?;
    container.outside("ping -6 -c 2 -i 0.2 -W 2 fe80::77:2%out0")?;
    eventually("it has reached the other end", || Ok(container.said("reached"))).with_context(|| container.words())
}

#[test]
fn packages_are_fetched_by_apt() -> Result<()> {
    if !can_run(&["apt-get", "dpkg-scanpackages"]) {
        return Ok(());
    }
    let script = "mkdir -p /tmp/l/partial /tmp/c/archives/partial /var/lib/dpkg; touch /var/lib/dpkg/status; \
                  echo 'deb [trusted=yes] http://10.77.0.1:8000 ./' >/tmp/sources.list; \
                  apt-get -o Dir::Etc::sourcelist=/tmp/sources.list -o Dir::Etc::sourceparts=- -o Dir::State::lists=/tmp/l -o Dir::Cache=/tmp/c \
                  -o Acquire::http::Proxy=false -o APT::Sandbox::User=root update 2>&1 | tail -3; ls /tmp/l";
    let files = [(
        "Packages",
        "Package: nothing\nVersion: 1\nArchitecture: all\nFilename: ./nothing.deb\nSize: 1\nMD5sum: 0\n\n",
    )];
    let printed = inside("apt", &HTTPD, 8000, &files, script)?;
    assert!(printed.contains("10.77.0.1:8000_._Packages"), "{printed}");
    Ok(())
}

#[test]
fn a_flood_of_openings_leaves_connections_alone() -> Result<()> {
    if !can_run(&["python3"]) {
        return Ok(());
    }
    const SERVER: &str = "import socket
s = socket.create_server(('0.0.0.0', 80), backlog=100); print('ready', flush=True)
while True:
    c, _ = s.accept()
    while d := c.recv(100): c.sendall(d)";
    // Openings from thousands of addresses that answer nothing.
    const FLOOD: &str = "import os, socket, struct, sys
def total(b): 
    s = sum(struct.unpack('!%dH' % (len(b) // 2), b)); s = (s >> 16) + (s & 65535); return ~(s + (s >> 16)) & 65535
c = socket.create_connection(('10.77.0.2', 80)); c.settimeout(5); c.sendall(b'before'); assert c.recv(100) == b'before'
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW); to = socket.inet_aton('10.77.0.2')
for n in range(60000):
    src = bytes([10, 77, 1 + n % 200, 1 + n // 200 % 250])
    tcp = struct.pack('!HHIIBBHHH', 1024 + n % 60000, 80, n, 0, 0x50, 2, 1000, 0, 0)
    tcp = tcp[:16] + struct.pack('!H', total(src + to + struct.pack('!BBH', 0, 6, 20) + tcp)) + tcp[18:]
    raw.sendto(struct.pack('!BBHHHBBH4s4s', 0x45, 0, 40, 0, 0, 64, 6, 0, src, to) + tcp, ('10.77.0.2', 0))
    if n % 10000 == 0: c.sendall(b'during'); assert c.recv(100) == b'during'
c.sendall(b'after'); assert c.recv(100) == b'after'; c.close()
d = socket.create_connection(('10.77.0.2', 80), timeout=10); d.sendall(b'new'); assert d.recv(100) == b'new'; print('alive')";
    let server = [("server.py", SERVER)];
    let container = Container::start("flood", &server, "exec /usr/bin/python3 /srv/server.py")?;
    let memory = || -> Result<u64> {
        let state = container.bundle.state(&container.id)?;
        let pid = state["pid"].as_u64().context("pid")? as u32;
        let all = tests::children(pid).into_iter().flat_map(|pid| [vec![pid], tests::children(pid)].concat());
        let kib = all
            .filter_map(|pid| tests::status_field(pid, "RssAnon:").ok())
            .map(|text| text.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0));
        Ok(kib.sum())
    };
    container
        .outside("ip route add 10.77.1.0/24 dev lo 2>/dev/null; sysctl -qw net.ipv4.conf.all.rp_filter=0; true")?;
    let before = memory()?;
    std::fs::write(container.bundle.path().join("srv/flood.py"), FLOOD)?;
    let flood = container.bundle.path().join("srv/flood.py").display().to_string();
    assert_eq!(container.outside(&format!("/usr/bin/python3 {flood}"))?, "alive\n");
    let after = memory()?;
    assert!(after < before + (64 << 10), "{before} KiB before, {after} KiB after");
    Ok(())
}
