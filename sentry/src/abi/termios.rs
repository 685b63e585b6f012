//! `struct termios` and `struct winsize` as the kernel has them (`asm-generic/termbits.h`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// How many control characters there are (`NCCS` of the kernel, not of the C library).
pub const NCCS: usize = 19;

/// `struct termios`: what `TCGETS` and `TCSETS` carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "termios(3) documents them")]
pub struct Termios {
    pub iflag: u32,
    pub oflag: u32,
    pub cflag: u32,
    pub lflag: u32,
    pub line: u8,
    pub cc: [u8; NCCS],
}

/// `struct termios2`: with speeds as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "termios(3) documents them")]
pub struct Termios2 {
    pub termios: Termios,
    pub ispeed: u32,
    pub ospeed: u32,
}

/// `struct termio`, the oldest of them, with 8 control characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "termios(3) documents them")]
pub struct Termio {
    pub iflag: u16,
    pub oflag: u16,
    pub cflag: u16,
    pub lflag: u16,
    pub line: u8,
    pub cc: [u8; 8],
    pub pad: u8,
}

/// `struct winsize`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "ioctl_tty(2) documents them")]
pub struct Winsize {
    pub rows: u16,
    pub cols: u16,
    pub xpixel: u16,
    pub ypixel: u16,
}

impl Default for Termios {
    /// What a new pseudo-terminal has (`tty_std_termios`).
    fn default() -> Termios {
        let mut cc = [0; NCCS];
        let defaults = [
            (libc::VINTR, 0x03),
            (libc::VQUIT, 0x1c),
            (libc::VERASE, 0x7f),
            (libc::VKILL, 0x15),
            (libc::VEOF, 0x04),
            (libc::VTIME, 0),
            (libc::VMIN, 1),
            (libc::VSTART, 0x11),
            (libc::VSTOP, 0x13),
            (libc::VSUSP, 0x1a),
            (libc::VREPRINT, 0x12),
            (libc::VDISCARD, 0x0f),
            (libc::VWERASE, 0x17),
            (libc::VLNEXT, 0x16),
        ];
        for (at, value) in defaults {
            if let Some(slot) = cc.get_mut(at) {
                *slot = value;
            }
        }
        Termios {
            iflag: libc::ICRNL | libc::IXON,
            oflag: libc::OPOST | libc::ONLCR,
            cflag: libc::B38400 | libc::CS8 | libc::CREAD,
            lflag: libc::ISIG
                | libc::ICANON
                | libc::ECHO
                | libc::ECHOE
                | libc::ECHOK
                | libc::ECHOCTL
                | libc::ECHOKE
                | libc::IEXTEN,
            line: 0,
            cc,
        }
    }
}

impl Termios {
    /// No bit of anything.
    pub const NONE: Termios = Termios { iflag: 0, oflag: 0, cflag: 0, lflag: 0, line: 0, cc: [0; NCCS] };

    /// These modes, but as in `old` what has a bit in `fixed` (`unset_locked_termios`).
    #[must_use]
    pub fn with_fixed(self, old: &Termios, fixed: &Termios) -> Termios {
        let bits = |new: u32, old: u32, fixed: u32| new & !fixed | old & fixed;
        let byte = |new: u8, old: u8, fixed: u8| if fixed == 0 { new } else { old };
        let mut cc = self.cc;
        for (new, (old, fixed)) in cc.iter_mut().zip(old.cc.iter().zip(fixed.cc)) {
            *new = byte(*new, *old, fixed);
        }
        Termios {
            iflag: bits(self.iflag, old.iflag, fixed.iflag),
            oflag: bits(self.oflag, old.oflag, fixed.oflag),
            cflag: bits(self.cflag, old.cflag, fixed.cflag),
            lflag: bits(self.lflag, old.lflag, fixed.lflag),
            line: byte(self.line, old.line, fixed.line),
            cc,
        }
    }

    /// The control character at an index such as `VINTR`.
    pub fn cc(&self, at: usize) -> u8 {
        self.cc.get(at).copied().unwrap_or(0)
    }
}

impl Termios2 {
    /// With the speed that the modes name; a pseudo-terminal has no other.
    pub fn of(termios: Termios) -> Termios2 {
        let speed = baud(termios.cflag);
        Termios2 { termios, ispeed: speed, ospeed: speed }
    }
}

/// The speed that `c_cflag` names, in bits per second.
fn baud(cflag: u32) -> u32 {
    const SPEEDS: [(u32, u32); 20] = [
        (libc::B50, 50),
        (libc::B75, 75),
        (libc::B110, 110),
        (libc::B134, 134),
        (libc::B150, 150),
        (libc::B200, 200),
        (libc::B300, 300),
        (libc::B600, 600),
        (libc::B1200, 1200),
        (libc::B1800, 1800),
        (libc::B2400, 2400),
        (libc::B4800, 4800),
        (libc::B9600, 9600),
        (libc::B19200, 19200),
        (libc::B38400, 38400),
        (libc::B57600, 57600),
        (libc::B115200, 115_200),
        (libc::B230400, 230_400),
        (libc::B460800, 460_800),
        (libc::B921600, 921_600),
    ];
    let bits = cflag & libc::CBAUD;
    SPEEDS.iter().find(|(known, _)| *known == bits).map_or(0, |(_, speed)| *speed)
}

impl From<&rustix::termios::Termios> for Termios {
    fn from(host: &rustix::termios::Termios) -> Termios {
        use rustix::termios::SpecialCodeIndex as Code;
        let mut termios = Termios {
            iflag: host.input_modes.bits(),
            oflag: host.output_modes.bits(),
            cflag: host.control_modes.bits() & !(libc::CBAUD | libc::CIBAUD) | libc::B38400,
            lflag: host.local_modes.bits(),
            line: host.line_discipline,
            cc: [0; NCCS],
        };
        for (at, code) in CODES {
            let code: Code = code;
            if let Some(slot) = termios.cc.get_mut(at) {
                *slot = host.special_codes[code];
            }
        }
        termios
    }
}

impl Termios {
    /// Changes a host terminal's modes to these.
    pub fn apply_to(&self, host: &mut rustix::termios::Termios) {
        use rustix::termios::{ControlModes, InputModes, LocalModes, OutputModes};
        let speed = host.control_modes.bits() & (libc::CBAUD | libc::CIBAUD);
        let cflag = self.cflag & !(libc::CBAUD | libc::CIBAUD) | speed;
        host.input_modes = InputModes::from_bits_retain(self.iflag);
        host.output_modes = OutputModes::from_bits_retain(self.oflag);
        host.control_modes = ControlModes::from_bits_retain(cflag);
        host.local_modes = LocalModes::from_bits_retain(self.lflag);
        for (at, code) in CODES {
            host.special_codes[code] = self.cc(at);
        }
    }
}

/// Control characters by the kernel's index and by the host library's.
const CODES: [(usize, rustix::termios::SpecialCodeIndex); 17] = {
    use rustix::termios::SpecialCodeIndex as Code;
    [
        (libc::VINTR, Code::VINTR),
        (libc::VQUIT, Code::VQUIT),
        (libc::VERASE, Code::VERASE),
        (libc::VKILL, Code::VKILL),
        (libc::VEOF, Code::VEOF),
        (libc::VTIME, Code::VTIME),
        (libc::VMIN, Code::VMIN),
        (libc::VSWTC, Code::VSWTC),
        (libc::VSTART, Code::VSTART),
        (libc::VSTOP, Code::VSTOP),
        (libc::VSUSP, Code::VSUSP),
        (libc::VEOL, Code::VEOL),
        (libc::VREPRINT, Code::VREPRINT),
        (libc::VDISCARD, Code::VDISCARD),
        (libc::VWERASE, Code::VWERASE),
        (libc::VLNEXT, Code::VLNEXT),
        (libc::VEOL2, Code::VEOL2),
    ]
};
