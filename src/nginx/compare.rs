//! Whether the file, its flags, nginx and the configuration agree (`S3`).

use std::path::Path;

use super::{
    Edited, flag,
    flip::{Colour, Flag, Seen},
    owned_file::OnDisk,
};

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
    if expected != Some(disk.text.as_str()) {
        return Some(format!(
            "{file} is not as aibk writes it: it was edited by hand, or the services' settings \
             changed since; the next rollout writes it anew"
        ));
    }
    disk.edited.flips.values().find_map(|flag| meddled(flag, flag::look(flag)))
}

/// What is wrong with a flag that nginx obeys: somebody else removed it, or made one.
fn meddled(flag: &Flag, seen: Seen) -> Option<String> {
    let [blue, green] = [Colour::Blue, Colour::Green].map(|colour| flag.name(colour));
    let colour = seen.colour().as_str();
    match seen {
        Seen::Sound(_) => None,
        Seen::Missing => Some(format!(
            "neither {blue} nor {green} is there: somebody removed the flag, and nginx serves \
             {colour}; it is put right soon"
        )),
        Seen::Doubled => Some(format!(
            "{blue} and {green} are both there: somebody made one, and nginx serves {colour}; it is \
             put right soon"
        )),
    }
}
