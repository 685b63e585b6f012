//! The network of a container: the sentry drives the interface of a namespace whose other end is a host of its own.
//! All namespaces are made here and end with the test.

use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use tests::{Cable, HTTPD, Server, eventually, may_make_namespaces};

/// What is sent through: a pattern, since chance would not be better.
const LARGE: usize = 64 << 20;

fn large() -> Vec<u8> {
    (0..LARGE as u32 / 4).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn sum(data: &[u8]) -> Result<String> {
    let mut child = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    child.stdin.take().context("stdin")?.write_all(data)?;
    let mut text = String::new();
    child.stdout.take().context("stdout")?.read_to_string(&mut text)?;
    child.wait()?;
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}

#[test]
fn echo_reaches_both_ways_and_interfaces_are_shown() -> Result<()> {
    if !may_make_namespaces() {
        return Ok(());
    }
    let cable = Cable::new("echo")?;
    let script = "ping -c 2 -W 2 10.77.0.1 && ping -c 1 -W 2 fd77::1 && ping -c 1 127.0.0.1 && ip addr && ip route \
                  && cat /proc/net/route && ifconfig eth0 && echo up && sleep 30";
    let bundle = cable.bundle("echo", script)?;
    bundle.create("echo-1", &[])?;
    bundle.ok(&["start", "echo-1"])?;
    eventually("it has pinged", || Ok(bundle.stdout("echo-1")?.contains("up\n")))
        .with_context(|| format!("{:?} {:?}", bundle.stdout("echo-1"), bundle.stderr("echo-1")))?;
    let shown = bundle.stdout("echo-1")?;
    for text in ["inet 10.77.0.2/24", "fd77::2/64", "default via 10.77.0.1 dev eth0", "10.77.0.0/24 dev eth0"] {
        assert!(shown.contains(text), "{text} is not in {shown}");
    }
    let stats: serde_json::Value = serde_json::from_str(&bundle.ok(&["events", "--stats", "echo-1"])?)?;
    let figures = &stats["data"]["network_interfaces"][0];
    assert_eq!(figures["Name"], "eth0", "{stats}");
    for count in ["RxBytes", "TxBytes", "RxPackets", "TxPackets"] {
        assert!(figures[count].as_u64().is_some_and(|n| n > 0), "{stats}");
    }
    cable
        .ok(&["ping", "-c", "2", "-W", "2", "10.77.0.2"])
        .or_else(|_| cable.ok(&["busybox", "ping", "-c", "2", "10.77.0.2"]))?;
    cable.ok(&["busybox", "ping", "-c", "1", "fd77::2"])?;
    Ok(())
}

#[test]
fn a_server_in_the_container_sends_and_receives_whole_files() -> Result<()> {
    if !may_make_namespaces() {
        return Ok(());
    }
    let cable = Cable::new("server")?;
    let script = "httpd -p [::]:80 -h /tmp; sleep 30 | nc -l -p 81 | sha256sum | cut -c1-64; sleep 60";
    let bundle = cable.bundle("server", script)?;
    let data = large();
    std::fs::write(bundle.in_root("tmp/large"), &data)?;
    bundle.create("server-1", &[])?;
    bundle.ok(&["start", "server-1"])?;
    for address in ["10.77.0.2", "[fd77::2]"] {
        let url = format!("http://{address}/large");
        let fetch = ["curl", "-sS", "--noproxy", "*", "--retry-connrefused", "--retry", "5", "-o", "-", &url];
        let fetched = cable.command(&fetch).output()?;
        assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
        assert!(fetched.stdout == data, "{address}: {} bytes came, or others", fetched.stdout.len());
    }
    let mut sender = cable.command(&["busybox", "nc", "10.77.0.2", "81"]).stdin(Stdio::piped()).spawn()?;
    sender.stdin.take().context("stdin")?.write_all(&data)?;
    sender.wait()?;
    let sum = sum(&data)?;
    eventually("it has received all", || Ok(bundle.stdout("server-1")?.contains(&sum)))
        .with_context(|| bundle.stdout("server-1").unwrap_or_default())?;
    let refused = cable.command(&["curl", "-sS", "--noproxy", "*", "http://10.77.0.2:9/"]).output()?;
    assert_eq!(refused.status.code(), Some(7), "{}", String::from_utf8_lossy(&refused.stderr));
    Ok(())
}

#[test]
fn a_client_in_the_container_fetches_and_is_refused() -> Result<()> {
    if !may_make_namespaces() {
        return Ok(());
    }
    let cable = Cable::new("client")?;
    let script = "for host in 10.77.0.1 [fd77::1]; do wget -q -O - http://$host:8000/large | sha256sum | cut -c1-64; done; \
                  nc -w 3 10.77.0.1 9 || echo refused; nc -w 5 10.77.0.99 80 || echo unreachable; \
                  n=0; while [ $n -lt 200 ]; do wget -q -O - http://10.77.0.1:8000/small; n=$((n+1)); done | wc -l";
    let bundle = cable.bundle("client", script)?;
    let data = large();
    let www = bundle.path().join("www");
    std::fs::create_dir(&www)?;
    std::fs::write(www.join("large"), &data)?;
    std::fs::write(www.join("small"), "small\n")?;
    let _server = cable.serve(&HTTPD, 8000, &www)?;
    let output = bundle.run(&["run", "--bundle", ".", "client-1"])?;
    let sum = sum(&data)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text, format!("{sum}\n{sum}\nrefused\nunreachable\n200\n"), "{output:?}");
    Ok(())
}

/// A name server that knows one address.
const NAME_SERVER: &str = r"
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('10.77.0.1', 53))
while True:
    query, asker = s.recvfrom(4096)
    answer = b'\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\1\2\3\4'
    s.sendto(query[:2] + b'\x81\x80\0\1\0\1\0\0\0\0' + query[12:] + answer, asker)
";

#[test]
fn names_are_looked_up_over_udp() -> Result<()> {
    if !may_make_namespaces() {
        return Ok(());
    }
    let cable = Cable::new("udp")?;
    let bundle = cable.bundle("udp", "nslookup some.name 10.77.0.1; true")?;
    let _server = Server(cable.command(&["python3", "-c", NAME_SERVER]).spawn()?);
    eventually("it listens", || Ok(cable.ok(&["ss", "-Hlnu"])?.contains("10.77.0.1:53")))?;
    let output = bundle.run(&["run", "--bundle", ".", "udp-1"])?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("some.name") && text.contains("1.2.3.4"), "{output:?}");
    Ok(())
}

#[test]
fn a_guest_with_the_capability_sets_routes() -> Result<()> {
    if !may_make_namespaces() {
        return Ok(());
    }
    let cable = Cable::new("routes")?;
    let script = "ip route add 10.99.0.0/16 via 10.77.0.1 && ip route | grep 10.99; ip route add 10.99.0.0/16 via 10.77.0.1; \
                  ip route add 10.98.0.0/16 via 10.1.2.3; ip route add 10.97.0.1/16 via 10.77.0.1; \
                  ping -c 1 -W 2 10.99.1.1 >/dev/null && echo reached; ip route del 10.99.0.0/16; \
                  ip route del 10.99.0.0/16; ip route | grep -c 10.99; true";
    let mut bundle = cable.bundle("routes", &format!("({script}) 2>&1"))?;
    let caps = ["CAP_NET_ADMIN", "CAP_NET_RAW"];
    bundle.config["process"]["capabilities"] =
        serde_json::json!({ "bounding": caps, "effective": caps, "permitted": caps });
    cable.ok(&["ip", "addr", "add", "10.99.1.1/32", "dev", "lo"])?;
    let output = bundle.run(&["run", "--bundle", ".", "routes-1"])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let expected = [
        "10.99.0.0/16 via 10.77.0.1 dev eth0",
        "ip: RTNETLINK answers: File exists",
        "ip: RTNETLINK answers: Network is unreachable",
        "ip: RTNETLINK answers: Invalid argument",
        "reached",
        "ip: RTNETLINK answers: No such process",
        "0",
    ];
    assert_eq!(lines, expected, "{output:?}");
    Ok(())
}
