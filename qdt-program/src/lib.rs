//! The control-side code that both programs share: flags, YAML, durations, addresses, secrets,
//! logs, signals.
//!
//! Everything here is read or written by people and by the tools around the programs: files,
//! command lines, log lines. So the forms are those of the Go programs that this suite replaces
//! (Go's `flag`, `time`, `net`, `log/slog` and `yaml.v3`), and an error always says what is wrong,
//! where, and what to do about it. Nothing in this crate touches a packet.

mod config_file;
mod core_dump;
mod duration;
mod flags;
mod host_port;
mod log;
mod open_secret;
mod signals;
mod token;
mod yaml;

pub use config_file::{ConfigProblem, Loaded, ReadError, read_config_yaml};
pub use core_dump::forbid_core_dumps;
pub use duration::{DurationError, GoDuration};
pub use flags::{CommandLine, EarlyExit};
pub use host_port::{HostPort, HostPortError, ListenAddress, Protocol, ResolveError};
pub use log::{
    FieldValue, FlushLogAtExit, LineWriter, LogConfig, LogHandle, LogLevel, Logger, Record,
    UnknownLevel, dropped_log_lines, init_log, log_warnings, startup_error, startup_line,
};
pub use open_secret::warn_of_open_secrets;
pub use signals::{Signal, Signals};
pub use token::{Token, TokenProblem};
pub use yaml::{Warning, YamlError, from_yaml, yaml_scalar};
