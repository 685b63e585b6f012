//! What is wrong with a command line, in one line: what the parser says of it takes several.

use clap::error::ErrorKind;
use std::process::ExitCode;

/// Says what is wrong, or shows the help or version that was asked for; the status to exit with.
pub(crate) fn report(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A reader that went away has read what it wanted.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
        }
        _ => crate::log::error(&one_line(&error.render().to_string())),
    }
    ExitCode::FAILURE
}

/// The first paragraph of what the parser says, and where there is more to read.
fn one_line(text: &str) -> String {
    let paragraph: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let what = paragraph.join(" ");
    let what = what.strip_prefix("error: ").unwrap_or(&what);
    format!("{what}; see {} --help", command(text))
}

/// `runsc` and its command, from the line of usage.
fn command(text: &str) -> String {
    let usage = text.lines().find_map(|line| line.strip_prefix("Usage: ")).unwrap_or("runsc");
    let is_name = |word: &&str| word.starts_with(|c: char| c.is_ascii_lowercase());
    usage.split(' ').take_while(is_name).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    fn said(args: &[&str]) -> String {
        let error = crate::Cli::try_parse_from(args).expect_err("it is wrong");
        one_line(&error.render().to_string())
    }

    #[test]
    fn one_line_says_what_and_where_to_read_more() {
        crate::Cli::command().debug_assert();
        assert_eq!(said(&["runsc", "run", "--frob", "id"]), "unexpected argument '--frob' found; see runsc run --help");
        assert_eq!(
            said(&["runsc", "do"]),
            "the following required arguments were not provided: <PROGRAM>...; see runsc do --help"
        );
        assert_eq!(
            said(&["runsc", "--platform", "x", "list"]),
            "invalid value 'x' for '--platform <PLATFORM>' [possible values: notify, ptrace]; see runsc --help"
        );
    }
}
