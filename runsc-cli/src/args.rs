//! Arguments in the forms that engines write them: those of Go's flag packages.

use crate::foreign;
use clap::{Arg, ArgAction, Command};
use std::ffi::OsString;

/// Rewrites `-flag` to `--flag`, and `--flag=true` or `=false` of a flag without a value to its presence or absence,
/// up to where a program's own arguments begin. Flags of gVisor's without a meaning here go to `ignored`.
pub(crate) fn normalize(
    cli: &Command,
    args: impl Iterator<Item = OsString>,
    ignored: &mut Vec<String>,
) -> Vec<OsString> {
    let mut args = args;
    let mut out: Vec<OsString> = args.next().into_iter().collect();
    let mut scope = vec![cli];
    let mut positionals = 0;
    while let Some(arg) = args.next() {
        let Some(text) = arg.to_str().map(str::to_owned) else {
            out.push(arg);
            continue;
        };
        let Some(body) = text.strip_prefix('-').filter(|body| !body.is_empty() && *body != "-") else {
            out.push(arg);
            if text == "--" {
                break;
            }
            match scope.last().and_then(|command| command.find_subcommand(&text)) {
                Some(sub) if scope.len() == 1 => scope.push(sub),
                _ => {
                    positionals += 1;
                    if scope.last().is_some_and(|command| ends_options(command, positionals)) {
                        break;
                    }
                }
            }
            continue;
        };
        let body = body.strip_prefix('-').unwrap_or(body);
        let (name, value) = body.split_once('=').map_or((body, None), |(name, value)| (name, Some(value)));
        let Some(found) = scope.iter().rev().find_map(|command| long(command, name)) else {
            if scope.len() == 1
                && let Some(takes_value) = foreign::takes_value(name)
            {
                if takes_value && value.is_none() {
                    args.next();
                }
                ignored.push(format!("--{name}"));
                continue;
            }
            // Short flags, and what the parser is to complain about.
            let takes_next = value.is_none() && scope.iter().rev().any(|c| short_takes_value(c, &text));
            out.push(arg);
            out.extend(takes_next.then(|| args.next()).flatten());
            continue;
        };
        let is_switch = matches!(found.get_action(), ArgAction::SetTrue | ArgAction::Help | ArgAction::Version);
        match value {
            Some("true" | "1" | "t") if is_switch => out.push(format!("--{name}").into()),
            Some("false" | "0" | "f") if is_switch => {}
            _ => out.push(format!("--{body}").into()),
        }
        if !is_switch && value.is_none() {
            let count = found.get_num_args().map_or(1, |n| n.min_values());
            out.extend(args.by_ref().take(count));
        }
    }
    out.extend(args);
    out
}

/// Whether what follows the positional argument of this number belongs to a program.
fn ends_options(command: &Command, positionals: usize) -> bool {
    let last = command.get_positionals().last();
    last.is_some_and(|arg| {
        arg.is_trailing_var_arg_set() && arg.get_index().is_some_and(|index| positionals + 1 >= index)
    })
}

fn long<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command
        .get_arguments()
        .find(|arg| arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|a| a.contains(&name)))
}

fn short_takes_value(command: &Command, text: &str) -> bool {
    let mut letters = text.chars().skip(1);
    let (Some(letter), None) = (letters.next(), letters.next()) else { return false };
    let found = command.get_arguments().find(|arg| arg.get_short() == Some(letter));
    found.is_some_and(|arg| matches!(arg.get_action(), ArgAction::Set | ArgAction::Append))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn normalized(args: &[&str]) -> Vec<String> {
        let mut cli = crate::Cli::command();
        cli.build();
        let out = normalize(&cli, args.iter().map(OsString::from), &mut Vec::new());
        out.into_iter().map(|arg| arg.into_string().expect("text")).collect()
    }

    #[test]
    fn forms_of_go_are_understood() {
        assert_eq!(
            normalized(&["runsc", "-root", "/x", "delete", "-force", "id"]),
            ["runsc", "--root", "/x", "delete", "--force", "id"]
        );
        assert_eq!(normalized(&["runsc", "delete", "--force=true", "id"]), ["runsc", "delete", "--force", "id"]);
        assert_eq!(normalized(&["runsc", "delete", "id", "--force=false"]), ["runsc", "delete", "id"]);
        assert_eq!(normalized(&["runsc", "create", "-bundle=/b", "id"]), ["runsc", "create", "--bundle=/b", "id"]);
    }

    #[test]
    fn flags_of_gvisor_are_left_out() {
        let args = ["runsc", "--directfs=false", "-host-uds", "all", "--root=/x", "run", "--host-uds=all", "id"];
        assert_eq!(normalized(&args), ["runsc", "--root=/x", "run", "--host-uds=all", "id"]);
    }

    #[test]
    fn arguments_of_programs_stay() {
        let exec = ["runsc", "exec", "-t", "id", "ls", "-detach", "--tty=true"];
        assert_eq!(normalized(&exec), exec);
        let run = ["runsc", "do", "ls", "-root", "x"];
        assert_eq!(normalized(&run), run);
    }
}
