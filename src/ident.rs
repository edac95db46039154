//! Names of things: applications, services, slots, instances, generations, rollouts.
//!
//! They are newtypes so that nothing from a configuration or a request can be mistaken for
//! something else, or escape into a path or into nginx's syntax.

use std::{fmt, num::NonZeroU16, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// A name that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a valid {what}: {rule}")]
pub struct InvalidName {
    what: &'static str,
    given: String,
    rule: &'static str,
}

impl InvalidName {
    fn new(what: &'static str, given: &str, rule: &'static str) -> Self {
        Self { what, given: given.chars().take(64).collect(), rule }
    }
}

/// A named program kept running: `api`, `admin`. Cheap to clone, as many places hold it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName(Arc<str>);

/// What is deployed as one: its code, its services, its database.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AppName(Arc<str>);

/// The rule of names that an operator chooses: they become parts of paths and of nginx's syntax.
fn plain(what: &'static str, name: &str) -> Result<Arc<str>, InvalidName> {
    const RULE: &str =
        "use 1 to 32 lower-case letters, digits, `-` or `_`, beginning with a letter";
    let mut chars = name.chars();
    let head = chars.next().is_some_and(|c| c.is_ascii_lowercase());
    let tail =
        chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'));
    if head && tail && name.len() <= 32 {
        Ok(name.into())
    } else {
        Err(InvalidName::new(what, name, RULE))
    }
}

impl AppName {
    /// Checks `name` against the rule of names.
    ///
    /// # Errors
    /// [`InvalidName`] when it is empty, too long, or has another character.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        plain("application name", name).map(Self)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ServiceName {
    /// Checks `name` against the rule of names.
    ///
    /// # Errors
    /// [`InvalidName`] when it is empty, too long, or has another character.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        plain("service name", name).map(Self)
    }

    /// The service that a managed nginx is.
    #[must_use]
    pub fn managed_nginx() -> Self {
        Self("nginx".into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A TCP port; zero cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Port(NonZeroU16);

impl Port {
    /// `None` for zero.
    #[must_use]
    pub const fn new(port: u16) -> Option<Self> {
        match NonZeroU16::new(port) {
            Some(port) => Some(Self(port)),
            None => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

/// One place where an instance of a service can live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Slot {
    /// A slot named by the port its instance listens on.
    Port(Port),
    /// The only slot of a service that listens on no port.
    Sole,
}

impl Slot {
    /// The port of this slot, if it has one.
    #[must_use]
    pub const fn port(self) -> Option<Port> {
        match self {
            Self::Port(port) => Some(port),
            Self::Sole => None,
        }
    }
}

/// What runs in a slot: `api@8000`, or just `worker` where the service has no port; `api@8000.a1`
/// where several process trees share the slot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceId {
    /// The service it is an instance of.
    pub service: ServiceName,
    /// The slot it lives in.
    pub slot: Slot,
    /// Which of several process trees in the slot; `None`: the slot as a whole.
    pub worker: Option<Worker>,
}

/// One of two sets of processes that can live in a slot side by side, while one takes over from the
/// other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The one that is used first.
    A,
    /// The other one.
    B,
}

impl Side {
    /// Both.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// One process tree of several in a slot: `a1`, the first of the first side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Worker {
    /// Whose.
    pub side: Side,
    /// From 1.
    pub number: u16,
}

impl InstanceId {
    /// The instance of `service` in `slot`.
    #[must_use]
    pub const fn new(service: ServiceName, slot: Slot) -> Self {
        Self { service, slot, worker: None }
    }

    /// A process tree of its own in this slot.
    #[must_use]
    pub fn with_worker(&self, worker: Worker) -> Self {
        Self { worker: Some(worker), ..self.clone() }
    }

    /// The slot as a whole.
    #[must_use]
    pub fn whole(&self) -> Self {
        Self { worker: None, ..self.clone() }
    }
}

/// One start of an instance. Never repeats on a host; events of another generation are ignored.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

/// One durable operation on a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RolloutId(pub u64);

/// One run of a job; numbers go over all jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub u64);

/// The name of a release: the last component of its directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReleaseId(pub String);

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => port.fmt(f),
            Self::Sole => f.write_str("-"),
        }
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.slot {
            Slot::Port(port) => write!(f, "{}@{port}", self.service)?,
            Slot::Sole => self.service.fmt(f)?,
        }
        self.worker.map_or(Ok(()), |worker| write!(f, ".{worker}"))
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "a",
            Self::B => "b",
        })
    }
}

impl fmt::Display for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.side, self.number)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for RolloutId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AppName {
    type Err = InvalidName;
    fn from_str(name: &str) -> Result<Self, InvalidName> {
        Self::new(name)
    }
}

impl FromStr for ServiceName {
    type Err = InvalidName;
    fn from_str(name: &str) -> Result<Self, InvalidName> {
        Self::new(name)
    }
}

impl FromStr for Port {
    type Err = InvalidName;
    fn from_str(port: &str) -> Result<Self, InvalidName> {
        port.parse::<u16>()
            .ok()
            .and_then(Self::new)
            .ok_or_else(|| InvalidName::new("port", port, "use a number from 1 to 65535"))
    }
}

impl FromStr for Slot {
    type Err = InvalidName;
    fn from_str(slot: &str) -> Result<Self, InvalidName> {
        if slot == "-" { Ok(Self::Sole) } else { slot.parse().map(Self::Port) }
    }
}

impl FromStr for InstanceId {
    type Err = InvalidName;
    fn from_str(name: &str) -> Result<Self, InvalidName> {
        let (slot, worker) = match name.split_once('.') {
            Some((slot, worker)) => (slot, Some(worker.parse()?)),
            None => (name, None),
        };
        let whole = match slot.split_once('@') {
            Some((service, port)) => Self::new(service.parse()?, Slot::Port(port.parse()?)),
            None => Self::new(slot.parse()?, Slot::Sole),
        };
        Ok(Self { worker, ..whole })
    }
}

impl FromStr for Worker {
    type Err = InvalidName;
    fn from_str(worker: &str) -> Result<Self, InvalidName> {
        let side = Side::ALL
            .into_iter()
            .find_map(|side| Some((side, worker.strip_prefix(side.to_string().as_str())?)));
        let read = |(side, number): (Side, &str)| {
            let plain = number.starts_with(|c: char| c.is_ascii_digit() && c != '0');
            Some(Self { side, number: number.parse().ok().filter(|_| plain)? })
        };
        side.and_then(read)
            .ok_or_else(|| InvalidName::new("worker", worker, "write it as in `api@8000.a1`"))
    }
}

macro_rules! text_form {
    ($($name:ty),*) => {$(
        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.to_string()
            }
        }
    )*};
}
text_form!(AppName, ServiceName, Slot, InstanceId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_escape_are_refused() {
        for bad in ["", "Api", "1api", "api;", "a/b", "..", "a b", "api\n", &"a".repeat(33)] {
            assert!(ServiceName::new(bad).is_err(), "{bad:?}");
        }
        for good in ["api", "admin-2", "a_b"] {
            assert!(ServiceName::new(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn instances_read_back_as_written() {
        for name in ["api@8000", "worker", "api@8000.a1", "api@8000.b12"] {
            assert_eq!(name.parse::<InstanceId>().unwrap().to_string(), name);
        }
        for bad in [
            "api@",
            "api@0",
            "api@65536",
            "@8000",
            "api@80@81",
            "api@80.",
            "api@80.1",
            "api@80.a0",
            "api@80.c1",
        ] {
            assert!(bad.parse::<InstanceId>().is_err(), "{bad:?}");
        }
    }
}
