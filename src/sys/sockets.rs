//! TCP sockets of this host, from `/proc/net/tcp` and `tcp6` (proc(5)).

use std::io;

/// Established connections whose local end is `port`.
///
/// # Errors
/// When the tables cannot be read.
pub fn established(port: u16) -> io::Result<usize> {
    let mut count = 0;
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = match std::fs::read_to_string(table) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            read => read?,
        };
        let suffix = format!(":{port:04X}");
        count += text
            .lines()
            .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>())
            .filter(|f| f.get(1).is_some_and(|l| l.ends_with(&suffix)) && f.get(3) == Some(&"01"))
            .count();
    }
    Ok(count)
}
