//! Certificates of the site: until when they are valid.

use jiff::{Timestamp, Unit, civil::DateTime, tz::TimeZone};

use super::{Finding, Topic, program, site::Site};

/// Fewer days than this are few: most are renewed when 30 are left.
const FEW: i64 = 21;

/// From when and until when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Validity {
    from: Timestamp,
    until: Timestamp,
}

pub(super) async fn examine(site: &Site) -> Vec<Finding> {
    let mut found = Vec::new();
    for path in site.values("ssl_certificate") {
        if path.starts_with("data:") || path.starts_with("engine:") {
            continue;
        }
        // A relative one is below nginx's configuration directory.
        let main = site.settings.as_ref().and_then(|settings| settings.config.parent());
        let path = main.map_or_else(|| path.into(), |directory| directory.join(path));
        let args = ["x509".as_ref(), "-noout".as_ref(), "-dates".as_ref(), "-in".as_ref()];
        let args: Vec<&std::ffi::OsStr> = args.into_iter().chain([path.as_os_str()]).collect();
        let seen = match program::ask("openssl", &args).await {
            Ok(said) if said.ok => validity(&said.out).ok_or_else(|| said.out.clone()),
            Ok(said) => Err(said.err.lines().next().unwrap_or_default().to_owned()),
            Err(error) => Err(error.to_string()),
        };
        found.push(finding(&path.display().to_string(), &seen, Timestamp::now()));
    }
    found
}

/// `notBefore=Jan  2 03:04:05 2026 GMT`, and `notAfter=`.
fn validity(said: &str) -> Option<Validity> {
    let moment = |key: &str| {
        let text = said.lines().find_map(|line| line.strip_prefix(key))?;
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let at = DateTime::strptime("%b %d %H:%M:%S %Y GMT", words.join(" ")).ok()?;
        at.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp())
    };
    Some(Validity { from: moment("notBefore=")?, until: moment("notAfter=")? })
}

fn finding(path: &str, seen: &Result<Validity, String>, now: Timestamp) -> Finding {
    let renew = "renew it (certbot renew, or as it was made), then systemctl reload nginx";
    let validity = match seen {
        Ok(validity) => *validity,
        Err(why) => {
            let what = format!("until when {path} is valid cannot be told: {why}");
            let next = format!("look at it: openssl x509 -noout -dates -in {path}");
            return Finding::warning(Topic::Certificates, what, next);
        }
    };
    let day = validity.until.strftime("%Y-%m-%d");
    if validity.until <= now {
        let what = format!("{path} has expired on {day}: clients refuse the site");
        return Finding::problem(Topic::Certificates, what, renew);
    }
    if validity.from > now {
        let from = validity.from.strftime("%Y-%m-%d %H:%M UTC");
        let what = format!("{path} is valid only from {from} on");
        return Finding::problem(
            Topic::Certificates,
            what,
            "see whether this host's clock is right",
        );
    }
    let left = (validity.until - now).total(Unit::Hour).unwrap_or_default() / 24.0;
    #[expect(clippy::cast_possible_truncation, reason = "days of a certificate")]
    let left = left as i64;
    let what = format!("{path} is valid until {day}, {left} days more");
    if left < FEW {
        return Finding::warning(Topic::Certificates, what, renew);
    }
    Finding::ok(Topic::Certificates, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;

    #[test]
    fn the_dates_decide() {
        let said = "notBefore=Jan  2 03:04:05 2026 GMT\nnotAfter=Feb 28 23:59:59 2026 GMT";
        let seen = Ok(validity(said).unwrap());
        for (now, severity, word) in [
            ("2026-01-02T03:04:04Z", Severity::Problem, "only from 2026-01-02"),
            ("2026-01-10T00:00:00Z", Severity::Ok, "49 days more"),
            ("2026-02-09T00:00:00Z", Severity::Warning, "19 days more"),
            ("2026-02-28T23:59:59Z", Severity::Problem, "has expired on 2026-02-28"),
        ] {
            let found = finding("/c.pem", &seen, now.parse().unwrap());
            assert_eq!(found.severity, severity, "{now}");
            assert!(found.observed.contains(word), "{found:?}");
        }
        assert_eq!(validity("garbage"), None);
        let unseen = finding("/c.pem", &Err("no".into()), Timestamp::UNIX_EPOCH);
        assert_eq!(unseen.severity, Severity::Warning);
    }
}
