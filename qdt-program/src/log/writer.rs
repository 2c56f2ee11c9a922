//! The thread that writes log lines, and its bounded queue.
//!
//! Invariants: logging never waits for the reader of the log. What does not fit into the
//! queue, or cannot be written, is dropped and counted, and a line says how many lines are missing
//! as soon as one can be written again, in the place where they are missing. A line is one write,
//! and a line that was cut short is never continued by another.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, write};

/// Lines that the queue holds: some seconds of a busy server at level debug.
const MAX_LINES: usize = 8192;
/// Bytes that the queue holds.
const MAX_BYTES: usize = 1 << 20;

/// Writes lines on a thread of its own; clones feed the same thread.
#[derive(Clone)]
pub struct LineWriter(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// There is something to write.
    filled: Condvar,
    /// Everything that can be written is.
    emptied: Condvar,
    dropped: AtomicU64,
    /// The line that says how many lines are missing.
    notice: Box<dyn Fn(u64) -> String + Send + Sync>,
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Lines that were dropped and of which no notice waits.
    missing: u64,
    /// The last write failed: a notice waits for the next line.
    failing: bool,
    writing: bool,
}

enum Entry {
    Line(String),
    /// So many lines are missing here.
    Missing(u64),
}

impl Queue {
    /// What to write next.
    fn take(&mut self) -> Option<Entry> {
        let entry = match self.entries.pop_front() {
            None if self.missing > 0 && !self.failing => {
                Entry::Missing(std::mem::take(&mut self.missing))
            }
            entry => entry?,
        };
        if let Entry::Line(line) = &entry {
            self.bytes -= line.len();
        }
        Some(entry)
    }

    fn is_written(&self) -> bool {
        self.entries.is_empty() && !self.writing && (self.missing == 0 || self.failing)
    }
}

impl fmt::Debug for LineWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dropped = self.dropped();
        f.debug_struct("LineWriter")
            .field("dropped", &dropped)
            .finish_non_exhaustive()
    }
}

impl LineWriter {
    /// Starts the thread that writes to `out`. `notice` makes the line that says how many lines are
    /// missing.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(
        out: impl AsFd + Send + 'static,
        notice: impl Fn(u64) -> String + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let writer = Self(Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            dropped: AtomicU64::new(0),
            notice: Box::new(notice),
        }));
        let shared = writer.0.clone();
        std::thread::Builder::new()
            .name("qdt-log".to_owned())
            .spawn(move || shared.write_all(&out))?;
        Ok(writer)
    }

    /// Queues a line, with its line feed. Never blocks.
    pub fn push(&self, line: &str) {
        let mut queue = self.0.lock();
        let fits = queue.entries.len() < MAX_LINES && queue.bytes + line.len() <= MAX_BYTES;
        if fits {
            if queue.missing > 0 {
                let missing = std::mem::take(&mut queue.missing);
                queue.entries.push_back(Entry::Missing(missing));
            }
            queue.bytes += line.len();
            queue.entries.push_back(Entry::Line(line.to_owned()));
        } else {
            queue.missing += 1;
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
        drop(queue);
        self.0.filled.notify_one();
    }

    /// Returns how many lines were dropped since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything is written that can be, at most for `limit`; says whether it is.
    pub fn flush(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut queue = self.0.lock();
        while !queue.is_written() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.0.emptied.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Shared {
    /// Nothing panics while it holds the lock, and if it did, logging would go on.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&self, out: &impl AsFd) {
        // The last line on `out` was cut short.
        let mut torn = false;
        let mut queue = self.lock();
        loop {
            let Some(entry) = queue.take() else {
                self.emptied.notify_all();
                let waited = self.filled.wait(queue);
                queue = waited.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            queue.writing = true;
            drop(queue);
            let notice;
            let line = match &entry {
                Entry::Line(line) => line,
                Entry::Missing(count) => {
                    notice = (self.notice)(*count);
                    &notice
                }
            };
            let ended = if torn {
                write_line(out, b"\n", &mut torn)
            } else {
                Ok(())
            };
            let written = ended.and_then(|()| write_line(out, line.as_bytes(), &mut torn));
            queue = self.lock();
            queue.writing = false;
            queue.failing = written.is_err();
            if written.is_err() {
                queue.missing += match entry {
                    Entry::Line(_) => {
                        self.dropped.fetch_add(1, Ordering::Relaxed);
                        1
                    }
                    Entry::Missing(count) => count,
                };
            }
        }
    }
}

/// Writes a whole line and waits for room where there is none. `torn` says afterwards whether the
/// last line was cut short.
fn write_line(out: &impl AsFd, line: &[u8], torn: &mut bool) -> Result<(), Errno> {
    let mut rest = line;
    while !rest.is_empty() {
        match write(out, rest) {
            Ok(length) => {
                rest = &rest[length..];
                *torn = !rest.is_empty();
            }
            Err(Errno::INTR) => {}
            // Another program made it non-blocking, for all that share it.
            Err(Errno::AGAIN) => match poll(&mut [PollFd::new(out, PollFlags::OUT)], None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            },
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
