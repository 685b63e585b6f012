//! `runsc update`: other limits for a container that exists.

use crate::Globals;
use crate::container::{Container, Status};
use anyhow::{Context, Result, bail};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};
use sentry::boot::protocol::Request;
use std::io::Read;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Take all limits from FILE, in the form of `linux.resources` of config.json (- is standard input)
    #[arg(short, long, value_name = "FILE")]
    resources: Option<PathBuf>,
    /// Relative weight of block I/O
    #[arg(long, value_name = "N")]
    blkio_weight: Option<u16>,
    /// Period of processor time, in microseconds
    #[arg(long, value_name = "N")]
    cpu_period: Option<u64>,
    /// Processor time in a period, in microseconds
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// Processor time that may be saved up, in microseconds
    #[arg(long, value_name = "N")]
    cpu_burst: Option<u64>,
    /// Relative share of processor time
    #[arg(long, alias = "cpu-shares", value_name = "N")]
    cpu_share: Option<u64>,
    /// Period of real-time processor time, in microseconds
    #[arg(long, value_name = "N")]
    cpu_rt_period: Option<u64>,
    /// Real-time processor time in a period, in microseconds
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    cpu_rt_runtime: Option<i64>,
    /// Processors to run on
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes to use
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Run only when nobody else wants to (1)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    cpu_idle: Option<i64>,
    /// Accepted, without effect: the host does not tell kernel memory apart
    #[arg(long, value_name = "BYTES", hide = true)]
    kernel_memory: Option<String>,
    /// Memory for TCP buffers of the host
    #[arg(long, value_name = "BYTES", hide = true, value_parser = parse_bytes, allow_negative_numbers = true)]
    kernel_memory_tcp: Option<i64>,
    /// Most memory, in bytes or with k, m, g; -1 is no limit
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, allow_negative_numbers = true)]
    memory: Option<i64>,
    /// Memory that is kept when it is scarce
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, allow_negative_numbers = true)]
    memory_reservation: Option<i64>,
    /// Most memory and swap together
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, allow_negative_numbers = true)]
    memory_swap: Option<i64>,
    /// Most processes and threads; -1 is no limit
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// Accepted as of runc; there is no such host feature here
    #[arg(long, value_name = "SCHEMA", hide = true)]
    l3_cache_schema: Option<String>,
    /// Accepted as of runc; there is no such host feature here
    #[arg(long, value_name = "SCHEMA", hide = true)]
    mem_bw_schema: Option<String>,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

pub(crate) fn run(args: Args, globals: &Globals) -> Result<u8> {
    let mut container = Container::load(&globals.root(), &args.id)?;
    if container.status() == Status::Stopped {
        bail!("container not running");
    }
    if args.l3_cache_schema.is_some() || args.mem_bw_schema.is_some() {
        bail!("Intel RDT is not supported");
    }
    if args.kernel_memory.is_some() {
        crate::log::warn("Kernel memory settings are ignored and will be removed");
    }
    let resources = match &args.resources {
        Some(file) => read(file)?,
        None => given(args),
    };
    container.cgroup("update")?.update(&resources)?;
    // 0 is nothing said.
    if let Some(pids) = resources.pids().filter(|pids| pids.limit() != 0) {
        let pids = u64::try_from(pids.limit()).ok().filter(|limit| *limit > 0);
        container.connect()?.ask(&Request::Limits { pids })?;
    }
    remember(&mut container, &resources);
    container.save()?;
    Ok(0)
}

fn read(file: &PathBuf) -> Result<LinuxResources> {
    let mut text = String::new();
    let done = match file.to_str() {
        Some("-") => std::io::stdin().read_to_string(&mut text),
        _ => std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text)),
    };
    done.with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{}", file.display()))
}

fn given(args: Args) -> LinuxResources {
    let mut resources = LinuxResources::default();
    let mut memory = LinuxMemory::default();
    memory.set_limit(args.memory).set_swap(args.memory_swap).set_reservation(args.memory_reservation);
    memory.set_kernel_tcp(args.kernel_memory_tcp);
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(args.cpu_share).set_period(args.cpu_period).set_quota(args.cpu_quota).set_burst(args.cpu_burst);
    cpu.set_realtime_period(args.cpu_rt_period).set_realtime_runtime(args.cpu_rt_runtime).set_idle(args.cpu_idle);
    cpu.set_cpus(args.cpuset_cpus).set_mems(args.cpuset_mems);
    let mut block_io = LinuxBlockIo::default();
    block_io.set_weight(args.blkio_weight);
    resources.set_memory(Some(memory)).set_cpu(Some(cpu)).set_block_io(Some(block_io));
    resources.set_pids(args.pids_limit.map(|limit| {
        let mut pids = LinuxPids::default();
        pids.set_limit(limit);
        pids
    }));
    resources
}

/// What was changed is what the container's configuration says from now on.
fn remember(container: &mut Container, changed: &LinuxResources) {
    let spec = &mut container.saved.spec;
    let mut linux = spec.linux().clone().unwrap_or_default();
    let mut resources = linux.resources().clone().unwrap_or_default();
    if changed.pids().is_some_and(|pids| pids.limit() != 0) {
        resources.set_pids(*changed.pids());
    }
    if changed.memory().and_then(|memory| memory.limit()).is_some_and(|limit| limit != 0) {
        resources.set_memory(*changed.memory());
    }
    linux.set_resources(Some(resources));
    spec.set_linux(Some(linux));
}

/// Bytes, with a unit or not; negative is no limit.
fn parse_bytes(text: &str) -> Result<i64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text.get(digits.len()..).unwrap_or_default().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err("the unit is none of k, m, g, t".into()),
    };
    let number: i64 = digits.parse().map_err(|_| "not a size such as 512m".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "not a size that memory can have".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_bytes("-1"), Ok(-1));
        assert_eq!(parse_bytes("64m"), Ok(64 << 20));
        assert!(parse_bytes("1q").is_err() && parse_bytes("m").is_err());
    }
}
