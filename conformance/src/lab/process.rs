//! A program running on a machine: its output goes to files, its end is
//! waited for, and it dies with its owner.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use super::machine::Machine;
use super::wait::wait_for;

/// A running (or ended) program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    /// How long both were when this run began.
    begun: [usize; 2],
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `program` on `machine`. Its output is appended to
    /// `<machine folder>/<name>.out` and `.err`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn start(machine: &Machine, name: &str, program: &Path, arguments: &[&str]) -> Self {
        let file = |ending: &str| {
            let path = machine.folder().join(format!("{name}.{ending}"));
            let file = File::options()
                .create(true)
                .append(true)
                .open(&path)
                .expect("the machine's folder is writable");
            (path, file)
        };
        let (stdout, out) = file("out");
        let (stderr, err) = file("err");
        let begun = [&stdout, &stderr].map(|path| read(path).len());
        let child = machine
            .command(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap_or_else(|error| panic!("{} on {}: {error}", program.display(), machine.name()));
        Self {
            name: format!("{name} on {}", machine.name()),
            child,
            stdout,
            stderr,
            begun,
            ended: None,
        }
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything written to stdout so far, earlier runs of the same name
    /// included.
    #[must_use]
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// Everything written to stderr so far, earlier runs included.
    #[must_use]
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// What this run has written to stdout and stderr so far.
    #[must_use]
    pub fn output(&self) -> String {
        let written = [&self.stdout, &self.stderr].map(|path| read(path));
        written
            .iter()
            .zip(self.begun)
            .filter_map(|(text, begun)| text.get(begun..))
            .collect()
    }

    /// Waits for a line of this run on stdout or stderr that contains `text`.
    ///
    /// # Panics
    /// When it does not come in time; the output is shown.
    #[track_caller]
    pub fn wait_for_line(&mut self, text: &str, within: Duration) -> String {
        let what = format!("a line with {text:?} from {}", self.name);
        wait_for(&what, within, || {
            self.output()
                .lines()
                .find(|line| line.contains(text))
                .map(str::to_owned)
        })
    }

    /// Sends a signal.
    pub fn signal(&self, signal: libc::c_int) {
        if self.ended.is_none() {
            // SAFETY: plain system call; a child that was not waited for keeps its pid.
            unsafe { libc::kill(self.child.id().cast_signed(), signal) };
        }
    }

    /// Ends it with SIGKILL and waits for the end.
    pub fn kill(&mut self) {
        if self.ended.is_none() {
            let _ = self.child.kill();
            self.ended = self.child.wait().ok();
        }
    }

    /// The exit status, where it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// Waits for the end and returns the exit code (128 + signal, where one
    /// ended it).
    ///
    /// # Panics
    /// When it runs on.
    #[track_caller]
    pub fn wait_for_exit(&mut self, within: Duration) -> i32 {
        let what = format!("the end of {}", self.name);
        let status = wait_for(&what, within, || self.ended());
        status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            // A failed test shows what its programs said last.
            for path in [&self.stdout, &self.stderr] {
                let text = read(path);
                let lines: Vec<_> = text.lines().collect();
                let last = &lines[lines.len().saturating_sub(25)..];
                let _ = writeln!(
                    io::stderr(),
                    "---- {} ({})\n{}",
                    self.name,
                    path.display(),
                    last.join("\n")
                );
            }
        }
    }
}

fn read(path: &Path) -> String {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}
