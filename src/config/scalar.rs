//! Readers of single values. Each says what it expected; none of them touches the host.

use std::{net::IpAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use jiff::SignedDuration;

use super::{
    mistake::Wrong,
    tree::{Node, Value},
};
use crate::ident::{Port, ServiceName};

/// No wait of ours is meant to be longer: 31 days.
const LONGEST: Duration = Duration::from_secs(31 * 24 * 3600);

pub(super) fn expected(what: &str, node: &Node) -> Wrong {
    Wrong::new(format!("expected {what}, found {}", node.kind()))
}

/// `given` for a message: short, and without characters that would disturb a terminal.
pub(super) fn shown(given: &str) -> String {
    given.chars().take(64).flat_map(char::escape_debug).collect()
}

/// Non-empty text on one line.
pub(super) fn text(node: &Node) -> Result<String, Wrong> {
    match &node.value {
        Value::Text(text) if text.is_empty() => Err(Wrong::new("is empty")),
        Value::Text(text) if text.contains(char::is_control) => {
            Err(Wrong::new("contains a control character").instead("write it on one line"))
        }
        Value::Text(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
            Err(expected("text", node).instead("write it in quotes"))
        }
        Value::Null | Value::List(_) | Value::Map(_) => Err(expected("text", node)),
    }
}

/// `true` or `false`; nothing else is a boolean.
pub(super) fn boolean(node: &Node) -> Result<bool, Wrong> {
    match &node.value {
        Value::Bool(value) => Ok(*value),
        Value::Text(word) => {
            let wrong = Wrong::new(format!("`{}` is not a boolean", shown(word)));
            Err(match word.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" => wrong.instead("write true"),
                "no" | "off" | "n" => wrong.instead("write false"),
                _ => wrong.instead("write true or false"),
            })
        }
        _ => Err(expected("true or false", node)),
    }
}

/// A whole number within `range`.
pub(super) fn whole<T: TryFrom<i64>>(
    range: RangeInclusive<i64>,
) -> impl Fn(&Node) -> Result<T, Wrong> {
    move |node| match node.value {
        Value::Int(number) => Some(number)
            .filter(|number| range.contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| {
                Wrong::new(format!("{number} is out of range")).instead(format!(
                    "use {} to {}",
                    range.start(),
                    range.end()
                ))
            }),
        _ => Err(expected("a whole number", node)),
    }
}

/// The growth of a back-off: 1 to 100.
pub(super) fn factor(node: &Node) -> Result<f64, Wrong> {
    let number = match node.value {
        Value::Float(number) => number,
        Value::Int(number @ 0..=1000) => f64::from(i16::try_from(number).unwrap_or(i16::MAX)),
        Value::Int(_) => f64::INFINITY,
        _ => return Err(expected("a number", node)),
    };
    if (1.0..=100.0).contains(&number) {
        Ok(number)
    } else {
        Err(Wrong::new("is out of range").instead("use 1 to 100"))
    }
}

/// A time such as `500ms`, `10s` or `1m30s`; may be zero.
pub(super) fn duration(node: &Node) -> Result<Duration, Wrong> {
    const EXAMPLES: &str = "write for example 500ms, 10s or 1m30s";
    let text = match &node.value {
        Value::Int(number) => {
            let wrong = Wrong::new(format!("{number} has no unit"));
            return Err(wrong.instead(format!("write {number}s")));
        }
        Value::Text(text) => text,
        _ => return Err(expected("a duration", node).instead(EXAMPLES)),
    };
    let given = text.parse::<SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok());
    match given {
        Some(given) if given > LONGEST => {
            Err(Wrong::new(format!("`{}` is too long", shown(text))).instead("use at most 744h"))
        }
        Some(given) => Ok(given),
        None => Err(Wrong::new(format!("`{}` is not a duration", shown(text))).instead(EXAMPLES)),
    }
}

/// A time that zero would make senseless.
pub(super) fn some_time(node: &Node) -> Result<Duration, Wrong> {
    match duration(node)? {
        Duration::ZERO => Err(Wrong::new("must be longer than zero")),
        given => Ok(given),
    }
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(words: &'static [(&str, T)]) -> impl Fn(&Node) -> Result<T, Wrong> {
    move |node| {
        let known = || words.iter().map(|(word, _)| *word);
        let list = known().collect::<Vec<_>>().join(", ");
        let Value::Text(given) = &node.value else {
            return Err(expected(&format!("one of {list}"), node));
        };
        words.iter().find(|(word, _)| word == given).map(|(_, value)| *value).ok_or_else(|| {
            Wrong::new(format!("`{}` is not one of {list}", shown(given))).like(given, known())
        })
    }
}

/// A TCP port.
pub(super) fn port(node: &Node) -> Result<Port, Wrong> {
    whole::<u16>(1..=65535)(node)
        .and_then(|port| Port::new(port).ok_or_else(|| Wrong::new("0 is not a port")))
}

/// An IP address to listen on.
pub(super) fn address(node: &Node) -> Result<IpAddr, Wrong> {
    let given = text(node)?;
    given.parse().map_err(|_| {
        Wrong::new(format!("`{}` is not an IP address", shown(&given)))
            .instead("write for example 127.0.0.1")
    })
}

/// A path, as it was written.
pub(super) fn path(node: &Node) -> Result<PathBuf, Wrong> {
    text(node).map(PathBuf::from)
}

/// Path and query of a request.
pub(super) fn request_path(node: &Node) -> Result<String, Wrong> {
    check_request_path(&text(node)?)
}

/// The rule of [`request_path`].
pub(super) fn check_request_path(given: &str) -> Result<String, Wrong> {
    if !given.starts_with('/') {
        let wrong = Wrong::new(format!("`{}` does not begin with `/`", shown(given)));
        return Err(wrong.instead("write for example /health"));
    }
    if given.chars().all(|c| c.is_ascii_graphic()) && !given.contains('#') {
        Ok(given.to_owned())
    } else {
        Err(Wrong::new(format!("`{}` cannot be requested as it is", shown(given)))
            .instead("write blanks, `#` and characters beyond ASCII as %XX"))
    }
}

/// A name that may become nginx syntax.
pub(super) fn service_name(node: &Node) -> Result<ServiceName, Wrong> {
    text(node)?.parse().map_err(|error: crate::ident::InvalidName| Wrong::new(error.to_string()))
}

/// Name of a user or a group (`useradd(8)`, without its exotic exceptions).
pub(super) fn account(node: &Node) -> Result<String, Wrong> {
    let given = text(node)?;
    check_account(&given).map(|()| given)
}

/// The rule of [`account`].
pub(super) fn check_account(given: &str) -> Result<(), Wrong> {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let head = given.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if head && given.len() <= 32 && given.chars().all(word) {
        Ok(())
    } else {
        Err(Wrong::new(format!("`{}` is not the name of a user or group", shown(given))))
    }
}

/// What uvicorn imports: `module:attribute`.
pub(super) fn import(node: &Node) -> Result<String, Wrong> {
    let given = text(node)?;
    let dotted = |part: &str| part.split('.').all(is_identifier);
    match given.split_once(':') {
        Some((module, attribute)) if dotted(module) && dotted(attribute) => Ok(given),
        Some((_, attribute)) if attribute.ends_with(')') => {
            let called = given.split('(').next().unwrap_or_default();
            Err(Wrong::new(format!("`{}` is a call", shown(&given)))
                .instead(format!("write `{}` and args: [--factory]", shown(called))))
        }
        _ => Err(Wrong::new(format!("`{}` is not module:attribute", shown(&given)))
            .instead("write for example app.main:app")),
    }
}

fn is_identifier(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && word.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// One of uvicorn's own words, or `module:attribute` of another implementation.
pub(super) fn word_or_import(
    words: &'static [(&str, &'static str)],
) -> impl Fn(&Node) -> Result<String, Wrong> {
    move |node| match &node.value {
        Value::Text(given) if given.contains(':') => import(node),
        _ => one_of(words)(node).map(str::to_owned),
    }
}
