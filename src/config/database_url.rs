//! A database's URL, read as SQLAlchemy reads it, because that is what the application does with the
//! same text: a password may hold characters that no general reader of URLs lets stand. Pure.

use percent_encoding::percent_decode_str;

use super::{Endpoint, Secret, database::is_database_name};
use crate::ident::Port;

/// What is wrong with a URL; the rest of a sentence. Never contains a part of it but its scheme.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// There is no `://`.
    #[error("is not a URL; write for example postgresql://USER:PASSWORD@HOST:5432/NAME")]
    NoUrl,
    /// It is of another database.
    #[error("is for `{0}`, and only PostgreSQL can be saved and migrated; remove `database`")]
    Other(String),
    /// The port is none.
    #[error("has no valid port; write a number, and %40 for an `@` in the password")]
    Port,
    /// An `@` in the host: the password has one.
    #[error("has more than one `@`; write %40 for one in the password")]
    Host,
    /// A `[` without its `]`.
    #[error("has an IPv6 address that does not end; write [ADDRESS]")]
    Address,
    /// The database's name is missing or odd.
    #[error("has no usable name of a database; write it behind the last `/`")]
    Name,
    /// What is not text.
    #[error("has a `%` escape that is not UTF-8 text")]
    Escape,
    /// A word for TLS that libpq does not know.
    #[error("has an sslmode that is not known; write for example sslmode=require")]
    Tls,
}

const TLS: &[&str] = &["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// Reads `postgresql+driver://user:password@host:port/name?query`.
///
/// # Errors
/// What is wrong, without the URL.
pub fn parse(url: &str) -> Result<Endpoint, UrlError> {
    let (scheme, rest) = url.trim().split_once("://").ok_or(UrlError::NoUrl)?;
    let dialect = scheme.split('+').next().unwrap_or_default();
    if !matches!(dialect, "postgresql" | "postgres") {
        let known = dialect.len() <= 20 && dialect.chars().all(|c| c.is_ascii_alphanumeric());
        return Err(UrlError::Other(if known { dialect } else { "something else" }.to_owned()));
    }
    let (who, rest) = split_user(rest);
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (place, name) = place.split_once('/').unwrap_or((place, ""));
    let (host, port) = split_port(place)?;
    let mut endpoint = Endpoint { host, port, name: name.to_owned(), ..Endpoint::default() };
    if let Some((user, password)) = who {
        endpoint.user = Some(decode(user)?).filter(|user| !user.is_empty());
        endpoint.password = password.map(decode).transpose()?.map(Secret::new);
    }
    read_query(query, &mut endpoint)?;
    if is_database_name(&endpoint.name) { Ok(endpoint) } else { Err(UrlError::Name) }
}

/// User and password, and what follows the `@`. A user has no `/`, a password no `@`.
fn split_user(rest: &str) -> (Option<(&str, Option<&str>)>, &str) {
    let Some((who, after)) = rest.split_once('@') else { return (None, rest) };
    let (user, password) = match who.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (who, None),
    };
    if user.contains('/') { (None, rest) } else { (Some((user, password)), after) }
}

fn split_port(place: &str) -> Result<(Option<String>, Option<Port>), UrlError> {
    if place.contains('@') {
        return Err(UrlError::Host);
    }
    let (host, port) = match place.strip_prefix('[') {
        Some(address) => {
            let (host, after) = address.split_once(']').ok_or(UrlError::Address)?;
            (host, after.strip_prefix(':').unwrap_or(after))
        }
        None => place.split_once(':').unwrap_or((place, "")),
    };
    let number = |port: &str| port.parse().map_err(|_| UrlError::Port);
    let port = Some(port).filter(|port| !port.is_empty()).map(number).transpose()?;
    Ok((Some(host.to_owned()).filter(|host| !host.is_empty()), port))
}

/// What libpq needs of the query; the rest is the driver's own.
fn read_query(query: &str, endpoint: &mut Endpoint) -> Result<(), UrlError> {
    let pairs: Vec<(String, String)> =
        serde_urlencoded::from_str(query).map_err(|_| UrlError::Escape)?;
    for (key, value) in pairs {
        match key.as_str() {
            "host" => endpoint.host = Some(value),
            "port" => endpoint.port = Some(value.parse().map_err(|_| UrlError::Port)?),
            "ssl" | "sslmode" => {
                let word = match value.to_ascii_lowercase().as_str() {
                    "true" | "1" => "require".to_owned(),
                    "false" | "0" => "disable".to_owned(),
                    other => other.to_owned(),
                };
                if !TLS.contains(&word.as_str()) {
                    return Err(UrlError::Tls);
                }
                endpoint.tls.push(("PGSSLMODE", word));
            }
            "sslrootcert" => endpoint.tls.push(("PGSSLROOTCERT", value)),
            "sslcert" => endpoint.tls.push(("PGSSLCERT", value)),
            "sslkey" => endpoint.tls.push(("PGSSLKEY", value)),
            _ => {}
        }
    }
    Ok(())
}

fn decode(text: &str) -> Result<String, UrlError> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| UrlError::Escape)?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// user, password, host, port, name
    fn told(url: &str) -> String {
        let found = parse(url).unwrap();
        let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let password = found.password.as_ref().map(|secret| secret.expose().to_owned());
        let port = found.port.map(|port| port.to_string());
        format!(
            "{} {} {} {} {}",
            or(&found.user),
            or(&password),
            or(&found.host),
            or(&port),
            found.name
        )
    }

    #[test]
    fn what_the_application_reads_is_read_alike() {
        for (url, expected) in [
            ("postgresql+asyncpg://u:p@h:5433/d", "u p h 5433 d"),
            ("postgresql://u@h/d", "u - h - d"),
            ("postgres:///d", "- - - - d"),
            ("postgresql+psycopg://u:a%40b%2Fc%25@h/d", "u a@b/c% h - d"),
            ("postgresql://u:a/b?c#d:e@h/d", "u a/b?c#d:e h - d"),
            ("postgresql://u:p+q@h/d", "u p+q h - d"),
            ("postgresql://u:p@[::1]:5432/d", "u p ::1 5432 d"),
            ("postgresql://u:p@[fe80::1]/d", "u p fe80::1 - d"),
            ("postgresql://u:@h:/d", "u  h - d"),
            ("postgresql://u:p@/d?host=/run/pg&port=5499", "u p /run/pg 5499 d"),
            ("postgresql:///d?application_name=a@b", "- - - - d"),
            (" postgresql://u:p@h/my-d \n", "u p h - my-d"),
        ] {
            assert_eq!(told(url), expected, "{url}");
        }
        let tls = |query: &str| parse(&format!("postgresql://h/d?{query}")).unwrap().tls;
        assert_eq!(tls("sslmode=verify-full"), [("PGSSLMODE", "verify-full".to_owned())]);
        assert_eq!(tls("ssl=true"), [("PGSSLMODE", "require".to_owned())]);
        assert_eq!(tls("prepared_statement_cache_size=0"), []);
    }

    #[test]
    fn what_cannot_be_used_is_told_without_its_secrets() {
        for (url, wrong) in [
            ("hunter2", UrlError::NoUrl),
            ("sqlite+aiosqlite:///hunter2.db", UrlError::Other("sqlite".to_owned())),
            ("u:hunter2://h/d", UrlError::Other("something else".to_owned())),
            ("postgresql://u:p@hunter2@h/d", UrlError::Host),
            ("postgresql://u:p@h:hunter2/d", UrlError::Port),
            ("postgresql://u:p@h:0/d", UrlError::Port),
            ("postgresql://u:p@[hunter2/d", UrlError::Address),
            ("postgresql://u:hunter2@h", UrlError::Name),
            ("postgresql://u:hunter2@h/", UrlError::Name),
            ("postgresql://h/a=b", UrlError::Name),
            ("postgresql://u:%FF@h/d", UrlError::Escape),
            ("postgresql://h/d?sslmode=hunter2", UrlError::Tls),
        ] {
            let told = parse(url).unwrap_err();
            assert_eq!(told, wrong, "{url}");
            assert!(!told.to_string().contains("hunter2"), "{told}");
        }
        let shown = format!("{:?}", parse("postgresql://u:hunter2@h/d").unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
