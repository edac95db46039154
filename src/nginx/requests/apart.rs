//! Whether a site logs requests in a way of its own, so that ours does not see them. Pure.

use super::FORMAT_NAME;

/// What a block of nginx's configuration says so far.
#[derive(Debug, Default)]
struct Block {
    /// Where an `access_log` of its own leads.
    log: Option<Whither>,
    /// It passes requests on, or a block in it does to which its log applies.
    passes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whither {
    Ours,
    Elsewhere,
    /// `off` cancels every other one of its block.
    Nowhere,
}

impl Block {
    /// Our log stands in `http`.
    fn begun(header: &str) -> Self {
        Self { log: (header == "http").then_some(Whither::Ours), passes: false }
    }

    fn take(&mut self, directive: &str, passing: &str) {
        match directive.strip_prefix("access_log") {
            Some("off") => self.log = Some(Whither::Nowhere),
            Some(_) if matches!(self.log, Some(Whither::Ours | Whither::Nowhere)) => {}
            Some(to) if to.contains(FORMAT_NAME) => self.log = Some(Whither::Ours),
            Some(_) => self.log = Some(Whither::Elsewhere),
            None => {}
        }
        let target = directive.strip_prefix(passing);
        self.passes |= target.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    }
}

/// Whether a block passes requests on by `passing` under an `access_log` of its own or of a block
/// around it, and ours is not beside that. `text` is a site's configuration without white space,
/// quotes and comments; only its braces and semicolons are understood.
pub(in crate::nginx) fn logs_apart(text: &str, passing: &str) -> bool {
    let ends = ['{', '}', ';'];
    let mut blocks = vec![Block::default()];
    for piece in text.split_inclusive(ends) {
        let directive = piece.trim_end_matches(ends);
        let outer = blocks.last_mut();
        match (piece.chars().last(), outer) {
            (Some('{'), _) => blocks.push(Block::begun(directive)),
            (Some('}'), _) => {
                let ended = blocks.pop().unwrap_or_default();
                let apart = matches!(ended.log, Some(Whither::Elsewhere | Whither::Nowhere));
                if ended.passes && apart {
                    return true;
                }
                if let (None, Some(outer)) = (ended.log, blocks.last_mut()) {
                    outer.passes |= ended.passes;
                }
            }
            (_, Some(block)) => block.take(directive, passing),
            (_, None) => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_of_its_own_is_seen_where_it_applies() {
        let passes = "location/{proxy_passhttp://api;}";
        let ours = "access_log/l/aibk-requests.logaibk_requestsif=$upstream_addr;";
        let own = "access_log/var/log/nginx/api.log;";
        for (text, expected) in [
            (format!("server{{{passes}}}"), false),
            (format!("server{{{own}{passes}}}"), true),
            (format!("server{{{passes}{own}}}"), true),
            (format!("server{{{own}{ours}{passes}}}"), false),
            (format!("server{{{ours}{own}{passes}}}"), false),
            (format!("http{{{own}server{{{passes}}}}}"), false),
            (format!("http{{server{{{own}}}server{{{passes}}}}}"), false),
            ("server{location/{access_logoff;proxy_passhttp://api/v1;}}".to_owned(), true),
            (
                "server{location/static/{access_logoff;}location/{proxy_passhttp://api;}}"
                    .to_owned(),
                false,
            ),
            (format!("server{{{own}location/{{proxy_passhttp://api_old;}}}}"), false),
            (format!("server{{{own}location/{{{ours}proxy_passhttp://api;}}}}"), false),
            (format!("http{{access_logoff;server{{{passes}}}}}"), true),
            (format!("server{{{ours}access_logoff;{passes}}}"), true),
            (format!("}}}}{own}server{{{passes}}}"), false),
        ] {
            assert_eq!(logs_apart(&text, "proxy_passhttp://api"), expected, "{text}");
        }
    }
}
