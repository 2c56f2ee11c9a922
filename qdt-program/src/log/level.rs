//! Log levels.

use std::fmt;
use std::str::FromStr;

/// Severity of a log line, least severe first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Everything, including what the libraries underneath have to say.
    Debug,
    /// Normal operation.
    #[default]
    Info,
    /// A condition that the operator should look at.
    Warn,
    /// A failure.
    Error,
}

/// The text is not a level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown log level {0:?}; use debug, info, warn or error")]
pub struct UnknownLevel(String);

impl FromStr for LogLevel {
    type Err = UnknownLevel;

    /// In any case; `warning` is `warn`, and no text at all is `info`.
    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        match text.to_ascii_lowercase().as_str() {
            "debug" => Ok(Self::Debug),
            "" | "info" => Ok(Self::Info),
            "warn" | "warning" => Ok(Self::Warn),
            "error" => Ok(Self::Error),
            _ => Err(UnknownLevel(text.to_owned())),
        }
    }
}

impl fmt::Display for LogLevel {
    /// As it stands in a log line: `INFO`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        })
    }
}
