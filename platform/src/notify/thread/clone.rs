//! A thread that clones another one in a call as any other (the stub's `clone.rs` says how).
//!
//! The sentry sees the program's `clone3`; the call that waits in the listener is the `clone` that the host is to make.

use super::super::local::Window;
use super::super::slots::Channel;
use super::super::{Birth, placement};
use super::{Checked, NotifyThread, Phase, State, Violation};
use crate::{CloneKind, CloneSpec, Event, Fact, Gone, Syscall};
use libc::seccomp_notif;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use stub::abi::clone::HOST_FLAGS;
use stub::entry;

/// What the host is not to make: the stub then makes the program's call as it stands.
const REFUSED: i64 = -(libc::ENOSYS as i64);

/// The program's call is answered in the channel: to the stub this is the id of a child.
const ANSWERED: i64 = 1;

/// What a child needs. It goes back to the process unless a child takes it.
#[derive(Debug)]
pub(super) struct Offer {
    thread: std::sync::Weak<NotifyThread>,
    stack: Option<u64>,
    channel: Option<Channel>,
    /// Of the host's call: what it cannot take back.
    args: [u64; 6],
}

impl Offer {
    /// Whether the host's call makes what the program's asks for, which is in memory and may have changed since.
    fn is(&self, spec: &CloneSpec) -> bool {
        let [_, stack, _, clear_tid, tls, _] = self.args;
        let made =
            CloneSpec { kind: CloneKind::Thread, stack: Some(stack), tls: Some(tls), clear_tid: Some(clear_tid) };
        made == *spec
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        let Some(thread) = self.thread.upgrade() else { return };
        if let Some(stack) = self.stack {
            thread.host.space.free_stack(stack);
        }
        if let Some(channel) = &self.channel {
            thread.host.space.free_channel(channel.index);
        }
    }
}

impl NotifyThread {
    /// Whether a call that waits in the listener is the host's side of a rewritten `clone3`.
    pub(super) fn is_clone_of_stub(call: &Syscall) -> bool {
        call.ip == entry::CLONE_MADE && i64::from(call.nr) == libc::SYS_clone
    }

    /// The stub has called `clone` for a rewritten site: shows the sentry what the program calls.
    pub(super) fn clone_called(&self, st: &mut State, call: &Syscall) {
        let Some((program, offer)) = self.prepare_clone(st, call) else {
            self.send(st, REFUSED);
            return;
        };
        st.offer = Some(offer);
        st.window = Window::default();
        st.phase = Phase::InCall(program);
        NotifyThread::set_event(st, Event::Syscall(program));
    }

    /// What a child will need, and the program's call. `None` if that should be made the other way.
    fn prepare_clone(&self, st: &State, call: &Syscall) -> Option<(Syscall, Offer)> {
        let channel = st.channel.as_ref()?;
        let [flags, ..] = call.args;
        // A signal, by which the host would have the call made again, can only be a kick.
        if flags != u64::from(HOST_FLAGS) || st.kicked || self.host.is_filtered() {
            return None;
        }
        let request = channel.request();
        let ip = self.host.space.ends.of(request.done)?;
        let stack = self.host.space.take_stack()?;
        let mut offer = Offer { thread: self.me.clone(), stack: Some(stack), channel: None, args: call.args };
        offer.channel = Some(self.new_channel()?);
        Some((Syscall { nr: libc::SYS_clone3 as u32, args: request.args, ip }, offer))
    }

    /// Lets the call under way make what `spec` says, if it is such a call; the thread is still in its call when the child
    /// has shown itself, which is then in the same call. `None`: the program's call is there to be seen to the other way.
    pub(super) async fn clone_in_call(&self, spec: &CloneSpec) -> Result<Option<Arc<NotifyThread>>, Gone> {
        let Some(mut offer) = self.lock().offer.take() else { return Ok(None) };
        if !offer.is(spec) {
            self.begin_clone(None)?;
            self.wait_cloned(None).await?;
            return Ok(None);
        }
        self.host.forget_fact(Fact::Thread);
        // The child is to have the affinity that its parent was given.
        self.end_attention(&mut self.lock());
        let Phase::InCall(call) = self.lock().phase else { return Err(Gone) };
        let (Some(stack), Some(channel)) = (offer.stack.take(), offer.channel.take()) else { return Err(Gone) };
        let mut birth = Birth::new(CloneKind::Thread, self, self.host.space.clone(), Some(stack));
        birth.in_call = Some((call, channel.clone()));
        let birth = Arc::new(birth);
        let nonce = self.shared.expect_birth(&birth);
        let kept = placement::keep_here(&self.host, self.tid);
        self.begin_clone(Some((nonce, stack, &channel)))?;
        let child = self.wait_cloned(Some(&birth)).await?;
        match &child {
            Some(child) => {
                if let Some(kept) = &kept {
                    kept.release(&child.host, child.tid);
                }
            }
            None => {
                self.shared.cancel_birth(nonce);
                (offer.stack, offer.channel) = (Some(stack), Some(channel));
            }
        }
        Ok(child)
    }

    /// Has the host make the call, or the stub make the other one.
    fn begin_clone(&self, child: Option<(u64, u64, &Channel)>) -> Result<(), Gone> {
        let mut st = self.lock();
        let Phase::InCall(call) = st.phase else { return Err(Gone) };
        st.phase = Phase::Cloning(call);
        match (child, &st.channel) {
            (Some((nonce, stack, channel)), Some(own)) => {
                own.offer(nonce, (stack, self.host.space.stack_size()), channel);
                self.let_through(&mut st);
            }
            _ => self.send(&mut st, REFUSED),
        }
        Ok(())
    }

    /// Answers a call that makes nobody. An error of the host's call would have the stub make the program's too, and the
    /// sentry see to it twice.
    pub(super) fn refuse_clone(&self, st: &mut State, ret: i64) {
        if let Some(channel) = &st.channel {
            channel.answer(ret, None, self.may_listen(st));
        }
        self.send(st, ANSWERED);
    }

    /// Waits for the child to show itself, or for the other call.
    async fn wait_cloned(&self, birth: Option<&Arc<Birth>>) -> Result<Option<Arc<NotifyThread>>, Gone> {
        poll_fn(|cx| {
            let mut st = self.lock();
            match st.phase {
                Phase::Cloning(call) => {
                    if let Some(child) = birth.and_then(|birth| birth.poll_child(cx)) {
                        st.phase = Phase::InChannel(call);
                        return Poll::Ready(Ok(Some(child)));
                    }
                    st.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
                Phase::InCall(_) => Poll::Ready(Ok(None)),
                _ => Poll::Ready(Err(Gone)),
            }
        })
        .await
    }

    /// A thread that clones has called again: because that failed, or was interrupted before it was made, by a freezer.
    /// What has been let through is not again: it goes the other way then, too.
    pub(super) fn called_in_clone(&self, st: &mut State, call: &Syscall) -> Checked {
        let Phase::Cloning(program) = st.phase else { return Ok(()) };
        if NotifyThread::is_clone_of_stub(call) {
            self.send(st, REFUSED);
            return Ok(());
        }
        let seen = self.seen(call.ip);
        if (call.nr, seen) != (program.nr, program.ip) {
            return Err(Violation("another call than the one that is under way"));
        }
        if let Some(channel) = &st.channel {
            channel.reset();
        }
        st.phase = Phase::InCall(Syscall { ip: seen, ..*call });
        NotifyThread::wake(st);
        Ok(())
    }

    /// The hypercall of a new thread that is in the call in which it was made.
    pub(in super::super) fn born_in_call(&self, notif: &seccomp_notif, call: Syscall, channel: Channel) {
        let mut st = self.lock();
        (st.id, st.channel) = (Some(notif.id), Some(channel));
        st.phase = Phase::InCall(call);
        self.is_in_channel.store(false, Ordering::Relaxed);
    }
}
