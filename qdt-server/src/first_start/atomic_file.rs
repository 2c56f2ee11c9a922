//! New files that appear complete or not at all, and replace no other file.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, RenameFlags};
use rustix::io::Errno;

/// Creates `path` with `contents` and exactly `mode`, whatever the umask: writes a temporary file,
/// syncs and renames it.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if `path` exists, and any error of the file system. Nothing is
/// left behind.
pub fn create(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    write_and_name(path, contents, mode, publish)
}

/// As [`create`], but replaces an existing file: for staged files only.
///
/// # Errors
/// Any error of the file system. Nothing is left behind.
pub(super) fn replace(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    write_and_name(path, contents, mode, |temporary, path| {
        std::fs::rename(temporary, path)?;
        File::open(folder_of(path))?.sync_all()
    })
}

fn write_and_name(
    path: &Path,
    contents: &[u8],
    mode: u32,
    name: impl FnOnce(&Path, &Path) -> io::Result<()>,
) -> io::Result<()> {
    remove_leftovers(path);
    let temporary = hidden_path(path, &format!("{}.tmp", std::process::id()));
    let result = write(&temporary, contents, mode).and_then(|()| name(&temporary, path));
    if result.is_err() {
        // It may not exist; the first error is the one to report.
        let _ = std::fs::remove_file(&temporary);
    }
    result
}

/// Removes the temporary files of killed processes. In a container one of them may have had our
/// process id.
fn remove_leftovers(path: &Path) {
    let prefix = hidden_path(path, "");
    let (Some(prefix), Ok(entries)) = (prefix.file_name(), folder_of(path).read_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name
            .as_encoded_bytes()
            .strip_prefix(prefix.as_encoded_bytes())
            .and_then(|rest| rest.strip_suffix(b".tmp"))
            .and_then(|id| std::str::from_utf8(id).ok()?.parse::<u32>().ok());
        let lives = |id| id != std::process::id() && Path::new(&format!("/proc/{id}")).exists();
        if process.is_some_and(|id| !lives(id)) {
            // If it is in the way, creating the file fails with the reason.
            let _ = std::fs::remove_file(entry.path());
        }
    }
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

/// Renames `temporary` to `path` unless that exists, and syncs the folder.
///
/// # Errors
/// As for [`create`].
pub(super) fn publish(temporary: &Path, path: &Path) -> io::Result<()> {
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

/// Returns the hidden path `.FILE.suffix` in the folder of `path`.
pub(super) fn hidden_path(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name.push(suffix);
    folder_of(path).join(name)
}

/// Returns the folder of `path`.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
