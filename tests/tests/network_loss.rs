//! Connections over bad cables: what arrives is what was sent, and how fast is printed beside the host's kernel.

use anyhow::{Result, ensure};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tests::{Bundle, Cable, HTTPD, Server, Weather, eventually, may_make_namespaces};

const PORT: u16 = 8000;

fn bytes(count: usize) -> Vec<u8> {
    (0..count as u32 / 4).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

/// Waits until a server in the container's namespace, or the sandbox there, takes connections.
fn answers(cable: &Cable) -> Result<()> {
    eventually("it answers", || {
        let probe = ["curl", "-s", "--noproxy", "*", "-o", "/dev/null", "http://10.77.0.2:8000/none"];
        Ok(cable.command(&probe).status()?.success())
    })
}

/// Fetches the file from the container's end; how long it took.
fn fetch(cable: &Cable, data: &[u8]) -> Result<Duration> {
    let start = Instant::now();
    let Output { stdout, status, .. } =
        cable.command(&["curl", "-sS", "--noproxy", "*", "-o", "-", "http://10.77.0.2:8000/data"]).output()?;
    ensure!(status.success() && stdout == data, "{} of {} bytes came, or others", stdout.len(), data.len());
    Ok(start.elapsed())
}

fn rate(count: usize, time: Duration) -> f64 {
    count as f64 * 8.0 / 1e6 / time.as_secs_f64()
}

/// Sends a file out of a sandbox and into it; prints what the host's kernel does on the same cable.
fn transfers(name: &str, weather: Weather, count: usize) -> Result<()> {
    if !may_make_namespaces() {
        return Ok(());
    }
    let data = bytes(count);
    let www = tests::Scratch::new(name)?;
    std::fs::write(www.path().join("data"), &data)?;

    let cable = Cable::bad(name, weather)?;
    let mut native = Command::new("ip");
    native.args(["netns", "exec", &cable.container]).args(HTTPD).current_dir(www.path()).stdout(Stdio::null());
    let native = Server(native.spawn()?);
    answers(&cable)?;
    let host = fetch(&cable, &data)?;
    drop(native);

    let script = format!("httpd -p [::]:{PORT} -h /tmp; sleep 60");
    let bundle: Bundle = cable.bundle(name, &script)?;
    std::fs::write(bundle.in_root("tmp/data"), &data)?;
    let id = format!("{name}-1");
    bundle.create(&id, &[])?;
    bundle.ok(&["start", &id])?;
    answers(&cable)?;
    let ours = fetch(&cable, &data)?;
    eprintln!("{name}: {:.1} Mbit/s, the host's kernel {:.1}", rate(count, ours), rate(count, host));
    drop(bundle);
    drop(cable);

    // The other way.
    let cable = Cable::bad(name, weather)?;
    let _outside = cable.serve(&HTTPD, 8000, www.path())?;
    let script = "n=0; until wget -q -O /tmp/got http://10.77.0.1:8000/data; do sleep 0.1; n=$((n+1)); [ $n -lt 50 ] || exit 1; \
                  done; sha256sum /tmp/got | cut -c1-64; sha256sum /tmp/data | cut -c1-64";
    let bundle = cable.bundle(name, script)?;
    std::fs::write(bundle.in_root("tmp/data"), &data)?;
    let output = bundle.run(&["run", "--bundle", ".", &format!("{name}-2")])?;
    let text = String::from_utf8_lossy(&output.stdout);
    let sums: Vec<&str> = text.lines().collect();
    ensure!(sums.len() == 2 && sums.first() == sums.last(), "{output:?}");
    Ok(())
}

#[test]
fn a_long_way() -> Result<()> {
    transfers("far", Weather { delay: 25, ..Weather::default() }, 8 << 20)
}

#[test]
fn one_of_a_hundred_is_lost() -> Result<()> {
    transfers("lossy", Weather { delay: 5, lost: 10, ..Weather::default() }, 2 << 20)
}

#[test]
fn one_of_twenty_is_lost() -> Result<()> {
    transfers("stormy", Weather { delay: 5, lost: 50, ..Weather::default() }, 1 << 20)
}

#[test]
fn some_overtake_others() -> Result<()> {
    transfers("mixed", Weather { delay: 10, reordered: 100, ..Weather::default() }, 4 << 20)
}
