//! Urgent data: a byte of the stream that each side points at (RFC 6093, with the pointer behind the byte).

use super::Machine;
use super::segment::{Segment, URG};

/// The urgent byte that a reader comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Urgent {
    /// How many bytes are before it.
    pub ahead: usize,
    /// It has come.
    pub is_there: bool,
    /// It was received apart.
    pub is_read: bool,
}

/// What both sides have said.
#[derive(Debug, Default)]
pub(super) struct Urgency {
    /// Number behind the last urgent byte that this side sends.
    out: Option<u64>,
    /// Number of the other side's, and whether it was received apart.
    at: Option<(u64, bool)>,
    /// The other side has said so since somebody asked.
    news: bool,
}

impl Urgency {
    /// The reader has come to `position`.
    pub(super) fn pass(&mut self, position: u64) {
        self.at = self.at.filter(|(at, _)| *at >= position);
    }
}

impl Machine {
    /// The last byte that was given is urgent.
    pub fn mark_urgent(&mut self) {
        self.urgent.out = Some(self.end());
    }

    /// Whether the other side does not have all that is urgent.
    pub(super) fn has_urgent(&self) -> bool {
        self.urgent.out.is_some_and(|end| end > self.una)
    }

    /// The urgent pointer of a segment that begins at `start`, if it has one.
    pub(super) fn pointer(&self, start: u64) -> Option<u16> {
        let end = self.urgent.out.filter(|end| *end > self.una && *end > start)?;
        match u16::try_from(end - start) {
            Ok(pointer) => Some(pointer),
            // Too far to tell where, not to tell that it comes.
            Err(_) if start + u64::from(u16::MAX) > self.next => Some(u16::MAX),
            Err(_) => None,
        }
    }

    /// Takes in what a segment says of urgent data, before what it carries (`tcp_check_urg`).
    pub(super) fn points(&mut self, start: u64, segment: &Segment<'_>) {
        if !segment.has(URG) {
            return;
        }
        let at = start + u64::from(segment.urgent).saturating_sub(1);
        let position = self.rx.position();
        let known = self.urgent.at.is_some_and(|(known, _)| at <= known);
        if at < position || at < self.rx.next || known {
            return;
        }
        // An older one that is next is not read any more.
        let is_next = self.urgent.at.is_some_and(|(known, _)| known == position);
        if is_next && !self.tuning.inline && self.rx.len() > 0 {
            self.rx.skip();
        }
        self.urgent.at = Some((at, false));
        self.urgent.news = true;
    }

    /// The urgent byte that a reader comes to.
    pub fn urgent(&self) -> Option<Urgent> {
        let (at, is_read) = self.urgent.at?;
        let ahead = at.saturating_sub(self.rx.position()) as usize;
        Some(Urgent { ahead, is_there: ahead < self.rx.len(), is_read })
    }

    /// It is received apart.
    pub fn take_urgent(&mut self) {
        if let Some((_, is_read)) = &mut self.urgent.at {
            *is_read = true;
        }
    }

    /// Whether the other side has said that something urgent comes since this was asked.
    pub fn take_urgent_news(&mut self) -> bool {
        std::mem::take(&mut self.urgent.news)
    }
}
