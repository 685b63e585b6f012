//! Commands from the command line, which stays outside the walls.

use super::config::Command;
use crate::executor;
use crate::fs::devpts::relay;
use crate::kernel::Kernel;
use crate::kernel::signal::SigInfo;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Starts the thread that obeys. When the command line dies, so does the sandbox.
pub(super) fn start(kernel: &Arc<Kernel>, control: OwnedFd) {
    let kernel = kernel.clone();
    let _ = std::thread::Builder::new().name("control".into()).spawn(move || {
        let mut control = File::from(control);
        while let Some(command) = byte(&mut control) {
            match command {
                c if c == Command::Signal as u8 => {
                    let Some(signo) = byte(&mut control) else { break };
                    signal(&kernel, i32::from(signo));
                }
                c if c == Command::WindowSize as u8 => relay::resize(),
                _ => {}
            }
            executor::run_local();
        }
        super::end(Ok(libc::SIGKILL));
    });
}

fn byte(control: &mut File) -> Option<u8> {
    let mut byte = [0u8];
    match control.read(&mut byte) {
        Ok(1) => byte.first().copied(),
        _ => None,
    }
}

/// From outside the container: SIGKILL and SIGSTOP work on process 1 too.
fn signal(kernel: &Arc<Kernel>, signo: i32) {
    let main = kernel.main.load(std::sync::atomic::Ordering::Relaxed);
    let Some(group) = kernel.group(main) else { return };
    match signo {
        libc::SIGKILL => group.kill(signo),
        _ => group.send_signal(kernel, SigInfo::new(signo, libc::SI_USER)),
    }
}
