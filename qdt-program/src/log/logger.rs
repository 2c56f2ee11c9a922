//! The `tracing` subscriber that writes log lines.

use std::fmt;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Zoned;
use tracing::span;
use tracing::{Event, Level, Metadata, Subscriber};

use super::level::LogLevel;
use super::record::{FieldValue, Record};
use super::writer::LineWriter;
use super::{LogConfig, startup_error, startup_warning};

/// Crates of this suite have names that begin so; all others speak at level debug only.
const OUR_CRATES: &str = "qdt";

/// How long the process waits at its end for queued lines to be written.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// The writer of stdout, once there is a log.
static WRITER: OnceLock<LineWriter> = OnceLock::new();

/// Writes every event that its level lets through as one line.
pub struct Logger<W> {
    level: LogHandle,
    json: bool,
    write_line: W,
}

/// Changes the level of a running logger; clones change the same one.
#[derive(Clone)]
pub struct LogHandle(Arc<AtomicU8>);

impl LogHandle {
    fn new(level: LogLevel) -> Self {
        Self(Arc::new(AtomicU8::new(level as u8)))
    }

    /// The least severe level that is logged.
    pub fn level(&self) -> LogLevel {
        [
            LogLevel::Debug,
            LogLevel::Info,
            LogLevel::Warn,
            LogLevel::Error,
        ]
        .into_iter()
        .find(|level| *level as u8 == self.0.load(Ordering::Relaxed))
        .expect("only levels are stored")
    }

    /// Logs from `level` upwards from now on.
    pub fn set_level(&self, level: LogLevel) {
        self.0.store(level as u8, Ordering::Relaxed);
        // Call sites cache whether they are enabled; this makes them check again.
        tracing::callsite::rebuild_interest_cache();
    }
}

impl fmt::Debug for LogHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogHandle").field(&self.level()).finish()
    }
}

impl<W> fmt::Debug for Logger<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            level,
            json,
            write_line: _,
        } = self;
        f.debug_struct("Logger")
            .field("level", level)
            .field("json", json)
            .finish_non_exhaustive()
    }
}

impl<W: Fn(&str) + Send + Sync + 'static> Logger<W> {
    /// Creates a logger whose lines, each with its line feed, go to `write_line`.
    pub fn new(config: LogConfig, write_line: W) -> Self {
        Self {
            level: LogHandle::new(config.level),
            json: config.json,
            write_line,
        }
    }

    /// Returns the handle that changes the level.
    pub fn handle(&self) -> LogHandle {
        self.level.clone()
    }
}

impl<W: Fn(&str) + Send + Sync + 'static> Subscriber for Logger<W> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let ours = metadata.target().starts_with(OUR_CRATES);
        match self.level.level() {
            _ if !metadata.is_event() => false,
            LogLevel::Debug => *metadata.level() <= Level::DEBUG,
            LogLevel::Info => ours && *metadata.level() <= Level::INFO,
            LogLevel::Warn => ours && *metadata.level() <= Level::WARN,
            LogLevel::Error => ours && *metadata.level() <= Level::ERROR,
        }
    }

    fn event(&self, event: &Event<'_>) {
        let record = Record::of(event);
        let line = if self.json {
            record.to_json()
        } else {
            record.to_text()
        };
        (self.write_line)(&line);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        // Spans are never enabled; the identifier only has to be one.
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// Starts logging to stdout for the whole process, on a thread of its own: a reader that stalls or
/// went away costs lines and nothing else. Call it once; a second call says so on stderr and
/// changes nothing.
pub fn init_log(config: LogConfig) -> LogHandle {
    let notice = move |count| dropped(config, count);
    let writer = match LineWriter::start(io::stdout(), notice) {
        Ok(writer) => Some(WRITER.get_or_init(|| writer)),
        Err(error) => {
            startup_warning("lines are logged without a thread of their own", &error);
            None
        }
    };
    let logger = Logger::new(config, move |line: &str| match writer {
        Some(writer) => writer.push(line),
        // A closed log must not end the tunnel.
        None => drop(io::stdout().lock().write_all(line.as_bytes())),
    });
    let handle = logger.handle();
    if let Err(error) = tracing::subscriber::set_global_default(logger) {
        startup_error("logger error", &error);
    }
    handle
}

/// Returns the line that reports how many lines are missing.
fn dropped(config: LogConfig, count: u64) -> String {
    let record = Record {
        time: Zoned::now(),
        level: LogLevel::Warn,
        message: "log lines dropped".to_owned(),
        fields: vec![
            ("count".to_owned(), FieldValue::Unsigned(count.into())),
            (
                "err".to_owned(),
                FieldValue::Str("stdout was not read, or could not be written".to_owned()),
            ),
        ],
    };
    if config.json {
        record.to_json()
    } else {
        record.to_text()
    }
}

/// Returns how many lines could not be written since the start.
#[must_use]
pub fn dropped_log_lines() -> u64 {
    WRITER.get().map_or(0, LineWriter::dropped)
}

/// Waits, when it is dropped, until the log is written, [`FLUSH_LIMIT`] at most. Make one first in
/// `main`.
#[derive(Debug)]
pub struct FlushLogAtExit;

impl Drop for FlushLogAtExit {
    fn drop(&mut self) {
        if let Some(writer) = WRITER.get() {
            writer.flush(FLUSH_LIMIT);
        }
    }
}
