//! YAML text as a tree in which every key and value knows its place.
//!
//! serde stops at the first wrong type, so nothing is typed here: the readers of the tree do that
//! and go on after a mistake. This is the only module that knows the YAML library.

use std::{collections::HashMap, fmt, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_yaml::{DuplicateKeyPolicy, Spanned};

use super::mistake::{Mistake, Position, Wrong};

/// A value and its place. Values that came through an alias or a merge have the place of the
/// anchored text, for that is what must be corrected.
#[derive(Clone, PartialEq)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) value: Value,
    /// Bytes of the text it was written as.
    span: Range<usize>,
}

#[derive(Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, PartialEq)]
pub(super) struct Key {
    pub(super) at: Position,
    pub(super) name: String,
}

impl Node {
    /// What kind of value it is, for messages, which never show the value itself.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Int(_) => "a number",
            Value::Float(_) => "a decimal number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// A scalar exactly as it was written: `1.10` stays `1.10`.
    pub(super) fn literal(&self, source: &str) -> Option<String> {
        match &self.value {
            Value::Text(text) => Some(text.clone()),
            Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
                source.get(self.span.clone()).map(str::to_owned)
            }
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Calls `found` for every key that is written twice in one mapping, with its first place.
    pub(super) fn duplicates(&self, found: &mut impl FnMut(&Key, Position)) {
        match &self.value {
            Value::List(items) => items.iter().for_each(|item| item.duplicates(found)),
            Value::Map(entries) => {
                let mut seen = HashMap::new();
                for (key, value) in entries {
                    match seen.get(key.name.as_str()) {
                        Some(first) => found(key, *first),
                        None => drop(seen.insert(key.name.as_str(), key.at)),
                    }
                    value.duplicates(found);
                }
            }
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => {}
        }
    }
}

/// Far more than any host needs, far less than would be felt. The size of the text is limited by
/// whoever reads the file.
fn limits() -> serde_yaml::Options {
    let mut aliases = serde_yaml::options::AliasLimits::default();
    aliases.max_total_replayed_events = 50_000;
    aliases.max_replay_stack_depth = 8;
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_documents: 1, max_depth: 16, max_nodes: 50_000, max_events: 200_000,
            max_anchors: 64, max_aliases: 256, max_merge_keys: 256,
            max_recorded_anchor_events: 50_000,
        },
        alias_limits: aliases,
        strict_booleans: true,
        // A snippet of the text could show a secret.
        with_snippet: false,
        // Both are wanted in the tree, so that each one is told with its place.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
    }
}

/// Reads the one document in `text`; `None` when there is nothing but blanks and comments.
pub(super) fn parse(text: &str) -> Result<Option<Node>, Mistake> {
    serde_yaml::from_str_with_options::<Option<Node>>(text, limits()).map_err(|error| {
        let at = error.location().map(place);
        Mistake::new(at, explain(&error))
    })
}

fn explain(error: &serde_yaml::Error) -> Wrong {
    let sentence = error.to_string();
    // The place is told in our own form, before the sentence.
    let sentence = sentence.split(" at line ").next().unwrap_or_default();
    if sentence.starts_with("budget breached: Documents") {
        return Wrong::new("a second document begins here").instead("keep one document in a file");
    }
    if sentence.starts_with("cannot deserialize null into string") {
        return Wrong::new("this key has no name")
            .instead("give it one, in quotes if it is `null`");
    }
    Wrong::new(format!("this is not YAML: {sentence}"))
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, defined, .. } = Spanned::<Value>::deserialize(deserializer)?;
        let start = defined.span().byte_offset().and_then(|n| usize::try_from(n).ok());
        let length = defined.span().byte_len().and_then(|n| usize::try_from(n).ok());
        let span = start.zip(length).map_or(0..0, |(start, length)| start..start + length);
        Ok(Self { at: place(defined), value, span })
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value: name, defined, .. } = Spanned::<String>::deserialize(deserializer)?;
        Ok(Self { at: place(defined), name })
    }
}

fn place(location: serde_yaml::Location) -> Position {
    Position { line: location.line(), column: location.column() }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        // No number of ours comes near the limit: what is above is refused by every range.
        Ok(Value::Int(i64::try_from(value).unwrap_or(i64::MAX)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value under `key`, with the key.
    fn find(node: &Node, key: &str) -> (Key, Node) {
        let Value::Map(entries) = &node.value else { panic!("not a mapping") };
        entries.iter().find(|(k, _)| k.name == key).unwrap().clone()
    }

    #[test]
    fn every_key_and_value_knows_its_place() {
        let root = parse("a: 1\r\nb:\r\n  - x\r\n  - yes\r\n").unwrap().unwrap();
        let (key, items) = find(&root, "b");
        assert_eq!(key.at, Position { line: 2, column: 1 });
        let Value::List(items) = &items.value else { panic!("not a list") };
        let last = items.last().unwrap();
        assert_eq!(last.at, Position { line: 4, column: 5 });
        assert!(last.value == Value::Text("yes".into()), "`yes` is text");
    }

    #[test]
    fn what_came_by_an_anchor_has_the_place_of_its_text() {
        let text = "a: &a {b: 1.10}\nc:\n  <<: *a\n  d: 2\n";
        let root = parse(text).unwrap().unwrap();
        let (key, value) = find(&find(&root, "c").1, "b");
        assert_eq!(key.at, Position { line: 1, column: 8 });
        assert_eq!(value.literal(text).as_deref(), Some("1.10"));
    }

    #[test]
    fn both_of_a_duplicate_are_kept() {
        let mut found = Vec::new();
        parse("a: {b: 1, b: 2}\na: 3\n").unwrap().unwrap().duplicates(&mut |key, first| {
            found.push((key.name.clone(), key.at.line, first.line));
        });
        assert_eq!(found, [("b".to_owned(), 1, 1), ("a".to_owned(), 2, 1)]);
    }

    #[test]
    fn nothing_is_no_document() {
        for text in ["", "\n\n", "# only this\n", "---\n", "\u{feff}"] {
            assert!(parse(text).unwrap().is_none(), "{text:?}");
        }
    }

    #[test]
    fn bombs_are_refused() {
        let line =
            |n: usize| format!("a{}: &a{} [{}]\n", n + 1, n + 1, format!("*a{n},").repeat(9));
        let bomb: String =
            std::iter::once("a0: &a0 [x,x,x]\n".to_owned()).chain((0..12).map(line)).collect();
        assert!(parse(&bomb).is_err());
        assert!(parse(&"[".repeat(100_000)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-c:&*<{}\\[\\] \n\"'|>!-]{0,80}") {
            let _ = parse(&text);
        }
    }
}
