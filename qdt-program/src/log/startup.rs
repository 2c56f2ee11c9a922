//! Lines on stderr before the logger exists: why the program ends, or what it ignores.

use std::fmt;
use std::io::{self, Write as _};

use jiff::Zoned;

use super::level::LogLevel;
use super::record::FieldValue;
use super::text::push_fields;

/// `2006/01/02 15:04:05 ERROR message err="..."` and a line feed, in local time, as Go's default
/// logger has it.
pub fn startup_line(message: &str, error: &dyn fmt::Display) -> String {
    line(LogLevel::Error, message, error)
}

fn line(level: LogLevel, message: &str, error: &dyn fmt::Display) -> String {
    let now = Zoned::now().strftime("%Y/%m/%d %H:%M:%S").to_string();
    let mut line = format!("{now} {level} {message}");
    push_fields(
        &mut line,
        [("err".to_owned(), FieldValue::Str(error.to_string()))].iter(),
    );
    line.push('\n');
    line
}

/// Writes [`startup_line`] to stderr. Errors of stderr itself are ignored.
pub fn startup_error(message: &str, error: &dyn fmt::Display) {
    let _ = io::stderr().write_all(startup_line(message, error).as_bytes());
}

/// Writes the same line with the level WARN to stderr: the program goes on.
pub(crate) fn startup_warning(message: &str, warning: &dyn fmt::Display) {
    let _ = io::stderr().write_all(line(LogLevel::Warn, message, warning).as_bytes());
}
