//! Log lines in the shape of Go's `log/slog`, which operators' pipelines already read.
//!
//! [`Logger`] takes `tracing` events and makes each one line: `key=value` text or a JSON object.
//! The message comes first, then the fields in the order in which the event names them; a field
//! formatted with `%` or `?` is a string, a number stays a number (also above `i64::MAX`). Only our
//! own crates are logged; dependencies are logged too at level debug. Spans are ignored. A
//! level that is not logged costs one atomic load per call site at most, and the level can be
//! changed at any time. [`LineWriter`] writes the lines on a thread of its own, so that logging
//! never waits for the reader of the log.
//!
//! Before there is a logger, [`startup_line`] formats the one line that reports the error.

mod json;
mod level;
mod logger;
mod quote;
mod record;
mod startup;
mod text;
mod writer;

pub use level::{LogLevel, UnknownLevel};
pub use logger::{FlushLogAtExit, LogHandle, Logger, dropped_log_lines, init_log};
pub use record::{FieldValue, Record};
pub(crate) use startup::startup_warning;
pub use startup::{startup_error, startup_line};
pub use writer::LineWriter;

use std::path::Path;

use crate::yaml::Warning;

/// How to log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogConfig {
    /// The least severe level that is logged. Default: info.
    pub level: LogLevel,
    /// JSON objects instead of `key=value` text. Default: text.
    pub json: bool,
}

/// Logs the warnings about a configuration file, one line each.
pub fn log_warnings(file: &Path, warnings: &[Warning]) {
    for warning in warnings {
        let Warning { line, key, text } = warning;
        let file = file.display();
        match line {
            Some(line) => tracing::warn!(%file, line, key, warning = text, "config warning"),
            None => tracing::warn!(%file, key, warning = text, "config warning"),
        }
    }
}
