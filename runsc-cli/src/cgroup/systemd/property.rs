//! Properties of a unit that annotations of a container set: `org.systemd.property.NAME`, with a value in the text form
//! of D-Bus's variants, as runc has it.

use super::wire::Value;
use anyhow::{Context, Result, bail};
use std::collections::HashMap;

/// What such annotations begin with.
const PREFIX: &str = "org.systemd.property.";

/// Those among the annotations, by name.
pub(super) fn of(annotations: &HashMap<String, String>) -> Result<Vec<(String, Value)>> {
    let named = annotations.iter().filter_map(|(key, text)| Some((key, key.strip_prefix(PREFIX)?, text)));
    let mut found = named
        .map(|(key, name, text)| property(name, text).with_context(|| format!("annotation {key}: {text}")))
        .collect::<Result<Vec<_>>>()?;
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found)
}

fn property(name: &str, text: &str) -> Result<(String, Value)> {
    if name.len() < 3 || !name.chars().all(|c| c.is_ascii_alphabetic()) {
        bail!("no name of a property: {name}");
    }
    let value = parse(text.trim())?;
    // Units' files have seconds, properties microseconds.
    match name.strip_suffix("Sec").filter(|stem| stem.ends_with(|c: char| c.is_ascii_lowercase())) {
        Some(stem) => Ok((format!("{stem}USec"), Value::U64(microseconds(&value)?))),
        None => Ok((name.to_owned(), value)),
    }
}

fn microseconds(seconds: &Value) -> Result<u64> {
    let seconds = match seconds {
        Value::I32(n) => u64::try_from(*n).ok(),
        Value::I64(n) => u64::try_from(*n).ok(),
        Value::U32(n) => Some(u64::from(*n)),
        Value::U64(n) => Some(*n),
        _ => None,
    };
    seconds.and_then(|seconds| seconds.checked_mul(1_000_000)).context("no number of seconds")
}

fn parse(text: &str) -> Result<Value> {
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return strings(inner).map(Value::Strings);
    }
    if text.starts_with(['\'', '"']) {
        let (string, rest) = quoted(text)?;
        return if rest.is_empty() { Ok(Value::String(string)) } else { bail!("text behind a value: {rest}") };
    }
    let (kind, number) = text.split_once(' ').map_or(("int32", text), |(kind, number)| (kind, number.trim()));
    Ok(match (kind, number) {
        (_, "true") => Value::Bool(true),
        (_, "false") => Value::Bool(false),
        ("int32", n) => Value::I32(n.parse().context("no number")?),
        ("uint32", n) => Value::U32(n.parse().context("no number")?),
        ("int64", n) => Value::I64(n.parse().context("no number")?),
        ("uint64", n) => Value::U64(n.parse().context("no number")?),
        (kind, _) => bail!("values of type {kind} are not supported"),
    })
}

/// A string in quotes, without escapes, and what is behind it.
fn quoted(text: &str) -> Result<(String, &str)> {
    let mut chars = text.chars();
    let quote = chars.next().filter(|c| matches!(c, '\'' | '"')).context("a string needs quotes")?;
    let (inner, rest) = chars.as_str().split_once(quote).context("a quote without its end")?;
    if inner.contains(['\\', '\0']) {
        bail!("escapes are not supported");
    }
    Ok((inner.to_owned(), rest.trim_start()))
}

fn strings(inner: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = inner.trim();
    while !rest.is_empty() {
        let (string, behind) = quoted(rest)?;
        found.push(string);
        rest = match behind.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if behind.is_empty() => behind,
            None => bail!("strings need commas between them"),
        };
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_types() {
        let parsed = |text: &str| parse(text).ok();
        assert_eq!(parsed("true"), Some(Value::Bool(true)));
        assert_eq!(parsed("7"), Some(Value::I32(7)));
        assert_eq!(parsed("uint64 7"), Some(Value::U64(7)));
        assert_eq!(parsed("'a b'"), Some(Value::String("a b".into())));
        assert_eq!(parsed("['a', \"b\"]"), Some(Value::Strings(vec!["a".into(), "b".into()])));
        assert_eq!((parsed("word"), parsed("'a"), parsed("['a' 'b']"), parsed("double 1")), (None, None, None, None));
    }

    #[test]
    fn annotations_set_properties() {
        let given = |name: &str, text: &str| of(&HashMap::from([(format!("{PREFIX}{name}"), text.to_owned())])).ok();
        assert_eq!(given("TimeoutStopSec", "5"), Some(vec![("TimeoutStopUSec".into(), Value::U64(5_000_000))]));
        assert_eq!(given("TimeoutStopUSec", "uint64 5"), Some(vec![("TimeoutStopUSec".into(), Value::U64(5))]));
        assert_eq!((given("x", "5"), given("A-b", "5"), given("TimeoutStopSec", "-1")), (None, None, None));
        assert_eq!(of(&HashMap::from([("other".to_owned(), "?".to_owned())])).ok(), Some(Vec::new()));
    }
}
