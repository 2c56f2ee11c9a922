//! A new file appears complete or not at all, and never in the place of another.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, RenameFlags};
use rustix::io::Errno;

/// Creates `path` with exactly `mode` (whatever the umask) and `contents`: written beside it, brought
/// to disk, then renamed.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if `path` exists, and whatever the file system says. Nothing is
/// left behind.
pub fn create(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let temporary = beside(path);
    let result = write(&temporary, contents, mode).and_then(|()| publish(&temporary, path));
    if result.is_err() {
        // May be gone or never have been made; the first error is the one to tell.
        let _ = std::fs::remove_file(&temporary);
    }
    result
}

fn write(temporary: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode & 0o600)
        .open(temporary)?;
    file.write_all(contents)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    file.sync_all()
}

/// Gives the file its name unless something has it, and brings the name to disk.
fn publish(temporary: &Path, path: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        // A file system without RENAME_NOREPLACE: a hard link does not replace either.
        Err(Errno::INVAL | Errno::NOSYS) => {
            std::fs::hard_link(temporary, path)?;
            std::fs::remove_file(temporary)?;
        }
        Err(error) => return Err(error.into()),
    }
    File::open(folder_of(path))?.sync_all()
}

fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", std::process::id()));
    folder_of(path).join(name)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
