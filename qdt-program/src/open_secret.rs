//! A warning about secret files that are world-readable or world-writable.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use tracing::warn;

/// Reading and writing for all users. A group is the operator's choice (`ssl-cert`).
const ALL_USERS: u32 = 0o006;

/// Warns of each of these files, which contain a token or key, that every user can read or write.
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

/// The mode of a file that every user can read or write; `None` where it is closed, not a regular
/// file, or cannot be looked at.
fn open_mode(file: &Path) -> Option<u32> {
    let found = fs::metadata(file).ok()?;
    let mode = found.mode() & 0o7777;
    (found.is_file() && mode & ALL_USERS != 0).then_some(mode)
}
