//! What is measured.

use crate::place::{Cores, Files, Place};
use crate::veth;
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A name and its microseconds.
type Measured = (String, f64);

/// Programs that are timed as a whole: name, how many times, and shell script.
const WHOLE: &[(&str, usize, &str)] = &[
    ("start of true", 1, "true"),
    ("start of true, 100 in sequence", 100, "true"),
    ("tar of 5,000 small files", 1, "tar cf - -C $BENCH_DIR files | wc -c"),
    ("sh, 500 x /bin/true", 1, "i=0; while [ $i -lt 500 ]; do /bin/true; i=$((i+1)); done"),
    ("gcc x10", 1, "for i in 1 2 3 4 5 6 7 8 9 10; do gcc -O1 -c -o $BENCH_DIR/out.o $BENCH_DIR/micro.c; done"),
    (
        "python start x20",
        1,
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do /usr/bin/python3 -c pass; done",
    ),
    (
        "sqlite, 2,000 inserts",
        1,
        "rm -f $BENCH_DIR/b.db; (echo 'create table t(a);'; for i in $(seq 2000); do echo \"insert into t values($i);\"; \
         done) | sqlite3 -cmd 'pragma journal_mode=wal' $BENCH_DIR/b.db",
    ),
];

/// Scripts that say lines of a name and microseconds themselves; the first name is by what they are chosen.
const SAID: &[(&str, &str)] = &[
    (
        "find, 11,500 files",
        "now() { date +%s%N; }; a=$(now); find $BENCH_DIR/tree | wc -l >/dev/null; b=$(now); \
         find $BENCH_DIR/tree | wc -l >/dev/null; c=$(now); \
         echo \"find, 11,500 files, first $(((b - a) / 1000))\"; echo \"find, 11,500 files, again $(((c - b) / 1000))\"",
    ),
    (
        "find /usr",
        "now() { date +%s%N; }; a=$(now); find /usr -xdev | wc -l >/dev/null; b=$(now); find /usr -xdev | wc -l >/dev/null; \
         c=$(now); echo \"find /usr, first $(((b - a) / 1000))\"; echo \"find /usr, again $(((c - b) / 1000))\"",
    ),
    (
        "redis on lo, 20 clients",
        "redis-server --bind 127.0.0.1 --port 7379 --save '' --daemonize yes >/dev/null; \
         while ! redis-cli -p 7379 ping >/dev/null 2>&1; do sleep 0.02; done; \
         redis-benchmark -q -p 7379 -n 20000 -c 20 -t set,get | tr '\\r' '\\n' | \
         awk '/requests per second/ { sub(\":\", \"\", $1); print \"redis on lo, 20 clients,\", $1, 1e6 / $2 }'; \
         redis-cli -p 7379 shutdown nosave",
    ),
    (
        "nginx + wrk on lo, a request",
        "mkdir -p $BENCH_DIR/ng; echo ok >$BENCH_DIR/ng/index.html; chmod -R a+rX $BENCH_DIR; \
         printf 'daemon off; pid %s/pid; error_log /dev/null; events { worker_connections 512; } http { access_log off; \
         keepalive_requests 10000000; server { listen 127.0.0.1:8099; root %s; } }' $BENCH_DIR/ng $BENCH_DIR/ng \
         >$BENCH_DIR/ng/conf; nginx -p $BENCH_DIR/ng -c $BENCH_DIR/ng/conf >/dev/null 2>&1 & N=$!; sleep 0.5; \
         wrk -t 1 -c 20 -d 2 http://127.0.0.1:8099/ | \
         awk '/^Requests.sec:/ { print \"nginx + wrk on lo, a request\", 1e6 / $2 }'; kill $N; wait $N",
    ),
];

/// How many idle sandboxes are looked at together.
const IDLE: [usize; 3] = [1, 10, 100];
/// How long idle sandboxes are left alone before their memory is measured.
const SETTLE: Duration = Duration::from_millis(800);
/// How many small files are archived.
const SMALL_FILES: usize = 5000;

/// The tree that is searched: so many directories in so many, and so many files in each of the inner ones.
const TREE: [usize; 3] = [10, 50, 22];

/// Compiles the micro benchmarks and makes the small files and the tree.
pub(crate) fn prepare(dir: &Path) -> Result<()> {
    let source = tests::here().join("bench/micro.c");
    std::fs::copy(&source, dir.join("micro.c"))?;
    let compiled =
        Command::new("cc").args(["-O2", "-w", "-o"]).arg(dir.join("micro")).arg(&source).arg("-lpthread").status()?;
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
    for n in 0..TREE.iter().product() {
        let inner = n / TREE[2];
        let sub = dir.join(format!("tree/{}/{}", inner / TREE[1], inner % TREE[1]));
        if n % TREE[2] == 0 {
            std::fs::create_dir_all(&sub)?;
        }
        std::fs::write(sub.join(format!("{n}")), [])?;
    }
    Ok(())
}

/// Measures all rows whose name has `only` in it, once, in one place.
pub(crate) fn measure(place: &Place, cores: Cores, only: &str, dir: &Path) -> Result<Vec<Measured>> {
    let wanted = |name: &str| name.contains(only);
    let mut rows = Vec::new();
    let micro = dir.join("micro");
    if wanted("micro") {
        rows.extend(said(place.command(cores, Files::Kept, &[micro.as_os_str()], dir)?)?);
    }
    if wanted("micro on the host") {
        rows.extend(said(place.command(cores, Files::Host, &[micro.as_os_str(), OsStr::new("host")], dir)?)?);
    }
    for (name, times, script) in WHOLE.iter().filter(|(name, ..)| wanted(name)) {
        rows.push(((*name).to_owned(), whole(place, cores, *times, script, dir)?));
    }
    for (_, script) in SAID.iter().filter(|(name, _)| wanted(name)) {
        rows.extend(said(place.command(cores, Files::Kept, &["sh", "-c", script].map(OsStr::new), dir)?)?);
    }
    if cores == Cores::All && *place != Place::Slow && wanted("veth") && tests::may_make_namespaces() {
        match veth::measure(place) {
            Ok(measured) => rows.extend(measured),
            // Not every gVisor starts where a namespace is given by its path.
            Err(e) if matches!(place, Place::Peer(_)) => eprintln!("SKIPPED: rows over veth of the peer: {e:#}"),
            Err(e) => return Err(e.context("rows over veth")),
        }
    }
    if *place == Place::Ours && cores == Cores::All {
        for count in IDLE.into_iter().filter(|_| wanted("idle")) {
            rows.push((format!("idle sandbox, one of {count}, KiB (PSS)"), idle_memory(count)?));
        }
    }
    Ok(rows)
}

/// What a command says of itself.
fn said(mut command: Command) -> Result<Vec<Measured>> {
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let rows = text.lines().filter_map(|line| line.rsplit_once(' '));
    Ok(rows.filter_map(|(name, us)| Some((name.into(), us.parse().ok()?))).collect())
}

/// Wall time of a script as a whole.
fn whole(place: &Place, cores: Cores, times: usize, script: &str, dir: &Path) -> Result<f64> {
    let args: &[&str] = if script == "true" { &["/bin/true"] } else { &["sh", "-c", script] };
    let args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
    let mut command = place.command(cores, Files::Kept, &args, dir)?;
    command.stdout(Stdio::null());
    let start = Instant::now();
    for _ in 0..times {
        command.status()?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6)
}

/// PSS of all processes of one of `count` sandboxes that sleep, in KiB.
fn idle_memory(count: usize) -> Result<f64> {
    let start =
        || Command::new(tests::runsc()?).args(["do", "--", "sleep", "60"]).spawn().context("cannot start runsc");
    let mut sandboxes: Vec<Child> = (0..count).map(|_| start()).collect::<Result<_>>()?;
    std::thread::sleep(SETTLE + Duration::from_millis(20) * count as u32);
    let pids = sandboxes.iter().flat_map(|sandbox| descendants(sandbox.id()));
    let total: u64 = pids.map(pss).sum();
    for sandbox in &mut sandboxes {
        sandbox.kill()?;
        sandbox.wait()?;
    }
    Ok(total as f64 / count as f64)
}

pub(crate) fn pss(pid: u32) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    pss.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
}

pub(crate) fn descendants(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut at = 0;
    while let Some(pid) = found.get(at) {
        for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(children.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
        at += 1;
    }
    found
}
