//! The line discipline `N_TTY` (`termios(3)`): what becomes of bytes between keyboard and program.
//!
//! Pure: bytes go in on one side, come out on the other, and what else is to happen is told as [`Effects`].

use crate::abi::Termios;
use std::collections::VecDeque;

/// Longest line that can be edited, with its end (`N_TTY_BUF_SIZE`).
const LINE_MAX: usize = 4095;
/// Most input that waits for a reader in non-canonical mode. Linux keeps as much between its layers.
const INPUT_MAX: usize = 64 * 1024;
/// Most output that waits for the terminal.
const OUTPUT_MAX: usize = 64 * 1024;
/// Most echo that waits while output is stopped.
const HELD_MAX: usize = 4096;
/// A control character with this value is disabled.
const DISABLED: u8 = 0;

/// What follows from bytes that came in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Effects {
    /// Signals for the foreground process group.
    pub(super) signals: Vec<i32>,
    /// Input and output were thrown away.
    pub(super) flushed: bool,
    /// Output was stopped (true) or started (false).
    pub(super) flow: Option<bool>,
}

/// State of a line.
#[derive(Debug)]
pub(super) struct Discipline {
    termios: Termios,
    /// Input: complete lines (or all, in non-canonical mode), then the line that is being edited.
    input: VecDeque<u8>,
    /// How many bytes have left `input` at its front, ever.
    taken: u64,
    /// Where lines end, counted as `taken` is; whether by the end-of-file character.
    ends: VecDeque<(u64, bool)>,
    /// The next character is taken as it is.
    literal: bool,
    output: VecDeque<u8>,
    /// Echoes that wait for output to start again.
    held: VecDeque<u8>,
    stopped: bool,
    column: usize,
    /// The column where the line that is being edited begins.
    line_column: usize,
}

impl Discipline {
    pub(super) fn new(termios: Termios) -> Discipline {
        Discipline {
            termios,
            input: VecDeque::new(),
            taken: 0,
            ends: VecDeque::new(),
            literal: false,
            output: VecDeque::new(),
            held: VecDeque::new(),
            stopped: false,
            column: 0,
            line_column: 0,
        }
    }

    pub(super) fn termios(&self) -> &Termios {
        &self.termios
    }

    /// Changes modes. What waits is from now on what the new modes make of it.
    pub(super) fn set_termios(&mut self, termios: Termios) {
        let was = self.is_canonical();
        let was_flow = self.has_i(libc::IXON);
        self.termios = termios;
        if was != self.is_canonical() {
            self.ends.clear();
            self.literal = false;
            if self.is_canonical() && !self.input.is_empty() {
                self.ends.push_back((self.end(), false));
            }
        }
        if was_flow && !self.has_i(libc::IXON) && self.stopped {
            self.set_stopped(false);
        }
    }

    fn has_i(&self, flag: u32) -> bool {
        self.termios.iflag & flag != 0
    }

    fn has_o(&self, flag: u32) -> bool {
        self.termios.oflag & flag != 0
    }

    fn has_l(&self, flag: u32) -> bool {
        self.termios.lflag & flag != 0
    }

    fn is_canonical(&self) -> bool {
        self.has_l(libc::ICANON)
    }

    fn is(&self, at: usize, byte: u8) -> bool {
        let cc = self.termios.cc(at);
        cc != DISABLED && cc == byte
    }

    /// Position behind all input.
    fn end(&self) -> u64 {
        self.taken + self.input.len() as u64
    }

    /// Where the line begins that is being edited.
    fn line_start(&self) -> u64 {
        self.ends.back().map_or(self.taken, |(end, _)| *end)
    }

    // From the keyboard.

    /// How many bytes may come in. A line that is full takes more, to throw away all but its end.
    pub(super) fn room(&self) -> usize {
        if self.is_canonical() && self.ends.is_empty() {
            return INPUT_MAX;
        }
        INPUT_MAX.saturating_sub(self.input.len())
    }

    /// Takes one byte from the keyboard.
    pub(super) fn receive(&mut self, byte: u8, effects: &mut Effects) {
        let mut c = byte;
        if self.literal {
            self.literal = false;
            self.put_and_echo(c);
            return;
        }
        if self.has_i(libc::ISTRIP) {
            c &= 0x7f;
        }
        if self.has_i(libc::IUCLC) && self.has_l(libc::IEXTEN) {
            c = c.to_ascii_lowercase();
        }
        if self.flow_control(c, effects) || self.signal(c, effects) {
            return;
        }
        if self.stopped && self.has_i(libc::IXON) && self.has_i(libc::IXANY) {
            self.set_stopped(false);
            effects.flow = Some(false);
        }
        match c {
            b'\r' if self.has_i(libc::IGNCR) => return,
            b'\r' if self.has_i(libc::ICRNL) => c = b'\n',
            b'\n' if self.has_i(libc::INLCR) => c = b'\r',
            _ => {}
        }
        if self.is_canonical() && self.edit(c) {
            return;
        }
        self.put_and_echo(c);
    }

    fn flow_control(&mut self, c: u8, effects: &mut Effects) -> bool {
        if !self.has_i(libc::IXON) {
            return false;
        }
        if self.is(libc::VSTART, c) {
            self.set_stopped(false);
            effects.flow = Some(false);
            return true;
        }
        if self.is(libc::VSTOP, c) {
            self.set_stopped(true);
            effects.flow = Some(true);
            return true;
        }
        false
    }

    fn signal(&mut self, c: u8, effects: &mut Effects) -> bool {
        if !self.has_l(libc::ISIG) {
            return false;
        }
        let keys = [(libc::VINTR, libc::SIGINT), (libc::VQUIT, libc::SIGQUIT), (libc::VSUSP, libc::SIGTSTP)];
        let Some((_, signo)) = keys.into_iter().find(|(at, _)| self.is(*at, c)) else { return false };
        if !self.has_l(libc::NOFLSH) {
            self.flush_input();
            self.flush_output();
            effects.flushed = true;
        }
        if self.stopped && self.has_i(libc::IXON) {
            self.set_stopped(false);
            effects.flow = Some(false);
        }
        effects.signals.push(signo);
        if self.has_l(libc::ECHO) {
            self.echo(c);
        }
        true
    }

    /// Whether `c` is a character that edits or ends a line, and has done so.
    fn edit(&mut self, c: u8) -> bool {
        let extended = self.has_l(libc::IEXTEN);
        if self.is(libc::VERASE, c) || self.is(libc::VKILL, c) || extended && self.is(libc::VWERASE, c) {
            self.erase(c);
            return true;
        }
        if extended && self.is(libc::VLNEXT, c) {
            self.literal = true;
            if self.has_l(libc::ECHO) && self.has_l(libc::ECHOCTL) {
                self.echo_raw(b"^\x08");
            }
            return true;
        }
        if extended && self.has_l(libc::ECHO) && self.is(libc::VREPRINT, c) {
            self.echo(c);
            self.echo_processed(b'\n');
            let from = (self.line_start() - self.taken) as usize;
            let line: Vec<u8> = self.input.range(from..).copied().collect();
            line.into_iter().for_each(|byte| self.echo(byte));
            return true;
        }
        if self.is(libc::VEOF, c) {
            self.ends.push_back((self.end(), true));
            return true;
        }
        let ends = c == b'\n' || self.is(libc::VEOL, c) || extended && self.is(libc::VEOL2, c);
        if ends {
            if c == b'\n' && (self.has_l(libc::ECHO) || self.has_l(libc::ECHONL)) {
                self.echo_processed(b'\n');
            } else if c != b'\n' && self.has_l(libc::ECHO) {
                self.echo(c);
            }
            self.input.push_back(c);
            self.ends.push_back((self.end(), false));
            self.line_column = self.column;
        }
        ends
    }

    fn put_and_echo(&mut self, c: u8) {
        let line = self.end() - self.line_start();
        let is_full = if self.is_canonical() { line >= LINE_MAX as u64 } else { self.input.len() >= INPUT_MAX };
        if is_full {
            if self.has_i(libc::IMAXBEL) {
                self.echo_raw(b"\x07");
            }
            return;
        }
        if self.has_l(libc::ECHO) {
            if self.end() == self.line_start() {
                self.line_column = self.column;
            }
            if c == b'\n' { self.echo_processed(b'\n') } else { self.echo(c) }
        }
        if self.has_i(libc::PARMRK) && c == 0xff {
            self.input.push_back(c);
        }
        self.input.push_back(c);
    }

    /// Erases a character, a word or the line.
    fn erase(&mut self, c: u8) {
        let start = self.line_start();
        if self.end() == start {
            return;
        }
        let kills = self.is(libc::VKILL, c);
        let is_visible = self.has_l(libc::ECHO);
        if kills && !(self.has_l(libc::ECHOK) && self.has_l(libc::ECHOKE) && self.has_l(libc::ECHOE)) {
            self.input.truncate((start - self.taken) as usize);
            if is_visible {
                self.echo(c);
                // The line is gone although it is still to be seen: a new one shows it.
                if self.has_l(libc::ECHOK) {
                    self.echo_processed(b'\n');
                }
            }
            return;
        }
        let by_word = !kills && self.is(libc::VWERASE, c) && !self.is(libc::VERASE, c);
        let mut in_word = false;
        while self.end() > start {
            let Some(last) = self.last_character() else { return };
            if by_word {
                let is_word = last.first().is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_' || *b >= 0x80);
                if in_word && !is_word {
                    return;
                }
                in_word |= is_word;
            }
            self.input.truncate(self.input.len() - last.len());
            if is_visible {
                if self.has_l(libc::ECHOE) { self.unecho(&last) } else { self.echo(c) }
            }
            if !kills && !by_word {
                return;
            }
        }
    }

    /// The bytes of the last character of the line.
    fn last_character(&self) -> Option<Vec<u8>> {
        let from = (self.line_start() - self.taken) as usize;
        let mut length = 1;
        let is_continuation = |back: usize| {
            let at = self.input.len().checked_sub(back);
            at.filter(|at| *at >= from).and_then(|at| self.input.get(at)).is_some_and(|b| b & 0xc0 == 0x80)
        };
        while self.has_i(libc::IUTF8) && is_continuation(length) && self.input.len() > from + length {
            length += 1;
        }
        let at = self.input.len().checked_sub(length)?;
        Some(self.input.range(at..).copied().collect())
    }

    /// Takes an erased character off the screen.
    fn unecho(&mut self, character: &[u8]) {
        let Some(first) = character.first().copied() else { return };
        let width = match first {
            b'\t' => self.tab_width(),
            _ if first < 0x20 || first == 0x7f => {
                if self.has_l(libc::ECHOCTL) {
                    2
                } else {
                    0
                }
            }
            _ => 1,
        };
        if first == b'\t' {
            (0..width).for_each(|_| self.echo_raw(b"\x08"));
        } else {
            (0..width).for_each(|_| self.echo_raw(b"\x08 \x08"));
        }
        self.column = self.column.saturating_sub(width);
    }

    /// How wide the tab is that would stand at the end of the line now.
    fn tab_width(&self) -> usize {
        let from = (self.line_start() - self.taken) as usize;
        let column = self.input.range(from.min(self.input.len())..).fold(self.line_column, |column, byte| match byte {
            b'\t' => (column | 7) + 1,
            0..0x20 | 0x7f => column + if self.has_l(libc::ECHOCTL) { 2 } else { 0 },
            0x80..0xc0 if self.has_i(libc::IUTF8) => column,
            _ => column + 1,
        });
        8 - column % 8
    }

    // To the screen.

    /// Shows a character; a control character as `^X`.
    fn echo(&mut self, c: u8) {
        if self.has_l(libc::ECHOCTL) && (c < 0x20 && c != b'\t' || c == 0x7f) {
            self.echo_raw(&[b'^', c ^ 0x40]);
            self.column += 2;
        } else {
            self.echo_processed(c);
        }
    }

    fn echo_processed(&mut self, c: u8) {
        let mut bytes = Vec::with_capacity(2);
        self.process(c, &mut bytes);
        self.echo_raw(&bytes);
    }

    /// Echo never waits: what finds no room is lost, as on Linux.
    fn echo_raw(&mut self, bytes: &[u8]) {
        let (queue, max) =
            if self.stopped { (&mut self.held, HELD_MAX) } else { (&mut self.output, OUTPUT_MAX + HELD_MAX) };
        if queue.len() + bytes.len() <= max {
            queue.extend(bytes);
        }
    }

    /// Output processing of one byte (`OPOST`).
    fn process(&mut self, c: u8, out: &mut Vec<u8>) {
        if !self.has_o(libc::OPOST) {
            out.push(c);
            return;
        }
        match c {
            b'\n' => {
                if self.has_o(libc::ONLCR) {
                    out.push(b'\r');
                }
                if self.has_o(libc::ONLCR) || self.has_o(libc::ONLRET) {
                    self.column = 0;
                    self.line_column = 0;
                }
                out.push(b'\n');
            }
            b'\r' if self.has_o(libc::ONOCR) && self.column == 0 => {}
            b'\r' if self.has_o(libc::OCRNL) => {
                if self.has_o(libc::ONLRET) {
                    self.column = 0;
                }
                out.push(b'\n');
            }
            b'\r' => {
                self.column = 0;
                self.line_column = 0;
                out.push(b'\r');
            }
            b'\t' => {
                let width = 8 - self.column % 8;
                self.column += width;
                if self.termios.oflag & libc::TABDLY == libc::XTABS {
                    out.extend(std::iter::repeat_n(b' ', width));
                } else {
                    out.push(b'\t');
                }
            }
            0x08 => {
                self.column = self.column.saturating_sub(1);
                out.push(c);
            }
            _ => {
                let c = if self.has_o(libc::OLCUC) { c.to_ascii_uppercase() } else { c };
                let is_continuation = self.has_i(libc::IUTF8) && c & 0xc0 == 0x80;
                if c >= 0x20 && c != 0x7f && !is_continuation {
                    self.column += 1;
                }
                out.push(c);
            }
        }
    }

    /// Takes output of a program; returns how much.
    pub(super) fn write(&mut self, bytes: &[u8]) -> usize {
        if self.stopped {
            return 0;
        }
        let mut processed = Vec::new();
        for (at, byte) in bytes.iter().enumerate() {
            // The widest that one byte can become is a tab in spaces.
            if self.output.len() + 8 > OUTPUT_MAX {
                return at;
            }
            processed.clear();
            self.process(*byte, &mut processed);
            self.output.extend(&processed);
        }
        bytes.len()
    }

    /// Whether a program may write.
    pub(super) fn is_writable(&self) -> bool {
        !self.stopped && self.output.len() + 8 <= OUTPUT_MAX
    }

    /// Takes bytes for the screen out.
    pub(super) fn take_output(&mut self, buf: &mut [u8]) -> usize {
        let count = buf.len().min(self.output.len());
        for (slot, byte) in buf.iter_mut().zip(self.output.drain(..count)) {
            *slot = byte;
        }
        count
    }

    /// How many bytes wait for the screen.
    pub(super) fn output_len(&self) -> usize {
        self.output.len()
    }

    /// Stops or starts output.
    pub(super) fn set_stopped(&mut self, stopped: bool) {
        self.stopped = stopped;
        if !stopped {
            let held = std::mem::take(&mut self.held);
            self.output.extend(held);
        }
    }

    // To the program.

    /// How much a read gets now at least; `None` if it has to wait. `min` is what non-canonical mode waits for.
    pub(super) fn readable(&self, min: usize) -> Option<usize> {
        if self.is_canonical() {
            let (end, _) = self.ends.front()?;
            return Some((end - self.taken) as usize);
        }
        (self.input.len() >= min.max(1)).then_some(self.input.len())
    }

    /// How much input waits (`FIONREAD`): in canonical mode that of whole lines.
    pub(super) fn input_len(&self) -> usize {
        if self.is_canonical() { (self.line_start() - self.taken) as usize } else { self.input.len() }
    }

    /// Takes input out: at most one line in canonical mode.
    pub(super) fn read(&mut self, buf: &mut [u8]) -> usize {
        let available = if self.is_canonical() {
            self.ends.front().map_or(0, |(end, _)| (end - self.taken) as usize)
        } else {
            self.input.len()
        };
        let count = buf.len().min(available);
        for (slot, byte) in buf.iter_mut().zip(self.input.drain(..count)) {
            *slot = byte;
        }
        self.taken += count as u64;
        if self.is_canonical() && self.ends.front().is_some_and(|(end, _)| *end == self.taken) {
            self.ends.pop_front();
        }
        count
    }

    /// Throws input away.
    pub(super) fn flush_input(&mut self) {
        self.taken += self.input.len() as u64;
        self.input.clear();
        self.ends.clear();
        self.literal = false;
    }

    /// Throws output away.
    pub(super) fn flush_output(&mut self) {
        self.output.clear();
        self.held.clear();
    }
}

#[cfg(test)]
mod tests;
