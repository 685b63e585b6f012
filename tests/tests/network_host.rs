//! `--network=host`: sockets are the host's, in the namespace that a configuration names or the caller is in. What
//! guest programs see of them is compared by the test `guest`.

use anyhow::{Context, Result};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use tests::{Bundle, Cable, HTTPD, Scratch, Server, may_make_namespaces, runsc};

/// Runs a program in the sandbox, by way of another program that the options may name first.
fn run(through: &[&str], options: &[&str], program: &[&str]) -> Result<Output> {
    let mut command = Command::new("timeout");
    command.args(["-k", "5", "60"]).args(through).arg(runsc()?).arg("do").args(options).arg("--").args(program);
    command.env_remove("http_proxy").env_remove("HTTP_PROXY").env_remove("all_proxy").stdin(Stdio::null());
    Ok(command.output()?)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// A server on the host's loopback that says something to all who come, and hears them out.
fn server() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = stream.write_all(b"hello from the host\n");
                let _ = stream.read_to_end(&mut Vec::new());
            });
        }
    });
    Ok(port)
}

const CLIENT: &str = "import socket,sys
s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
print(s.recv(100).decode(), end='')";

#[test]
fn the_loopback_is_that_of_the_host_in_this_mode_alone() -> Result<()> {
    let port = server()?.to_string();
    let client = ["python3", "-c", CLIENT, port.as_str()];
    let reached = run(&[], &["--network=host"], &client)?;
    assert_eq!(text(&reached), "hello from the host\n");
    for mode in ["sandbox", "none"] {
        let refused = run(&[], &[&format!("--network={mode}")], &client)?;
        assert!(text(&refused).contains("ConnectionRefusedError"), "{mode}: {}", text(&refused));
    }
    Ok(())
}

#[test]
fn a_namespace_that_a_guest_makes_is_not_the_host_s() -> Result<()> {
    let port = server()?.to_string();
    let own = run(&[], &["--network=host"], &["unshare", "-n", "python3", "-c", CLIENT, port.as_str()])?;
    assert!(text(&own).contains("Network is unreachable"), "{}", text(&own));
    let script = format!("ip link set lo up; ip -br link; exec python3 -c \"{CLIENT}\" {port}");
    let own = run(&[], &["--network=host"], &["unshare", "-n", "sh", "-c", &script])?;
    let said = text(&own);
    assert!(said.starts_with("lo ") && said.contains("ConnectionRefusedError"), "{said}");
    assert_eq!(said.lines().filter(|line| line.contains("BROADCAST")).count(), 0, "{said}");
    Ok(())
}

#[test]
fn a_guest_s_server_is_reached_from_the_host() -> Result<()> {
    const SERVER: &str = "import socket
s = socket.create_server(('127.0.0.1', 0))
print(s.getsockname()[1], flush=True)
c, who = s.accept()
while data := c.recv(65536): c.sendall(data)";
    let mut command = Command::new(runsc()?);
    command.args(["--network=host", "do", "python3", "-c", SERVER]).stdout(Stdio::piped()).stdin(Stdio::null());
    let mut sandbox = Server(command.spawn()?);
    let mut port = String::new();
    let mut out = std::io::BufReader::new(sandbox.0.stdout.take().context("stdout")?);
    std::io::BufRead::read_line(&mut out, &mut port)?;
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port.trim().parse()?))?;
    let sent: Vec<u8> = (0..1u32 << 20).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let mut writer = stream.try_clone()?;
    let data = sent.clone();
    let sender = std::thread::spawn(move || {
        writer.write_all(&data)?;
        writer.shutdown(std::net::Shutdown::Write)
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back)?;
    sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    assert!(back == sent, "{} bytes came back of {}", back.len(), sent.len());
    Ok(())
}

#[test]
fn low_ports_and_raw_sockets_need_the_guest_s_own_capabilities() -> Result<()> {
    if !may_make_namespaces() {
        return Ok(());
    }
    const TRY: &str = "import socket
def tell(what, act):
    try: act(); print(what, 'works')
    except OSError as e: print(what, e.errno)
tell('low port', lambda: socket.socket().bind(('127.0.0.1', 81)))
tell('raw', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
tell('mark', lambda: socket.socket().setsockopt(1, 36, 5))
tell('forced', lambda: socket.socket().setsockopt(1, 32, 5000))
tell('packet', lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3))";
    let own_network = ["unshare", "-n", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"];
    let with = run(&own_network, &["--network=host"], &["python3", "-c", TRY])?;
    assert_eq!(text(&with), "low port works\nraw works\nmark works\nforced works\npacket 97\n");
    let without =
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--reuid=1000", "--clear-groups", "/usr/bin/python3"];
    let without = run(&own_network, &["--network=host"], &[without.as_slice(), &["-c", TRY]].concat())?;
    assert_eq!(text(&without), "low port 13\nraw 1\nmark 1\nforced 1\npacket 97\n");
    Ok(())
}

#[test]
fn an_ordinary_user_has_it_too() -> Result<()> {
    if !may_make_namespaces() {
        return Ok(());
    }
    let port = server()?.to_string();
    let scratch = Scratch::new("network-host")?;
    let runtime = scratch.path().join("runsc");
    std::fs::copy(runsc()?, &runtime)?;
    std::fs::set_permissions(scratch.path(), PermissionsExt::from_mode(0o755))?;
    let as_user = |program: &[&str]| {
        let mut command = Command::new("timeout");
        command.args(["-k", "5", "60", "setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups"]);
        command.arg(&runtime).args(["do", "--network=host", "--chdir", "/", "--"]).args(program);
        command.current_dir("/").stdin(Stdio::null()).output()
    };
    let reached = as_user(&["python3", "-c", CLIENT, &port])?;
    assert_eq!(text(&reached), "hello from the host\n");
    // What the guest may do by its own lights the host still refuses.
    let low = "import socket; socket.socket().bind(('127.0.0.1', 82))";
    let refused = as_user(&["python3", "-c", low])?;
    assert!(text(&refused).contains("PermissionError"), "{}", text(&refused));
    Ok(())
}

#[test]
fn a_container_has_the_network_of_its_namespace() -> Result<()> {
    if !may_make_namespaces() {
        return Ok(());
    }
    let cable = Cable::new("hostmode")?;
    let script = "ip -o addr show; ip route; wget -q -O - http://10.77.0.1:8000/small; httpd -f -p 80 -h /tmp";
    let bundle = cable.bundle("hostmode", script)?;
    std::fs::write(bundle.in_root("tmp/own"), "from the container\n")?;
    let www = bundle.path().join("www");
    std::fs::create_dir(&www)?;
    std::fs::write(www.join("small"), "from the other end\n")?;
    let _server = cable.serve(&HTTPD, 8000, &www)?;
    bundle.create("hostmode-1", &["--network=host"])?;
    bundle.ok(&["start", "hostmode-1"])?;
    let fetch = ["curl", "-sS", "--noproxy", "*", "--retry-connrefused", "--retry", "5", "http://10.77.0.2/own"];
    assert_eq!(cable.ok(&fetch)?, "from the container\n");
    let shown = bundle.stdout("hostmode-1")?;
    for text in ["10.77.0.2/24", "default via 10.77.0.1", "from the other end"] {
        assert!(shown.contains(text), "{text} is not in {shown}");
    }
    Ok(())
}

#[test]
fn a_configuration_without_a_network_namespace_has_the_host_s_if_asked() -> Result<()> {
    if !may_make_namespaces() {
        return Ok(());
    }
    let port = server()?;
    let script = format!("nc 127.0.0.1 {port} < /dev/null || echo no");
    let mut bundle = Bundle::new("hostnet", &script)?;
    let spaces = bundle.config["linux"]["namespaces"].as_array_mut().context("namespaces")?;
    spaces.retain(|space| space["type"] != "network");
    let asked = bundle.run(&["--network=host", "run", "--bundle", ".", "hostnet-1"])?;
    assert_eq!(text(&asked), "hello from the host\n");
    let unasked = bundle.run(&["run", "--bundle", ".", "hostnet-2"])?;
    let told = text(&unasked);
    assert!(told.contains("no\n") && told.contains("--network=host gives it"), "{told}");
    bundle.config["annotations"] = json!({ "dev.gvisor.flag.network": "host" });
    let annotated = bundle.run(&["--allow-flag-override", "run", "--bundle", ".", "hostnet-3"])?;
    assert_eq!(text(&annotated), "hello from the host\n");
    Ok(())
}

#[test]
fn abstract_names_are_the_sandbox_s_own() -> Result<()> {
    let scratch = Scratch::new("abstract")?;
    let name = format!("runsc-test-{}", scratch.path().display());
    let address = rustix::net::SocketAddrUnix::new_abstract_name(name.as_bytes())?;
    let socket = rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, 1)?;
    let connect = format!("import socket; socket.socket(socket.AF_UNIX).connect('\\0{name}')");
    let refused = run(&[], &["--network=host"], &["python3", "-c", &connect])?;
    assert!(text(&refused).contains("ConnectionRefusedError"), "{}", text(&refused));
    Ok(())
}
