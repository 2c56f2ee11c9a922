//! Signal handling of both programs.
//!
//! Invariants: no signal that can be caught ends a program with its changes to the host in place,
//! and SIGHUP stays ignored where the program's parent ignores it (`nohup`).

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// The action that a signal requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// End in an orderly way with exit code 0; the signal's name.
    Stop(&'static str),
    /// SIGHUP where it does not stop: read the configuration again.
    Reload,
}

/// Signals that stop a program. SIGXCPU is the warning before a SIGKILL.
const STOP: [(Number, &str); 5] = [
    (Number::TERM, "SIGTERM"),
    (Number::INT, "SIGINT"),
    (Number::QUIT, "SIGQUIT"),
    (Number::POWER, "SIGPWR"),
    (Number::XCPU, "SIGXCPU"),
];

/// The first and the last of the real-time signals, which stop a program too: some supervisors of
/// containers send one. The two below are the C library's own (signal(7)).
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

/// Signals whose default would end a program at once. SIGXFSZ comes from a write to a log file
/// that has reached the limit of its size; the write fails then, which the log counts. SIGPROF is
/// the profiler's while it runs, which leaves it ignored.
const IGNORED: [Number; 8] = [
    Number::USR1,
    Number::USR2,
    Number::ALARM,
    Number::VTALARM,
    Number::IO,
    Number::STKFLT,
    Number::XFSZ,
    Number::PROF,
];

/// Receives signals from the moment it is made: one that arrives during the start is handled after
/// it.
#[derive(Debug)]
pub struct Signals {
    caught: Vec<(Signal, Stream)>,
    _ignored: Vec<Stream>,
}

impl Signals {
    /// Takes over the signals of the process; SIGHUP means `on_sighup`. Needs a tokio runtime.
    ///
    /// # Errors
    /// What the system says when it has no descriptors left.
    pub fn new(on_sighup: Signal) -> io::Result<Self> {
        let raw = |number| signal(SignalKind::from_raw(number));
        let stream = |number: Number| raw(number.as_raw());
        let mut caught = Vec::new();
        for (number, name) in STOP {
            caught.push((Signal::Stop(name), stream(number)?));
        }
        for number in REAL_TIME {
            caught.push((Signal::Stop("a real-time signal"), raw(number)?));
        }
        if on_sighup == Signal::Reload || !is_ignored(Number::HUP) {
            caught.push((on_sighup, stream(Number::HUP)?));
        }
        let ignored = IGNORED.into_iter().map(stream);
        Ok(Self {
            caught,
            _ignored: ignored.collect::<io::Result<_>>()?,
        })
    }

    /// The next signal; of several that wait, one that stops.
    pub async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            for (signal, stream) in &mut self.caught {
                if stream.poll_recv(context).is_ready() {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Whether the process was started with this signal ignored; false where /proc does not tell.
fn is_ignored(number: Number) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 << (number.as_raw() - 1) != 0)
}
