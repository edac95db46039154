//! nginx's configuration, as `nginx -T` prints it, word by word. Pure.

/// A directive: its name and what follows, up to `;`, `{` or `}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directive {
    /// Name and arguments, without quotes.
    pub(super) words: Vec<String>,
}

impl Directive {
    pub(super) fn name(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// Its first argument.
    pub(super) fn value(&self) -> Option<&str> {
        self.words.get(1).map(String::as_str)
    }
}

/// Every directive of `dump`, in order.
pub(super) fn directives(dump: &str) -> Vec<Directive> {
    let mut found = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut chars = dump.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '#' => while chars.next_if(|c| *c != '\n').is_some() {},
            ';' | '{' | '}' => {
                let words = std::mem::take(&mut words);
                found.extend((!words.is_empty()).then_some(Directive { words }));
            }
            '"' | '\'' => {
                let mut word = String::new();
                while let Some(inner) = chars.next_if(|inner| *inner != c) {
                    // A backslash keeps what follows: a quote does not end it.
                    let kept = if inner == '\\' { chars.next() } else { Some(inner) };
                    word.extend(kept);
                }
                chars.next();
                words.push(word);
            }
            c if c.is_whitespace() => {}
            c => {
                let mut word = String::from(c);
                while let Some(next) = chars.peek() {
                    // A `{` opens a block, but for the one of a variable: `${name}`.
                    let opens = *next == '{' && !word.ends_with('$');
                    if next.is_whitespace() || *next == ';' || opens {
                        break;
                    }
                    word.extend(chars.next());
                }
                words.push(word);
            }
        }
    }
    found
}

/// The files of which `dump` consists.
pub(super) fn files(dump: &str) -> Vec<String> {
    let marks = dump.lines().filter_map(|line| line.strip_prefix("# configuration file "));
    marks.map(|path| path.trim_end_matches(':').to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_apart_as_nginx_does() {
        let dump = "# configuration file /etc/nginx/nginx.conf:\nuser www-data;\nhttp{\n  \
                    server { listen 443 ssl; # listen 1;\n ssl_certificate \"/a b.pem\";\n \
                    log_format m '$x \"{;}\" \\'q\\'';\n error_log /v/${host}.log warn;}\n}\n";
        let found: Vec<_> = directives(dump).iter().map(|d| d.words.join("|")).collect();
        assert_eq!(
            found,
            [
                "user|www-data",
                "http",
                "server",
                "listen|443|ssl",
                "ssl_certificate|/a b.pem",
                "log_format|m|$x \"{;}\" 'q'",
                "error_log|/v/${host}.log|warn",
            ]
        );
        assert_eq!(files(dump), ["/etc/nginx/nginx.conf"]);
    }
}
