//! The system's programs: where they are found, in which language they answer, how long they may
//! take.
//!
//! Invariants: a program has [`LIMIT`], then it and what it started are killed and the call fails,
//! so that a helper that hangs delays a start or a stop and does not prevent it. A program has a
//! process group of its own: Ctrl-C ends ours in an orderly way and does not cut its helpers short.

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

/// How long a program may take.
const LIMIT: Duration = Duration::from_secs(5);

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
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    Ok(command)
}

/// Runs `command` with `input` on its standard input and returns how it ended and what it wrote.
///
/// # Errors
/// `TimedOut` when it has not ended within [`LIMIT`], which is also logged because not every
/// caller can do something about it; and what the system says.
pub(super) async fn run(mut command: Command, input: Option<&str>) -> io::Result<Output> {
    if input.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn()?;
    let mut group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let stdin = child.stdin.take();
    let write = async {
        match (stdin, input) {
            // The pipe is closed when the text is written.
            (Some(mut pipe), Some(text)) => pipe.write_all(text.as_bytes()).await,
            _ => Ok(()),
        }
    };
    let ended = timeout(LIMIT, async {
        let (written, output) = tokio::join!(write, child.wait_with_output());
        (written, output)
    });
    let Ok((written, output)) = ended.await else {
        let program = command.as_std().get_program().display();
        warn!(%program, "a helper has not ended within {LIMIT:?} and was killed");
        let text = format!("not ended within {LIMIT:?}, killed");
        return Err(io::Error::new(io::ErrorKind::TimedOut, text));
    };
    let output = output?;
    group.0 = None;
    // A program that fails need not read; how it ended says more.
    match written {
        Err(error) if output.status.success() => Err(error),
        _ => Ok(output),
    }
}

/// The processes of a program that has not ended; killed when dropped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may just have ended.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The first line a program wrote on its standard error, or how it ended.
pub(super) fn first_line(stderr: &[u8], status: ExitStatus) -> String {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    line.map_or_else(|| status.to_string(), str::to_owned)
}
