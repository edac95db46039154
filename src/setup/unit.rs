//! A unit of systemd, as its files say it: systemd.unit(5), systemd.service(5). Pure.

use std::collections::BTreeMap;

/// What stands in `[Service]`, with specifiers replaced; the name it was asked for by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Unit {
    /// `ai-bookkeeping-api@8000`.
    pub(super) name: String,
    /// Every value of each key, in order; an empty one forgets those before it.
    values: BTreeMap<String, Vec<String>>,
}

impl Unit {
    /// Reads `texts`: the unit's file, and what is dropped in beside it.
    pub(super) fn parse(name: &str, texts: &[String]) -> Self {
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for text in texts {
            let mut section = String::new();
            for line in lines(text) {
                if let Some(head) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                    head.clone_into(&mut section);
                } else if let (true, Some((key, value))) =
                    (section == "Service", line.split_once('='))
                {
                    let known = values.entry(key.trim().to_owned()).or_default();
                    match value.trim() {
                        "" => known.clear(),
                        value => known.push(specified(value, name)),
                    }
                }
            }
        }
        Self { name: name.to_owned(), values }
    }

    /// Every value of `key`.
    pub(super) fn all(&self, key: &str) -> &[String] {
        self.values.get(key).map_or(&[], Vec::as_slice)
    }

    /// The value of `key` that counts: the last one.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.all(key).last().map(String::as_str)
    }

    /// Every key that is set.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.iter().filter(|(_, all)| !all.is_empty()).map(|(key, _)| key.as_str())
    }

    /// The part of its name before `@`, or all of it.
    pub(super) fn prefix(&self) -> &str {
        self.name.split('@').next().unwrap_or(&self.name)
    }

    /// `Environment=`, in order.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let words = self.all("Environment").iter().flat_map(|line| words(line));
        let pair = |word: String| {
            word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
        };
        words.filter_map(pair).collect()
    }
}

/// Lines without comments; one that ends with a backslash goes on in the next.
fn lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut begun = String::new();
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(part) = line.strip_suffix('\\') {
            begun.push_str(part);
            begun.push(' ');
            continue;
        }
        let whole = std::mem::take(&mut begun) + line;
        lines.extend((!whole.trim().is_empty()).then(|| whole.trim().to_owned()));
    }
    lines
}

/// The specifiers that are about the unit's name; others stay as they are.
fn specified(value: &str, name: &str) -> String {
    let instance = name.split_once('@').map_or("", |(_, instance)| instance);
    let prefix = name.split('@').next().unwrap_or(name);
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        match chars.next() {
            Some('i') => text.push_str(instance),
            // `-` stands for `/`.
            Some('I') => text.push_str(&instance.replace('-', "/")),
            Some('p') => text.push_str(prefix),
            Some('N') => text.push_str(name),
            Some('n') => text.extend([name, ".service"]),
            Some('%') => text.push('%'),
            other => text.extend(['%'].into_iter().chain(other)),
        }
    }
    text
}

/// A command line, or a list of assignments, in words: quotes hold one together.
pub(super) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (_, '\\') => word.get_or_insert_default().extend(chars.next()),
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_systemd_reads_them() {
        let text = "[Unit]\nDescription=API\nAfter=x\n[Service]\n# a comment\nUser=app\n\
                    Environment=\"A=1 2\" B=3\nEnvironment='C=x=y'\nExecStart=/v/uvicorn \\\n  \
                    --port %i \\\n; between\n  --name=%p-%N %%h %h\n";
        let dropped = "[Service]\nUser=other\nExecStart=\nExecStart=/new %I\n".to_owned();
        let unit = Unit::parse("app-api@80", &[text.to_owned()]);
        assert_eq!(unit.value("User"), Some("app"));
        assert_eq!(
            unit.value("ExecStart"),
            Some("/v/uvicorn  --port 80  --name=app-api-app-api@80 %h %h")
        );
        let pairs: Vec<_> = unit.environment().into_iter().map(|(n, v)| n + ":" + &v).collect();
        assert_eq!(pairs, ["A:1 2", "B:3", "C:x=y"]);
        assert_eq!(unit.prefix(), "app-api");
        let unit = Unit::parse("app-api@80", &[text.to_owned(), dropped]);
        assert_eq!(unit.all("ExecStart"), ["/new 80"]);
        assert_eq!(unit.value("User"), Some("other"));
        assert_eq!(unit.value("After"), None, "another section");
    }

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(words(r#"a "b c" 'd"e' f\ g "" "#), ["a", "b c", "d\"e", "f g", ""]);
    }
}
