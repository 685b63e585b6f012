//! Benchmarks: every row natively, in the sandbox and, with `--peer PATH`, in gVisor's `runsc`, in turn within
//! one run; medians and ratios. `cargo run --release -p tests --bin bench -- [--peer PATH] [--pairs N] [--only TEXT]
//! [--json FILE]`.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Where a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Native,
    Ours,
    Peer,
}

struct Options {
    peer: Option<PathBuf>,
    pairs: usize,
    only: String,
    json: Option<PathBuf>,
}

/// A row of the table: microseconds by place, one value per pair.
#[derive(Default)]
struct Row {
    values: BTreeMap<Place, Vec<f64>>,
}

/// Sandboxes one after the other.
const SEQUENCE: &str = "start of true, 100 in sequence";

/// Programs that are timed as a whole: name and shell script.
const WHOLE: &[(&str, &str)] = &[
    ("start of true", "true"),
    (SEQUENCE, "true"),
    ("find /usr", "find /usr -xdev | wc -l"),
    ("tar of 5,000 small files", "tar cf - -C $BENCH_DIR files | wc -c"),
    ("gcc x10", "for i in 1 2 3 4 5 6 7 8 9 10; do gcc -O1 -c -o $BENCH_DIR/out.o $BENCH_DIR/micro.c; done"),
    (
        "python start x20",
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do /usr/bin/python3 -c pass; done",
    ),
    (
        "sqlite, 2,000 inserts",
        "rm -f $BENCH_DIR/b.db; (echo 'create table t(a);'; for i in $(seq 2000); do echo \"insert into t values($i);\"; \
         done) | sqlite3 -cmd 'pragma journal_mode=wal' $BENCH_DIR/b.db",
    ),
    (
        "redis-benchmark set,get",
        "redis-server --port 0 --unixsocket $BENCH_DIR/r.sock --save '' --daemonize yes >/dev/null; \
         while ! redis-cli -s $BENCH_DIR/r.sock ping >/dev/null 2>&1; do sleep 0.02; done; \
         redis-benchmark -q -s $BENCH_DIR/r.sock -n 20000 -c 20 -t set,get >/dev/null; \
         redis-cli -s $BENCH_DIR/r.sock shutdown nosave",
    ),
];

/// Servers under load for two seconds: name, and a script that ends with `wrk`'s report. Shown as time for a request.
const RATES: &[(&str, &str)] = &[(
    "nginx + wrk on lo, a request",
    "mkdir -p $BENCH_DIR/ng; echo ok >$BENCH_DIR/ng/index.html; chmod -R a+rX $BENCH_DIR; \
     printf 'daemon off; pid %s/pid; error_log /dev/null; events { worker_connections 512; } http { access_log off; \
     keepalive_requests 10000000; server { listen 127.0.0.1:8099; root %s; } }' $BENCH_DIR/ng $BENCH_DIR/ng \
     >$BENCH_DIR/ng/conf; nginx -p $BENCH_DIR/ng -c $BENCH_DIR/ng/conf >/dev/null 2>&1 & N=$!; sleep 0.5; \
     wrk -t 1 -c 20 -d 2 http://127.0.0.1:8099/; kill $N; wait $N",
)];

/// How many small files are archived.
const SMALL_FILES: usize = 5000;
/// How long an idle sandbox is left alone before its memory is measured.
const SETTLE: std::time::Duration = std::time::Duration::from_millis(500);

fn main() -> Result<()> {
    let options = options()?;
    let scratch = tests::Scratch::new("bench")?;
    let dir = scratch.fresh("bench")?;
    let micro = prepare(&dir)?;
    let mut rows: Vec<(String, Row)> = Vec::new();
    for pair in 0..options.pairs {
        for place in places(&options) {
            eprintln!("pair {} of {}: {place:?}", pair + 1, options.pairs);
            if wanted(&options, "micro") {
                for (name, us) in micro_rows(&options, place, &micro, &dir)? {
                    add(&mut rows, &name, place, us);
                }
            }
            for (name, script) in WHOLE.iter().filter(|(name, _)| wanted(&options, name)) {
                add(&mut rows, name, place, whole(&options, place, name, script, &dir)?);
            }
            for (name, script) in RATES.iter().filter(|(name, _)| wanted(&options, name)) {
                add(&mut rows, name, place, rate(&options, place, script, &dir)?);
            }
            if place == Place::Ours && wanted(&options, "idle") {
                add(&mut rows, "idle sandbox, KiB (PSS)", place, idle_memory()?);
            }
        }
    }
    print(&rows);
    if let Some(path) = &options.json {
        std::fs::write(path, json(&rows)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn options() -> Result<Options> {
    let mut options = Options { peer: None, pairs: 5, only: String::new(), json: None };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--peer" => options.peer = Some(value()?.into()),
            "--pairs" => options.pairs = value()?.parse().context("--pairs takes a number")?,
            "--only" => options.only = value()?,
            "--json" => options.json = Some(value()?.into()),
            _ => bail!("unknown option {arg}; see the head of tests/src/bin/bench.rs"),
        }
    }
    Ok(options)
}

fn wanted(options: &Options, name: &str) -> bool {
    options.only.is_empty() || name.contains(&options.only)
}

fn places(options: &Options) -> Vec<Place> {
    let peer = options.peer.is_some().then_some(Place::Peer);
    [Place::Native, Place::Ours].into_iter().chain(peer).collect()
}

/// Compiles the micro benchmarks and makes the small files.
fn prepare(dir: &Path) -> Result<PathBuf> {
    let source = tests::here().join("bench/micro.c");
    std::fs::copy(&source, dir.join("micro.c"))?;
    let micro = dir.join("micro");
    let compiled =
        Command::new("cc").arg("-O2").arg("-w").arg("-o").arg(&micro).arg(&source).arg("-lpthread").status()?;
    if !compiled.success() {
        bail!("cc does not compile {}", source.display());
    }
    let files = dir.join("files");
    std::fs::create_dir(&files)?;
    for n in 0..SMALL_FILES {
        let sub = files.join(format!("{:02}", n % 50));
        std::fs::create_dir_all(&sub)?;
        std::fs::write(sub.join(format!("{n}")), vec![b'x'; n % 2000])?;
    }
    Ok(micro)
}

fn command(options: &Options, place: Place, args: &[OsString], dir: &Path) -> Result<Command> {
    let mut prefix: Vec<OsString> = match (place, &options.peer) {
        (Place::Ours, _) => vec![tests::runsc()?.into(), "do".into(), "--".into()],
        (Place::Peer, Some(peer)) => {
            let flags = ["--network=none", "--ignore-cgroups", "do"];
            std::iter::once(peer.into()).chain(flags.map(OsString::from)).collect()
        }
        _ => Vec::new(),
    };
    prefix.extend(args.iter().cloned());
    let (program, args) = prefix.split_first().context("no program")?;
    let mut command = Command::new(program);
    command.args(args).current_dir(dir).env("BENCH_DIR", dir).stdin(Stdio::null()).stderr(Stdio::null());
    Ok(command)
}

fn micro_rows(options: &Options, place: Place, micro: &Path, dir: &Path) -> Result<Vec<(String, f64)>> {
    let output = command(options, place, &[micro.into()], dir)?.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .filter_map(|l| l.rsplit_once(' '))
        .filter_map(|(n, us)| Some((n.into(), us.parse().ok()?)))
        .collect())
}

/// Wall time of a script as a whole, in microseconds.
fn whole(options: &Options, place: Place, name: &str, script: &str, dir: &Path) -> Result<f64> {
    let times = if name == SEQUENCE { 100 } else { 1 };
    let args: Vec<OsString> = match script {
        "true" => vec!["/bin/true".into()],
        script => vec!["sh".into(), "-c".into(), script.into()],
    };
    let mut command = command(options, place, &args, dir)?;
    command.stdout(Stdio::null());
    let start = Instant::now();
    for _ in 0..times {
        command.status()?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6)
}

/// Microseconds for a request, of what a script says of requests in a second.
fn rate(options: &Options, place: Place, script: &str, dir: &Path) -> Result<f64> {
    let output = command(options, place, &["sh".into(), "-c".into(), script.into()], dir)?.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("Requests/sec:")).context("wrk reports no rate")?;
    Ok(1e6 / line.trim().parse::<f64>()?)
}

/// PSS of all processes of a sandbox that sleeps, in KiB.
fn idle_memory() -> Result<f64> {
    let mut child = Command::new(tests::runsc()?).args(["do", "--", "sleep", "10"]).spawn()?;
    std::thread::sleep(SETTLE);
    let mut total = 0;
    for pid in descendants(child.id()) {
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let pss = rollup.lines().find_map(|l| l.strip_prefix("Pss:"));
        total += pss.and_then(|l| l.split_ascii_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0);
    }
    child.kill()?;
    child.wait()?;
    Ok(total as f64)
}

fn descendants(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut at = 0;
    while let Some(pid) = found.get(at) {
        for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(children.split_ascii_whitespace().filter_map(|p| p.parse::<u32>().ok()));
        }
        at += 1;
    }
    found
}

fn add(rows: &mut Vec<(String, Row)>, name: &str, place: Place, value: f64) {
    let at = rows.iter().position(|(n, _)| n == name).unwrap_or_else(|| {
        rows.push((name.to_owned(), Row::default()));
        rows.len() - 1
    });
    rows[at].1.values.entry(place).or_default().push(value);
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

impl Row {
    fn median(&self, place: Place) -> Option<f64> {
        self.values.get(&place).map(|v| median(v))
    }

    /// Median of the ratios, pair by pair: the machine's speed drifts, its ratios do not.
    fn ratio(&self, a: Place, b: Place) -> Option<f64> {
        let (a, b) = (self.values.get(&a)?, self.values.get(&b)?);
        Some(median(&a.iter().zip(b).map(|(a, b)| a / b).collect::<Vec<_>>()))
    }
}

fn print(rows: &[(String, Row)]) {
    let number = |v: Option<f64>| v.map_or("-".into(), |v| format!("{v:.2}"));
    println!("| row (µs unless said) | native | ours | peer | ours/native | ours/peer |");
    println!("|---|---|---|---|---|---|");
    for (name, row) in rows {
        let [native, ours, peer] = [Place::Native, Place::Ours, Place::Peer].map(|p| number(row.median(p)));
        let to_native = number(row.ratio(Place::Ours, Place::Native));
        let to_peer = number(row.ratio(Place::Ours, Place::Peer));
        println!("| {name} | {native} | {ours} | {peer} | {to_native} | {to_peer} |");
    }
}

fn json(rows: &[(String, Row)]) -> String {
    let mut out = String::from("{\n");
    for (n, (name, row)) in rows.iter().enumerate() {
        let comma = if n + 1 == rows.len() { "" } else { "," };
        let field = |place, key: &str| {
            row.values.get(&place).map(|values| format!("\"{key}\": {values:?}")).into_iter().collect::<String>()
        };
        let places = [(Place::Native, "native"), (Place::Ours, "ours"), (Place::Peer, "peer")];
        let fields: Vec<String> = places.map(|(p, k)| field(p, k)).into_iter().filter(|f| !f.is_empty()).collect();
        let _ = writeln!(out, "  \"{name}\": {{{}}}{comma}", fields.join(", "));
    }
    out.push_str("}\n");
    out
}
