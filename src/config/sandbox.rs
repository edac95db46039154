//! The keys of a service about what its processes may use and do: `umask`, `nice`, `limits`,
//! `sandbox`, `on_refusal`.

use std::path::{Path, PathBuf};

use super::{
    limits,
    mistake::{Position, Wrong},
    scalar::{self, shown},
    section::Section,
    tree::{Node, Value},
};
use crate::sys::confine::{
    Capabilities, Confinement, MOST_PATHS, NewPrivileges, OnRefusal, ReadOnly, Sandbox, Tmp,
};

/// Reads the keys of a service whose code is in `directory`.
pub(super) fn confinement(s: &mut Section<'_>, directory: Option<&Path>) -> Confinement {
    let words = &[("fail", OnRefusal::Fail), ("warn", OnRefusal::Warn)];
    let usual = new_privileges(s);
    Confinement {
        umask: umask(s),
        nice: s.get("nice", scalar::whole(-20..=19)),
        limits: s.section("limits", limits::limits),
        sandbox: s.section("sandbox", |s| sandbox(s, usual, directory)),
        on_refusal: s.or("on_refusal", OnRefusal::Fail, scalar::one_of(words)),
    }
}

/// Whoever gives up root, or asks for a sandbox, is not to get out of it by execve(2).
fn new_privileges(s: &mut Section<'_>) -> NewPrivileges {
    let other =
        matches!(s.node("user").map(|node| &node.value), Some(Value::Text(user)) if user != "root");
    if other || s.has("sandbox") { NewPrivileges::Refused } else { NewPrivileges::Allowed }
}

/// Octal, with or without the zero that makes YAML of other days see it so.
fn umask(s: &mut Section<'_>) -> u16 {
    let usual = Confinement::default().umask;
    let Some(node) = s.node("umask") else { return usual };
    let Some(given) = s.literal(node) else {
        s.complain("umask", scalar::expected("an octal number", node));
        return usual;
    };
    let digits = given.strip_prefix("0o").unwrap_or(&given);
    match u16::from_str_radix(digits, 8) {
        Ok(mask) if mask <= 0o777 && digits.len() <= 4 => mask,
        _ => {
            let wrong = Wrong::new(format!("`{}` is not a umask", shown(&given)));
            s.complain("umask", wrong.instead("write it in octal, for example 0027"));
            usual
        }
    }
}

fn sandbox(s: &mut Section<'_>, usual: NewPrivileges, directory: Option<&Path>) -> Sandbox {
    let new_privileges = match s.get("no_new_privs", scalar::boolean) {
        Some(true) => NewPrivileges::Refused,
        Some(false) => NewPrivileges::Allowed,
        None => usual,
    };
    let tmp = if s.or("private_tmp", false, scalar::boolean) { Tmp::Private } else { Tmp::Shared };
    let read_only = read_only(s);
    let writable = paths(s, "writable");
    if read_only == ReadOnly::Nothing && s.has("writable") {
        let wrong = Wrong::new("everything is writable without `read_only`");
        s.complain("writable", wrong.instead("set `read_only: all`, or remove it"));
    }
    if tmp == Tmp::Private
        && let Some(directory) = directory.filter(|path| is_in_tmp(path))
    {
        let wrong = Wrong::new(format!("would hide the service's {}", directory.display()));
        s.complain("private_tmp", wrong.instead("put the code elsewhere, or remove it"));
    }
    let listed = match &read_only {
        ReadOnly::Paths(paths) => paths.as_slice(),
        ReadOnly::Nothing | ReadOnly::All => &[],
    };
    for hidden in listed.iter().chain(&writable).filter(|path| is_in_tmp(path)) {
        if tmp == Tmp::Private {
            let wrong = Wrong::new(format!("would hide {}", hidden.display()));
            s.complain("private_tmp", wrong.instead("remove one of the two"));
        }
    }
    let capabilities = capabilities(s);
    Sandbox { new_privileges, capabilities, tmp, read_only, writable }
}

fn is_in_tmp(path: &Path) -> bool {
    path.starts_with("/tmp") || path.starts_with("/var/tmp")
}

fn read_only(s: &mut Section<'_>) -> ReadOnly {
    match s.node("read_only").map(|node| &node.value) {
        None => ReadOnly::Nothing,
        Some(Value::Text(word)) if word == "all" => ReadOnly::All,
        Some(Value::Text(word)) => {
            let wrong = Wrong::new(format!("`{}` is neither a list nor `all`", shown(word)));
            s.complain("read_only", wrong.instead("write all, or [/a/path, /another]"));
            ReadOnly::Nothing
        }
        Some(_) => ReadOnly::Paths(paths(s, "read_only")),
    }
}

fn paths(s: &mut Section<'_>, key: &'static str) -> Vec<PathBuf> {
    let paths = s.paths_at(key).unwrap_or_default();
    if let Some((at, _)) = paths.get(MOST_PATHS) {
        let wrong = Wrong::new(format!("has more than {MOST_PATHS} paths"));
        s.complain_at(*at, key, wrong.instead("name directories that hold several"));
    }
    paths.into_iter().map(|(_, path)| path).collect()
}

fn capabilities(s: &mut Section<'_>) -> Option<Capabilities> {
    let node = s.node("capabilities")?;
    if matches!(&node.value, Value::Text(word) if word == "none") {
        return Some(Capabilities::NONE);
    }
    if !matches!(node.value, Value::List(_)) {
        let wrong = Wrong::new(format!("expected `none` or a list, found {}", node.kind()));
        s.complain("capabilities", wrong.instead("write none, or [NET_BIND_SERVICE]"));
        return None;
    }
    let listed: Vec<(Position, Capabilities)> = s.list("capabilities", capability)?;
    Some(listed.into_iter().fold(Capabilities::NONE, |all, (_, one)| all.with(one)))
}

/// With or without `CAP_`, as capabilities(7) names it.
fn capability(node: &Node) -> Result<Capabilities, Wrong> {
    let given = scalar::text(node)?;
    let name = given.strip_prefix("CAP_").unwrap_or(&given);
    Capabilities::named(name).ok_or_else(|| {
        Wrong::new(format!("`{}` is not a capability", shown(&given)))
            .like(name, Capabilities::names())
    })
}
