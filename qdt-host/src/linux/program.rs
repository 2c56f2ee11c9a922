//! Running the system's programs: where they are found, in which language they answer.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
};

use tokio::process::Command;

/// Where system programs are, also for a user whose `PATH` leaves them out.
const SYSTEM_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin";

/// `PATH`, then where system programs are.
pub(super) fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    if !path.is_empty() {
        path.push(":");
    }
    path.push(SYSTEM_PATH);
    path
}

/// The file of `program` in the directories of `path`.
pub(super) fn find(program: &str, path: &OsStr) -> Option<PathBuf> {
    let mut files = std::env::split_paths(path).map(|directory| directory.join(program));
    files.find(|file| file.is_file())
}

/// A command that is found in [`search_path`], speaks English, reads nothing and ends with us.
///
/// # Errors
/// `NotFound` when there is no such program.
pub(super) fn command(program: &str) -> io::Result<Command> {
    command_on(program, &search_path())
}

/// The same for a command that is found in `path`.
pub(super) fn command_on(program: &str, path: &OsStr) -> io::Result<Command> {
    let file = find(program, path).ok_or(io::ErrorKind::NotFound)?;
    let mut command = Command::new(file);
    command
        .env("PATH", path)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    Ok(command)
}

/// The first line a program wrote on its standard error, or how it ended.
pub(super) fn first_line(stderr: &[u8], status: ExitStatus) -> String {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    line.map_or_else(|| status.to_string(), str::to_owned)
}
