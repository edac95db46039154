//! Whether the file, nginx and the configuration agree (`S3`): pure.

use std::path::Path;

use super::{Edited, owned_file::OnDisk};

/// What disagrees, for the operator; `None` when nothing does. `expected` is the file as it would
/// be written for what its header says.
pub(super) fn problem(
    file: &Path,
    disk: Option<&OnDisk>,
    served: &Edited,
    expected: Option<&str>,
) -> Option<String> {
    let file = file.display();
    let edition = served.edition;
    let Some(disk) = disk else {
        return Some(format!(
            "{file} is gone, and nginx still serves its edition {edition}; the next rollout writes it anew"
        ));
    };
    if disk.edited != *served {
        return Some(if disk.edited.edition == edition {
            format!("nginx serves other members than {file} names; the next rollout writes it anew")
        } else {
            let written = disk.edited.edition;
            format!(
                "{file} is edition {written}, but nginx serves {edition}; the next rollout writes it anew"
            )
        });
    }
    (expected != Some(disk.text.as_str())).then(|| {
        format!(
            "{file} is not as aibk writes it: it was edited by hand, or the services' settings \
             changed since; the next rollout writes it anew"
        )
    })
}
