//! What the platform has a stub do: calls, and clones.

use super::super::sys;
use super::{NotifyThread, Phase, State, Then};
use crate::{Call, CloneKind, Gone, Process};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::os::fd::BorrowedFd;
use std::task::Poll;
use std::time::Instant;
use stub::abi::{self, Order, cmd};

impl NotifyThread {
    /// Writes orders into the stub's buffer and has it run them. The thread must be in an unanswered hypercall.
    pub(super) fn order(&self, st: &mut State, calls: &[Call], then: Then) {
        let mut bytes = Vec::with_capacity(calls.len() * size_of::<Order>());
        for call in calls {
            bytes.extend(u64::from(call.nr).to_le_bytes());
            call.args.iter().for_each(|a| bytes.extend(a.to_le_bytes()));
            bytes.extend(0u64.to_le_bytes());
        }
        if !self.host.write_all(st.buffer, &bytes) {
            self.host.kill();
            return;
        }
        let pending = calls.iter().filter(|c| !crate::filter::is_native_in_stub(c.nr, &c.args)).copied().collect();
        st.phase = Phase::Ordered { pending, then };
        st.since = Instant::now();
        self.command(st, cmd::RUN, calls.len() as u64);
        self.watch(st);
    }

    /// Waits until the thread is stopped.
    pub(super) async fn wait_stopped(&self) -> Result<(), Gone> {
        poll_fn(|cx| {
            let mut st = self.lock();
            match st.phase {
                Phase::Stopped => Poll::Ready(Ok(())),
                Phase::Dead => Poll::Ready(Err(Gone)),
                _ => {
                    st.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Runs up to [`abi::ORDERS_MAX`] calls.
    pub(super) async fn run_batch(&self, calls: &[Call], files: &[BorrowedFd<'_>]) -> Result<Vec<i64>, Gone> {
        {
            let mut st = self.lock();
            let (Phase::Stopped, Some(id)) = (&st.phase, st.id) else { return Err(Gone) };
            for (at, file) in (crate::WINDOW_FD..).zip(files) {
                if sys::add_fd(self.listener(), id, *file, at).is_err() {
                    return Err(Gone);
                }
            }
            self.order(&mut st, calls, Then::Stop);
        }
        self.wait_stopped().await?;
        let buffer = self.lock().buffer;
        let mut bytes = vec![0; calls.len() * size_of::<Order>()];
        if !self.host.read_exact(buffer, &mut bytes) {
            return Err(Gone);
        }
        let at = std::mem::offset_of!(Order, ret);
        let result = |order: &[u8]| order.get(at..).and_then(|b| b.first_chunk()).map(|b| i64::from_le_bytes(*b));
        Ok(bytes.chunks_exact(size_of::<Order>()).filter_map(result).collect())
    }

    /// Has the stub clone; the caller has registered `nonce`. The host's result, the guest's word.
    pub(super) async fn run_clone(&self, kind: CloneKind, args: [u64; 6], stack: Option<u64>) -> Result<i64, Gone> {
        {
            let mut st = self.lock();
            if !matches!(st.phase, Phase::Stopped) {
                return Err(Gone);
            }
            let clone = Call { nr: libc::SYS_clone as u32, args };
            let place = Call { nr: 0, args: [stack.unwrap_or(0), self.host.space.stack_size(), 0, 0, 0, 0] };
            let mut bytes = Vec::new();
            for call in [&clone, &place] {
                bytes.extend(u64::from(call.nr).to_le_bytes());
                call.args.iter().for_each(|a| bytes.extend(a.to_le_bytes()));
                bytes.extend(0u64.to_le_bytes());
            }
            if !self.host.write_all(st.buffer, &bytes) {
                self.host.kill();
                return Err(Gone);
            }
            let command = match kind {
                CloneKind::Fork => cmd::FORK,
                CloneKind::ShareMemory | CloneKind::Thread => cmd::THREAD,
            };
            st.clone_stack = stack.map(|base| (base, base + self.host.space.stack_size()));
            st.phase = Phase::Ordered { pending: VecDeque::from([clone]), then: Then::Stop };
            st.since = Instant::now();
            self.command(&mut st, command, 0);
            self.watch(&mut st);
        }
        self.wait_stopped().await?;
        Ok(self.lock().result)
    }
}

/// Maps the slot file that is at the window descriptor, protects it from fork and careless guests, and closes.
pub(super) fn slot_orders() -> [Call; 4] {
    let call = |nr: libc::c_long, args| Call { nr: nr as u32, args };
    let flags = (libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE) as u64;
    let (base, size, window) = (abi::SLOTS_BASE, abi::SLOTS_SIZE, crate::WINDOW_FD.into());
    [
        call(libc::SYS_mmap, [base, size, 3, flags, window, 0]),
        call(libc::SYS_madvise, [base, size, libc::MADV_DONTFORK as u64, 0, 0, 0]),
        call(462, [base, size, 0, 0, 0, 0]),
        call(libc::SYS_close, [window, 0, 0, 0, 0, 0]),
    ]
}
