//! The SQL that Alembic writes in place of what it would do, statement by statement. Pure; the only
//! module that knows the parser.

use sqlparser::{
    ast::Statement,
    dialect::PostgreSqlDialect,
    parser::Parser,
    tokenizer::{Token, Tokenizer},
};

/// The longest that is shown of a statement.
const SHOWN: usize = 160;

/// One statement.
pub(super) struct Piece {
    /// Of which revision, where that is known.
    pub(super) revision: Option<String>,
    /// What it is; `None` where it cannot be read.
    pub(super) statement: Option<Statement>,
    /// On one line, shortened.
    pub(super) shown: String,
}

/// The statements of `sql`, in order.
pub(super) fn pieces(sql: &str) -> Vec<Piece> {
    let of_part = |(revision, part): (Option<String>, String)| {
        let piece = move |statement: Result<Vec<Token>, String>| Piece {
            revision: revision.clone(),
            shown: shown(&statement),
            statement: parse(statement),
        };
        statements(&part).into_iter().map(piece)
    };
    parts(sql).into_iter().flat_map(of_part).collect()
}

/// The SQL of each revision.
fn parts(sql: &str) -> Vec<(Option<String>, String)> {
    let mut parts = vec![(None, String::new())];
    for line in sql.lines() {
        if let Some(revision) = running(line) {
            parts.push((Some(revision), String::new()));
        } else if let Some((_, part)) = parts.last_mut() {
            part.push_str(line);
            part.push('\n');
        }
    }
    parts
}

/// The revision that is done or undone below `line`: Alembic writes `-- Running upgrade a1 -> b2`, or
/// `-- Running downgrade b2 -> a1`.
fn running(line: &str) -> Option<String> {
    let said = line.strip_prefix("-- Running ")?;
    let of = match said.strip_prefix("upgrade ") {
        Some(said) => said.split_once("->")?.1.split(',').next()?,
        None => said.strip_prefix("downgrade ")?.split_once("->")?.0,
    };
    Some(of.trim().to_owned())
}

/// The tokens of each statement; what cannot even be taken apart is one.
fn statements(sql: &str) -> Vec<Result<Vec<Token>, String>> {
    let Ok(tokens) = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize() else {
        return vec![Err(sql.to_owned())];
    };
    let split = tokens.split(|token| *token == Token::SemiColon);
    let is_said = |token: &Token| !matches!(token, Token::Whitespace(_));
    split.filter(|tokens| tokens.iter().any(is_said)).map(|tokens| Ok(tokens.to_vec())).collect()
}

fn shown(statement: &Result<Vec<Token>, String>) -> String {
    let text = match statement {
        Ok(tokens) => {
            let said = tokens.iter().filter(|token| !is_comment(token));
            said.map(ToString::to_string).collect::<String>()
        }
        Err(text) => text.clone(),
    };
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = line.chars().take(SHOWN).collect();
    if short.len() < line.len() { format!("{short}…") } else { short }
}

fn is_comment(token: &Token) -> bool {
    use sqlparser::tokenizer::Whitespace::{MultiLineComment, SingleLineComment};
    matches!(token, Token::Whitespace(SingleLineComment { .. } | MultiLineComment(_)))
}

fn parse(statement: Result<Vec<Token>, String>) -> Option<Statement> {
    let dialect = PostgreSqlDialect {};
    let mut parser = Parser::new(&dialect).with_tokens(statement.ok()?);
    let parsed = parser.parse_statement().ok()?;
    // What is left over was not understood.
    (parser.peek_token().token == Token::EOF).then_some(parsed)
}
