//! Log lines in the shape of Go's `log/slog`.

mod level;

pub use level::{LogLevel, UnknownLevel};

/// How to log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogConfig {
    /// The least severe level that is logged. Default: info.
    pub level: LogLevel,
    /// JSON objects instead of `key=value` text. Default: text.
    pub json: bool,
}
