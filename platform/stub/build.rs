//! Builds `blob/` with the compiler cargo uses, links it with the toolchain's own linker, and checks the result.

use goblin::elf::program_header::{PF_R, PF_X, PT_LOAD};
use std::{env, fmt::Write as _, fs, path::PathBuf, process::Command};

const ENTRIES: &[&str] = &[
    "stub_start",
    "stub_handler",
    "stub_restorer",
    "stub_sigreturned",
    "stub_channel",
    "stub_channel_copy",
    "stub_channel_asked",
    "stub_channel_wait",
    "stub_channel_unasked",
    "stub_channel_slow",
    "stub_channel_end",
    "stub_sigmask",
    "stub_sigmask_flags",
    "stub_sigmask_kept",
    "stub_sigmask_made",
    "stub_sigmask_done",
    "stub_sigmask_unmade",
    "stub_sigmask_slow",
    "stub_sigmask_end",
    "stub_sigaction",
    "stub_sigaction_flags",
    "stub_sigaction_kept",
    "stub_sigaction_made",
    "stub_sigaction_done",
    "stub_sigaction_end",
    "stub_robust",
    "stub_robust_flags",
    "stub_robust_done",
    "stub_robust_end",
    "stub_clone",
    "stub_clone_copy",
    "stub_clone_made",
    "stub_clone_unmade",
    "stub_clone_slow",
    "stub_clone_end",
];

fn main() {
    println!("cargo::rustc-check-cfg=cfg(rust_analyzer)");
    println!("cargo::rerun-if-changed=blob");
    println!("cargo::rerun-if-changed=src/abi.rs");
    println!("cargo::rerun-if-changed=build.rs");

    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap());
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap());
    let elf = out.join("stub.elf");

    let mut rustc = Command::new(env::var_os("RUSTC").unwrap());
    rustc
        .arg(root.join("blob/main.rs"))
        .args(["--crate-name=stub_blob", "--crate-type=bin", "--edition=2024"])
        .args(["--target", &env::var("TARGET").unwrap()])
        .args(["-Copt-level=2", "-Cpanic=abort", "-Crelocation-model=static", "-Ccodegen-units=1"])
        .args(["-Cdebuginfo=0", "-Coverflow-checks=off", "-Cstrip=none"])
        // Without this rustc calls memcpy and friends through a GOT, which the blob cannot have.
        .arg("-Crelro-level=off")
        .args(["-Clinker=rust-lld", "-Clinker-flavor=ld.lld"])
        .args(["-Clink-arg=--gc-sections", "-Clink-arg=--build-id=none", "-Clink-arg=-estub_start"])
        .args(["-Clink-arg=-znognustack", "-Clink-arg=-zmax-page-size=4096"])
        .arg(format!("-Clink-arg=-T{}", root.join("blob/link.ld").display()));
    for e in ENTRIES {
        rustc.arg(format!("-Clink-arg=-u{e}"));
    }
    rustc.arg("-o").arg(&elf);
    // What cargo sets for the host build must not leak into the freestanding one.
    rustc.env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("RUSTFLAGS");
    let status = rustc.status().expect("cannot start rustc");
    assert!(status.success(), "the stub does not build");

    let data = fs::read(&elf).unwrap();
    let file = goblin::elf::Elf::parse(&data).unwrap();
    let loads: Vec<_> = file.program_headers.iter().filter(|p| p.p_type == PT_LOAD).collect();
    assert_eq!(loads.len(), 1, "the stub must be one segment");
    assert_eq!((loads[0].p_vaddr, loads[0].p_flags), (0x10000, PF_R | PF_X));
    assert_eq!(loads[0].p_filesz, loads[0].p_memsz, "the stub must not have .bss");
    assert!(file.shdr_relocs.is_empty() && file.dynamic.is_none(), "relocations in the stub");
    assert!(loads[0].p_memsz <= 0x1000, "the stub has outgrown its page");

    let mut rs = String::new();
    for e in ENTRIES {
        let sym = file.syms.iter().find(|s| file.strtab.get_at(s.st_name) == Some(e));
        let sym = sym.unwrap_or_else(|| panic!("the stub does not define {e}"));
        let name = e.trim_start_matches("stub_").to_uppercase();
        writeln!(rs, "/// Address of `{e}`.\npub const {name}: u64 = {:#x};", sym.st_value).unwrap();
    }
    fs::write(out.join("entry.rs"), rs).unwrap();
}
