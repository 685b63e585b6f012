//! Keys in, lines out.

use super::*;

fn typed(d: &mut Discipline, text: &[u8]) -> Effects {
    let mut effects = Effects::default();
    text.iter().for_each(|byte| d.receive(*byte, &mut effects));
    effects
}

fn read(d: &mut Discipline) -> Vec<u8> {
    let mut buf = [0; 256];
    let count = d.read(&mut buf);
    buf[..count].to_vec()
}

fn shown(d: &mut Discipline) -> String {
    let mut buf = [0; 256];
    let count = d.take_output(&mut buf);
    String::from_utf8_lossy(&buf[..count]).into_owned()
}

fn cooked() -> Discipline {
    Discipline::new(Termios::default())
}

#[test]
fn a_line_is_read_when_it_is_complete() {
    let mut d = cooked();
    typed(&mut d, b"one");
    assert_eq!(d.readable(1), None);
    typed(&mut d, b"\rtwo\n");
    assert_eq!(read(&mut d), b"one\n");
    assert_eq!(read(&mut d), b"two\n");
    assert_eq!(shown(&mut d), "one\r\ntwo\r\n");
}

#[test]
fn erasing_takes_characters_words_and_lines() {
    let mut d = cooked();
    typed(&mut d, b"ab\x7fc\n");
    assert_eq!(read(&mut d), b"ac\n");
    typed(&mut d, b"one two\x17three\n");
    assert_eq!(read(&mut d), b"one three\n");
    typed(&mut d, b"gone\x15kept\n");
    assert_eq!(read(&mut d), b"kept\n");
    let mut d = cooked();
    typed(&mut d, b"a\x01\x7f\x7f\x7f");
    assert_eq!(shown(&mut d), "a^A\x08 \x08\x08 \x08\x08 \x08");
}

#[test]
fn a_character_of_several_bytes_is_erased_as_one() {
    let mut d = Discipline::new(Termios { iflag: libc::ICRNL | libc::IUTF8, ..Termios::default() });
    typed(&mut d, "aä€".as_bytes());
    typed(&mut d, b"\x7f\x7f\n");
    assert_eq!(read(&mut d), b"a\n");
}

#[test]
fn end_of_file_ends_a_read() {
    let mut d = cooked();
    typed(&mut d, b"part\x04");
    assert_eq!(read(&mut d), b"part");
    assert_eq!(d.readable(1), None);
    typed(&mut d, b"\x04");
    assert_eq!(d.readable(1), Some(0));
    assert_eq!(read(&mut d), b"");
    assert_eq!(d.readable(1), None);
}

#[test]
fn keys_raise_signals_and_flush() {
    let mut d = cooked();
    let effects = typed(&mut d, b"junk\x03");
    assert_eq!(effects.signals, [libc::SIGINT]);
    assert!(effects.flushed);
    assert_eq!(shown(&mut d), "^C");
    typed(&mut d, b"\n");
    assert_eq!(read(&mut d), b"\n");
    assert_eq!(typed(&mut d, b"\x1a\x1c").signals, [libc::SIGTSTP, libc::SIGQUIT]);
}

#[test]
fn the_next_character_can_be_literal() {
    let mut d = cooked();
    assert!(typed(&mut d, b"\x16\x03\n").signals.is_empty());
    assert_eq!(read(&mut d), b"\x03\n");
}

#[test]
fn output_stops_and_starts() {
    let mut d = cooked();
    typed(&mut d, b"\x13");
    assert_eq!(d.write(b"late"), 0);
    typed(&mut d, b"x");
    assert_eq!(shown(&mut d), "");
    typed(&mut d, b"\x11");
    assert_eq!(d.write(b"late"), 4);
    assert_eq!(shown(&mut d), "xlate");
}

#[test]
fn raw_mode_passes_everything() {
    let mut d = Discipline::new(Termios { iflag: 0, oflag: 0, lflag: 0, ..Termios::default() });
    assert_eq!(typed(&mut d, b"\x03\r\x7f"), Effects::default());
    assert_eq!(d.readable(3), Some(3));
    assert_eq!(d.readable(4), None);
    assert_eq!(read(&mut d), b"\x03\r\x7f");
    d.write(b"a\nb");
    assert_eq!(shown(&mut d), "a\nb");
}

#[test]
fn a_full_line_takes_its_end_only() {
    let mut d = cooked();
    typed(&mut d, &[b'a'; 5000]);
    typed(&mut d, b"\n");
    assert_eq!(d.readable(1), Some(LINE_MAX + 1));
}

#[test]
fn leaving_canonical_mode_frees_the_line() {
    let mut d = cooked();
    typed(&mut d, b"half");
    d.set_termios(Termios { lflag: 0, ..Termios::default() });
    assert_eq!(d.readable(1), Some(4));
}
