//! The line by which nginx logs requests for us.

use std::path::Path;

/// The format of our log of requests.
pub(in crate::nginx) const FORMAT_NAME: &str = "aibk_requests";

/// The line that lets nginx note, in `log`, each request that it passes on. The owned file has it
/// in `http`; a `server` or `location` with an `access_log` of its own does not inherit that
/// (nginx.org, `ngx_http_log_module`), and needs it, too.
pub(in crate::nginx) fn directive(log: &Path) -> String {
    // Without an upstream the variable is empty, and what nginx answers itself is not logged.
    format!("access_log {} {FORMAT_NAME} if=$upstream_addr;", log.display())
}
