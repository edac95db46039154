//! aibk.yaml, made from dotted keys.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

/// A configuration in the making.
#[derive(Debug, Clone)]
pub struct Settings(Value);

impl Settings {
    /// Starts from `value`.
    pub fn new(value: Value) -> Self {
        Self(value)
    }

    /// Sets one key, as in `set("services.api.workers", 2)`.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        let mut at = &mut self.0;
        for part in key.split('.') {
            if !at.is_object() {
                *at = json!({});
            }
            at = at.as_object_mut().expect("a mapping").entry(part).or_insert(Value::Null);
        }
        *at = value.into();
        self
    }

    /// What a key is set to.
    pub fn get(&self, key: &str) -> &Value {
        self.0.pointer(&pointer(key)).unwrap_or(&Value::Null)
    }

    /// Removes one key.
    pub fn remove(&mut self, key: &str) -> &mut Self {
        let (parent, last) = key.rsplit_once('.').unwrap_or(("", key));
        let pointer = if parent.is_empty() { String::new() } else { pointer(parent) };
        if let Some(Value::Object(map)) = self.0.pointer_mut(&pointer) {
            map.remove(last);
        }
        self
    }

    /// The file's text.
    pub fn to_yaml(&self) -> String {
        let mut text = String::new();
        block(&mut text, self.0.as_object().expect("a mapping"), 0);
        text
    }
}

/// A dotted key as a JSON pointer (RFC 6901).
fn pointer(key: &str) -> String {
    format!("/{}", key.replace('.', "/"))
}

fn block(text: &mut String, map: &Map<String, Value>, depth: usize) {
    for (key, value) in map {
        let indent = "  ".repeat(depth);
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                let _ = writeln!(text, "{indent}{key}:");
                block(text, inner, depth + 1);
            }
            Value::String(plain) if is_plain(plain) => {
                let _ = writeln!(text, "{indent}{key}: {plain}");
            }
            other => {
                let _ = writeln!(text, "{indent}{key}: {other}");
            }
        }
    }
}

/// A path, a word, a duration: what nobody would put in quotes.
fn is_plain(text: &str) -> bool {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let number = text.trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit());
    let duration = number && text.ends_with(['s', 'm', 'h']);
    let special = ["true", "false", "null", "yes", "no", "on", "off", ""];
    text.chars().all(harmless) && (!number || duration) && !special.contains(&text)
}

#[test]
fn keys_become_yaml() {
    let mut settings = Settings::new(json!({"a": {"b": 1, "c": "5s"}}));
    settings.set("a.d.e", "8000").set("f", json!([1, "two"])).remove("a.b");
    assert_eq!(settings.to_yaml(), "a:\n  c: 5s\n  d:\n    e: \"8000\"\nf: [1,\"two\"]\n");
}
