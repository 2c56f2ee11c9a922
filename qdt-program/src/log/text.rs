//! `time=... level=... msg=... key=value ...`, as `slog.TextHandler` writes it.

use std::fmt::Write as _;

use super::quote::push_text;
use super::record::{FieldValue, Record};

/// Time with milliseconds (cut, not rounded) and the zone's offset, `Z` for none.
pub(super) fn line(record: &Record) -> String {
    let mut line = String::with_capacity(160);
    let time = record.time.strftime("%Y-%m-%dT%H:%M:%S");
    let millis = record.time.subsec_nanosecond() / 1_000_000;
    write!(line, "time={time}.{millis:03}").expect("a String takes every write");
    push_offset(&mut line, record);
    write!(line, " level={} msg=", record.level).expect("a String takes every write");
    push_text(&mut line, &record.message);
    push_fields(&mut line, record.fields.iter());
    line.push('\n');
    line
}

/// Appends ` key=value` for each field.
pub(super) fn push_fields<'a>(
    line: &mut String,
    fields: impl Iterator<Item = &'a (String, FieldValue)>,
) {
    for (key, value) in fields {
        line.push(' ');
        push_text(line, key);
        line.push('=');
        match value {
            FieldValue::Str(text) => push_text(line, text),
            FieldValue::Signed(number) => push_display(line, number),
            FieldValue::Unsigned(number) => push_display(line, number),
            FieldValue::Float(number) => push_display(line, number),
            FieldValue::Bool(truth) => push_display(line, truth),
        }
    }
}

/// Appends the offset from UTC as `+01:00`, or `Z`.
pub(super) fn push_offset(line: &mut String, record: &Record) {
    match record.time.offset().seconds() {
        0 => line.push('Z'),
        _ => push_display(line, record.time.strftime("%:z")),
    }
}

pub(super) fn push_display(line: &mut String, value: impl std::fmt::Display) {
    write!(line, "{value}").expect("a String takes every write");
}
