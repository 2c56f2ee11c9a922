//! Helper programs of the system: search path, environment and timeout.
//!
//! Invariants: a helper that runs longer than [`TIMEOUT`] is killed together with its children, and
//! the call fails, so that a hanging helper delays a start or a stop but does not prevent it. A
//! helper has its own process group, so Ctrl-C interrupts this program, not its helpers.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::PathBuf,
    process::{ExitStatus, Output, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};
use tracing::warn;

/// The timeout of a helper.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The directories of system programs, also for a user whose `PATH` omits them.
const SYSTEM_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin";

/// Returns `PATH`, followed by the directories of system programs.
pub(super) fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    if !path.is_empty() {
        path.push(":");
    }
    path.push(SYSTEM_PATH);
    path
}

/// Returns the file of `program` in the directories of `path`.
pub(super) fn find(program: &str, path: &OsStr) -> Option<PathBuf> {
    let mut files = std::env::split_paths(path).map(|directory| directory.join(program));
    files.find(|file| file.is_file())
}

/// Returns a command from [`search_path`] with English messages and empty input. Dropping its child
/// kills it.
///
/// # Errors
/// `NotFound` when there is no such program.
pub(super) fn command(program: &str) -> io::Result<Command> {
    command_in(program, &search_path())
}

/// Returns such a command from `path`.
pub(super) fn command_in(program: &str, path: &OsStr) -> io::Result<Command> {
    let file = find(program, path).ok_or(io::ErrorKind::NotFound)?;
    let mut command = Command::new(file);
    command
        .env("PATH", path)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    Ok(command)
}

/// Runs `command` with `input` on its standard input and returns its status and output.
///
/// # Errors
/// `TimedOut` after [`TIMEOUT`], which is logged too, since some callers ignore errors; and the
/// errors of the operating system.
pub(super) async fn run(mut command: Command, input: Option<&str>) -> io::Result<Output> {
    if input.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn()?;
    let mut group = ProcessGroup(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let stdin = child.stdin.take();
    let write = async {
        match (stdin, input) {
            // Dropping the pipe closes it after the text.
            (Some(mut pipe), Some(text)) => pipe.write_all(text.as_bytes()).await,
            _ => Ok(()),
        }
    };
    let ended = timeout(TIMEOUT, async {
        let (written, output) = tokio::join!(write, child.wait_with_output());
        (written, output)
    });
    let Ok((written, output)) = ended.await else {
        let program = command.as_std().get_program().display();
        warn!(%program, "a helper has not ended within {TIMEOUT:?} and was killed");
        let text = format!("not ended within {TIMEOUT:?}, killed");
        return Err(io::Error::new(io::ErrorKind::TimedOut, text));
    };
    let output = output?;
    group.0 = None;
    // A failing program may not read its input; its status says more.
    match written {
        Err(error) if output.status.success() => Err(error),
        _ => Ok(output),
    }
}

/// The process group of a running helper; killed on drop.
struct ProcessGroup(Option<Pid>);

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Ignore errors: it may just have ended.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Returns the first line of standard error, or the status where that is empty.
pub(super) fn first_line(stderr: &[u8], status: ExitStatus) -> String {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    line.map_or_else(|| status.to_string(), str::to_owned)
}
