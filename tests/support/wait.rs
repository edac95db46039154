//! The only place where a test waits.

use std::time::{Duration, Instant};

/// Long enough for anything that happens at all, on a busy machine.
pub const LONG: Duration = Duration::from_secs(60);

const FIRST: Duration = Duration::from_millis(2);
const LONGEST: Duration = Duration::from_millis(50);

/// Asks `look` until it finds something, and gives that.
///
/// Panics with `what` when it has found nothing by the deadline.
#[track_caller]
pub fn wait_for<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    let mut between = FIRST;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < deadline, "waited {deadline:?} in vain for: {what}");
        #[expect(clippy::disallowed_methods, reason = "this is what waits for conditions")]
        std::thread::sleep(between);
        between = (between * 2).min(LONGEST);
    }
}
