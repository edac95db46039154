//! Env files (`.env`), read as `python-dotenv` reads them, because that is what pydantic-settings
//! and so the applications themselves do with the same file.
//!
//! The parser is our own: `dotenvy` also expands a bare `$`, which destroys passwords, and expands
//! from the daemon's environment, which must not reach an instance. Where `python-dotenv` warns
//! and drops a line, or makes an unknown `${NAME}` empty, this reader refuses the file instead.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use super::Secret;

/// The variables of a file, by name.
pub type Variables = BTreeMap<String, Secret>;

/// A file larger than this is no env file.
const LARGEST: usize = 1024 * 1024;

/// Why an env file cannot be used. Never contains a value.
#[derive(Debug, thiserror::Error)]
pub enum EnvFileError {
    /// It cannot be opened or read.
    #[error("env file {path}: cannot be read: {error}; create it, or correct `env_file`")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: std::io::Error,
    },
    /// It is a directory, a FIFO or a device.
    #[error("env file {0}: is not a regular file; correct `env_file`")]
    NotAFile(PathBuf),
    /// It is larger than 1 MiB.
    #[error("env file {0}: is larger than 1 MiB; check that it is the right file")]
    TooLarge(PathBuf),
    /// It is not UTF-8.
    #[error("env file {0}: is not UTF-8 text; save it as UTF-8")]
    NotText(PathBuf),
    /// A line is wrong.
    #[error("env file {path}, line {}: {}", wrong.line, wrong.what)]
    Line {
        /// The file.
        path: PathBuf,
        /// Which, and what.
        wrong: LineError,
    },
}

/// What is wrong with one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct LineError {
    /// Its number, from 1. Of a value over several lines: the first.
    pub line: usize,
    /// What is wrong, and what to write instead.
    pub what: String,
}

/// Reads the env file at `path`.
///
/// # Errors
/// Names the file, the line and the reason, never a value.
pub fn load_env_file(path: &Path) -> Result<Variables, EnvFileError> {
    let unreadable = |error| EnvFileError::Unreadable { path: path.to_owned(), error };
    // A FIFO without a writer would hold the daemon for ever.
    if !path.metadata().map_err(unreadable)?.is_file() {
        return Err(EnvFileError::NotAFile(path.to_owned()));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(LARGEST as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > LARGEST {
        return Err(EnvFileError::TooLarge(path.to_owned()));
    }
    let text = String::from_utf8(bytes).map_err(|_| EnvFileError::NotText(path.to_owned()))?;
    parse_env(&text).map_err(|wrong| EnvFileError::Line { path: path.to_owned(), wrong })
}

/// Reads the text of an env file. The last value of a name counts.
///
/// # Errors
/// The first line that is wrong.
pub fn parse_env(text: &str) -> Result<Variables, LineError> {
    let mut reader = Reader { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1 };
    let mut variables = Variables::new();
    while reader.skip_blank_and_comments() {
        let line = reader.line;
        let (name, value) = reader
            .binding()
            .and_then(|(name, value)| Ok((name, expand(&value, &variables)?)))
            .map_err(|what| LineError { line, what })?;
        variables.insert(name, Secret::new(value));
    }
    Ok(variables)
}

struct Reader<'t> {
    rest: &'t str,
    line: usize,
}

impl<'t> Reader<'t> {
    /// Goes on by `bytes`, counting the lines in them; `\r\n` and a lone `\r` end one too.
    fn take(&mut self, bytes: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        let lone = taken.matches('\r').count() - taken.matches("\r\n").count();
        self.line += taken.matches('\n').count() + lone;
        self.rest = rest;
        taken
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        self.take(self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len()))
    }

    /// Goes to the next binding; false at the end.
    fn skip_blank_and_comments(&mut self) -> bool {
        loop {
            self.take_while(char::is_whitespace);
            if !self.rest.starts_with('#') {
                return !self.rest.is_empty();
            }
            self.take_while(in_line);
        }
    }

    fn binding(&mut self) -> Result<(String, String), String> {
        if let Some(after) = self.rest.strip_prefix("export")
            && after.starts_with(is_blank)
        {
            self.take("export".len());
            self.take_while(is_blank);
        }
        let name = self.name()?;
        self.take_while(is_blank);
        if !self.rest.starts_with('=') {
            let what = shown(&name, "what stands here");
            return Err(format!("{what} has no `=` after it; write NAME=value"));
        }
        self.take(1);
        let gap = !self.take_while(is_blank).is_empty();
        let value = match self.rest.chars().next() {
            Some('#') if gap => String::new(),
            Some(quote @ ('"' | '\'')) => self.quoted(quote)?,
            _ => return Ok((name, self.unquoted()?)),
        };
        self.take_while(is_blank);
        let trailing = self.take_while(in_line);
        if trailing.is_empty() || trailing.starts_with('#') {
            Ok((name, value))
        } else {
            Err("something follows the closing quote; write `\\` before a quote in the value"
                .to_owned())
        }
    }

    fn name(&mut self) -> Result<String, String> {
        let name = if self.rest.starts_with('\'') {
            self.take(1);
            let name = self.take_while(|c| in_line(c) && c != '\'');
            if self.take(1) != "'" {
                return Err("the quote around the name is not closed".to_owned());
            }
            name
        } else {
            self.take_while(|c| !c.is_whitespace() && c != '=' && c != '#')
        };
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err("there is no name before `=`; write NAME=value".to_owned());
        }
        Ok(name.to_owned())
    }

    /// To the closing quote, maybe lines away. A backslash always belongs to what follows it.
    fn quoted(&mut self, quote: char) -> Result<String, String> {
        self.take(1);
        let mut escaped = false;
        let end = self.rest.find(|c| {
            let closes = c == quote && !escaped;
            escaped = c == '\\' && !escaped;
            closes
        });
        let end = end.ok_or_else(|| format!("the quote {quote} is never closed"))?;
        let value = self.take(end);
        self.take(1);
        no_zero(unescape(value, quote))
    }

    fn unquoted(&mut self) -> Result<String, String> {
        let line = self.take_while(in_line);
        // A `#` at the very start is the value's own: a blank before it was looked at earlier.
        let mut before = '#';
        let comment = line.find(|c: char| {
            let begins = c == '#' && before.is_whitespace();
            before = c;
            begins
        });
        let comment = comment.unwrap_or(line.len());
        no_zero(line.get(..comment).unwrap_or(line).trim_end().to_owned())
    }
}

fn in_line(c: char) -> bool {
    !matches!(c, '\r' | '\n')
}

fn is_blank(c: char) -> bool {
    c.is_whitespace() && in_line(c)
}

/// A name for a message, or `otherwise`: what stands there may be half of a password that was
/// broken over two lines, so only what looks like a name is shown.
fn shown(name: &str, otherwise: &str) -> String {
    let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let is_plain = !name.is_empty() && name.len() <= 64 && name.chars().all(plain);
    if is_plain { format!("`{name}`") } else { otherwise.to_owned() }
}

/// The kernel ends a variable at a zero byte.
fn no_zero(value: String) -> Result<String, String> {
    if value.contains('\0') { Err("contains a zero byte".to_owned()) } else { Ok(value) }
}

/// In double quotes: `\\ \' \" \a \b \f \n \r \t \v`; in single quotes `\\` and `\'`. Any other
/// backslash stays.
fn unescape(value: &str, quote: char) -> String {
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match (chars.next(), quote) {
            (Some(c @ ('\\' | '\'')), _) | (Some(c @ '"'), '"') => plain.push(c),
            (Some('a'), '"') => plain.push('\x07'),
            (Some('b'), '"') => plain.push('\x08'),
            (Some('f'), '"') => plain.push('\x0c'),
            (Some('n'), '"') => plain.push('\n'),
            (Some('r'), '"') => plain.push('\r'),
            (Some('t'), '"') => plain.push('\t'),
            (Some('v'), '"') => plain.push('\x0b'),
            (other, _) => plain.extend(std::iter::once('\\').chain(other)),
        }
    }
    plain
}

/// `${NAME}` and `${NAME:-default}` from the lines before, in every kind of quotes; a bare `$`
/// is a character like any other.
fn expand(value: &str, known: &Variables) -> Result<String, String> {
    let mut expanded = String::with_capacity(value.len());
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("${") {
        expanded.push_str(before);
        let Some((reference, tail)) = reference(after) else {
            expanded.push_str("${");
            rest = after;
            continue;
        };
        let (name, default) = reference;
        match (known.get(name), default) {
            (Some(value), _) => expanded.push_str(value.expose()),
            (None, Some(default)) => expanded.push_str(default),
            (None, None) => {
                return Err(format!(
                    "refers to {}, which is not set above it in this file; set it, or write \
                     ${{NAME:-default}}",
                    shown(name, "a `${...}`")
                ));
            }
        }
        rest = tail;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// A name, its default, and what follows the closing brace.
type Reference<'v> = ((&'v str, Option<&'v str>), &'v str);

/// What stands behind `${`, by `python-dotenv`'s pattern `[^}:]* (:- [^}]*)? }`.
fn reference(after: &str) -> Option<Reference<'_>> {
    let (inner, tail) = after.split_once('}')?;
    match inner.split_once(':') {
        None => Some(((inner, None), tail)),
        Some((name, default)) => Some(((name, Some(default.strip_prefix('-')?)), tail)),
    }
}

#[cfg(test)]
#[path = "env_file_tests.rs"]
mod tests;
