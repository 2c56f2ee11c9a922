//! A warning about secret files that are world-readable or world-writable.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use tracing::warn;

/// Reading and writing for everybody. A group is the operator's choice (`ssl-cert`).
const EVERYBODY: u32 = 0o006;

/// Warns of each of these files, which hold a token or key, that everybody can read or write.
pub fn warn_of_open_secrets<'a>(
    files: impl IntoIterator<Item = &'a (impl AsRef<Path> + 'a + ?Sized)>,
) {
    for file in files {
        let file = file.as_ref();
        let Some(mode) = open_mode(file) else {
            continue;
        };
        let file = file.display();
        warn!(
            %file,
            mode = format!("{mode:04o}"),
            err = format!("every user of this host can read or change it: chmod 600 {file}"),
            "secret file is open to everybody"
        );
    }
}

/// The mode of a file that everybody can read or write; `None` where it is closed, not a regular
/// file, or cannot be looked at.
fn open_mode(file: &Path) -> Option<u32> {
    let found = fs::metadata(file).ok()?;
    let mode = found.mode() & 0o7777;
    (found.is_file() && mode & EVERYBODY != 0).then_some(mode)
}
