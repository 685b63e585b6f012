//! `#!` programs: `fs/binfmt_script.c`.

use crate::errno::{Errno, SysResult};

/// Linux looks at no more of the first line than this (`BINPRM_BUF_SIZE`).
const LINE_MAX: usize = 256;

/// An interpreter's name and its one optional argument.
type Interpreter = (Vec<u8>, Option<Vec<u8>>);

/// The interpreter that the first line names; `None` if this is no script.
pub(super) fn interpreter(head: &[u8]) -> SysResult<Option<Interpreter>> {
    let Some(rest) = head.strip_prefix(b"#!") else { return Ok(None) };
    let window = rest.get(..LINE_MAX - 2).unwrap_or(rest);
    let line = match window.iter().position(|b| *b == b'\n') {
        Some(end) => window.get(..end).unwrap_or_default(),
        // A name that may go on beyond the window is not run as if it ended there.
        None if rest.len() > window.len() && !trim(window).iter().any(|b| is_blank(*b)) => {
            return Err(Errno::NOEXEC);
        }
        None => window,
    };
    let line = line.split(|b| *b == 0).next().unwrap_or_default();
    let line = trim(line);
    let end = line.iter().position(|b| is_blank(*b)).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    if name.is_empty() {
        return Err(Errno::NOEXEC);
    }
    let arg = trim(rest);
    Ok(Some((name.to_vec(), (!arg.is_empty()).then(|| arg.to_vec()))))
}

fn is_blank(b: u8) -> bool {
    b == b' ' || b == b'\t'
}

fn trim(mut line: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = line
        && is_blank(*first)
    {
        line = rest;
    }
    while let [rest @ .., last] = line
        && is_blank(*last)
    {
        line = rest;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines() {
        let parse = |s: &str| interpreter(s.as_bytes());
        assert_eq!(parse("\x7fELF"), Ok(None));
        assert_eq!(parse("#!/bin/sh\necho"), Ok(Some((b"/bin/sh".to_vec(), None))));
        assert_eq!(parse("#! \t/bin/sh  -e -x \n"), Ok(Some((b"/bin/sh".to_vec(), Some(b"-e -x".to_vec())))));
        assert_eq!(parse("#!\n"), Err(Errno::NOEXEC));
        assert_eq!(parse("#!/bin/sh"), Ok(Some((b"/bin/sh".to_vec(), None))));
        let long = format!("#!/{}\n", "x".repeat(300));
        assert_eq!(parse(&long), Err(Errno::NOEXEC));
    }
}
