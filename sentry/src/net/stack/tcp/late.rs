//! What is left of a connection that is over but for late segments (RFC 9293, `TIME-WAIT`): enough to tell the other side
//! where it ended, and little memory, for there are many of these.

use super::segment::{ACK, Header, Options, RST, SYN, Segment};
use super::{Machine, START, State};
use crate::net::stack::packet::{Head, TCP, put_checksum};
use std::time::{Duration, Instant};

/// Time between two answers to segments without data: two who believe to be right must not answer each other for ever.
const PAUSE: Duration = Duration::from_millis(500);

/// Such a rest.
#[derive(Debug)]
pub struct Late {
    /// Number behind this side's end.
    own: u32,
    /// Number behind the other side's end.
    theirs: u32,
    /// The window as it was last told, scaled.
    window: u16,
    /// What this side adds to the clock, and the other side's clock.
    stamps: Option<(u32, u32)>,
    class: u8,
    hops: u8,
    answered: Option<Instant>,
}

/// What a late segment leads to.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Ignored,
    /// Late segments are waited for anew.
    Renewed,
    /// It is answered; and, if it says so, late segments are waited for anew.
    Answered {
        /// It says so.
        renewed: bool,
    },
    /// Nothing is waited for any more.
    Over,
    /// A new connection follows on this one.
    Follows,
}

impl Machine {
    /// What is left of it and until when, if it only waits for late segments.
    pub fn late(&self, now: Instant) -> Option<(Instant, Late)> {
        let until = self.alarms.wait.filter(|_| self.state == State::TimeWait)?;
        if self.due(now).is_some_and(|at| at <= now) {
            return None;
        }
        let late = Late {
            own: self.next as u32,
            theirs: self.rx.next as u32,
            window: (self.rx.window() >> self.rx.scale).min(u16::MAX.into()) as u16,
            stamps: self.stamps.then_some((self.stamp_offset, self.echo.0)),
            class: self.tuning.class,
            hops: self.tuning.hops,
            answered: self.challenged,
        };
        Some((until, late))
    }
}

impl Late {
    /// Takes a segment of the connection, or of one that is to follow on it.
    pub fn input(&mut self, segment: &Segment<'_>, now: Instant) -> Verdict {
        let clock = self.stamps.and(segment.options.stamps).map(|(theirs, _)| theirs);
        let ticks = self.stamps.zip(clock).map(|((_, last), clock)| clock.wrapping_sub(last).cast_signed());
        let is_old = ticks.is_some_and(|ticks| ticks < 0);
        let ahead = segment.sequence.wrapping_sub(self.theirs).cast_signed();
        if !is_old && ahead == 0 && (segment.is_empty() || segment.has(RST)) {
            if segment.has(RST) {
                return Verdict::Over;
            }
            if let Some(((_, last), clock)) = self.stamps.as_mut().zip(clock) {
                *last = clock;
            }
            return Verdict::Renewed;
        }
        if segment.has(RST) {
            return Verdict::Ignored;
        }
        // Nobody takes its segments for those of the old one.
        let is_new = ahead > 0 || ticks.is_some_and(|ticks| ticks > 0);
        if segment.opens() && !is_old && is_new {
            return Verdict::Follows;
        }
        let renewed = is_old || segment.has(ACK);
        let asks = segment.data.is_empty() || segment.has(SYN);
        if asks && self.answered.is_some_and(|last| now.saturating_duration_since(last) < PAUSE) {
            return if renewed { Verdict::Renewed } else { Verdict::Ignored };
        }
        self.answered = Some(now).filter(|_| asks).or(self.answered);
        Verdict::Answered { renewed }
    }

    /// Tells the sender of `segment` where the connection ended.
    pub fn answer(&self, segment: &Segment<'_>, now: Instant) -> (Head, Vec<u8>) {
        let clock = now.saturating_duration_since(*START).as_millis() as u32;
        let stamps = self.stamps.map(|(offset, echo)| (clock.wrapping_add(offset), echo));
        let head = Head {
            src: segment.local.ip(),
            dst: segment.remote.ip(),
            protocol: TCP,
            hops: self.hops,
            class: self.class,
        };
        let header = Header {
            sequence: self.own,
            acknowledged: self.theirs,
            flags: ACK,
            window: self.window,
            options: Options { stamps, ..Options::default() },
            urgent: 0,
        };
        let mut answer = header.bytes(segment.local.port(), segment.remote.port());
        put_checksum(&head, &mut answer, 16);
        (head, answer.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::stack::packet::{HEADROOM, Packet};
    use crate::net::stack::tcp::segment::FIN;

    fn late() -> Late {
        Late { own: 500, theirs: u32::MAX, window: 7, stamps: Some((9, 1000)), class: 0, hops: 64, answered: None }
    }

    /// A segment that is `ahead` of what is expected, from a clock of `ticks` after the last.
    fn segment(flags: u8, ahead: i32, ticks: i32, data: &[u8]) -> Segment<'_> {
        Segment {
            remote: "10.0.0.2:2000".parse().unwrap(),
            local: "10.0.0.1:80".parse().unwrap(),
            sequence: u32::MAX.wrapping_add_signed(ahead),
            acknowledged: 500,
            flags,
            window: 100,
            urgent: 0,
            options: Options { stamps: Some((1000u32.wrapping_add_signed(ticks), 0)), ..Options::default() },
            class: 0,
            data,
            frame: None,
        }
    }

    #[test]
    fn the_end_is_told_again() {
        let now = *START + PAUSE;
        let mut late = late();
        let again = segment(FIN | ACK, -1, 1, b"");
        assert_eq!(late.input(&again, now), Verdict::Answered { renewed: true });
        let (head, answer) = late.answer(&again, now);
        let frame = head.frame(&answer, None);
        let packet = Packet::parse(&frame[HEADROOM..]).unwrap();
        assert!(packet.has_valid_checksum());
        let answer = Segment::parse(&packet).unwrap();
        assert_eq!((answer.local.port(), answer.remote.port()), (2000, 80));
        assert_eq!((answer.sequence, answer.acknowledged, answer.flags, answer.window), (500, u32::MAX, ACK, 7));
        assert_eq!(answer.options.stamps, Some((509, 1000)));
        // Not again and again, but for data.
        assert_eq!(late.input(&again, now + PAUSE / 2), Verdict::Renewed);
        assert_eq!(late.input(&segment(ACK, -4, 1, b"data"), now), Verdict::Answered { renewed: true });
        assert_eq!(late.input(&again, now + PAUSE), Verdict::Answered { renewed: true });
    }

    #[test]
    fn what_is_expected_needs_no_answer() {
        let mut late = late();
        assert_eq!(late.input(&segment(ACK, 0, 5, b""), *START), Verdict::Renewed);
        assert_eq!(late.stamps, Some((9, 1005)));
        assert_eq!(late.input(&segment(RST, 3, 5, b""), *START), Verdict::Ignored);
        assert_eq!(late.input(&segment(RST, 0, 4, b""), *START), Verdict::Ignored);
        assert_eq!(late.input(&segment(RST, 0, 5, b""), *START), Verdict::Over);
    }

    #[test]
    fn a_new_connection_follows_whose_numbers_are_new() {
        let mut late = late();
        assert_eq!(late.input(&segment(SYN, 1, 0, b""), *START), Verdict::Follows);
        assert_eq!(late.input(&segment(SYN, -1, 1, b""), *START), Verdict::Follows);
        assert_eq!(late.input(&segment(SYN, 1, -1, b""), *START), Verdict::Answered { renewed: true });
        assert_eq!(late.input(&segment(SYN, -1, 0, b""), *START + PAUSE), Verdict::Answered { renewed: false });
        assert_eq!(late.input(&segment(SYN, -1, 0, b""), *START + PAUSE), Verdict::Ignored);
        assert_eq!(late.input(&segment(SYN | ACK, 1, 1, b""), *START + 2 * PAUSE), Verdict::Answered { renewed: true });
    }
}
