//! `{"time":...,"level":...,"msg":...,"key":value,...}`, as `slog.JSONHandler` writes it.

use std::fmt::Write as _;

use super::record::{FieldValue, Record};
use super::text::{push_display, push_offset};

/// Time with nanoseconds, without trailing zeros, and the zone's offset.
pub(super) fn line(record: &Record) -> String {
    let mut line = String::with_capacity(192);
    line.push_str("{\"time\":\"");
    push_display(&mut line, record.time.strftime("%Y-%m-%dT%H:%M:%S"));
    let nanos = record.time.subsec_nanosecond();
    if nanos != 0 {
        let digits = format!("{nanos:09}");
        line.push('.');
        line.push_str(digits.trim_end_matches('0'));
    }
    push_offset(&mut line, record);
    write!(line, "\",\"level\":\"{}\",\"msg\":", record.level).expect("a String takes every write");
    push_string(&mut line, &record.message);
    for (key, value) in &record.fields {
        line.push(',');
        push_string(&mut line, key);
        line.push(':');
        match value {
            FieldValue::Str(text) => push_string(&mut line, text),
            FieldValue::Signed(number) => push_display(&mut line, number),
            FieldValue::Unsigned(number) => push_display(&mut line, number),
            FieldValue::Float(number) if number.is_finite() => push_display(&mut line, number),
            // JSON has no number for these.
            FieldValue::Float(number) => push_string(&mut line, &number.to_string()),
            FieldValue::Bool(truth) => push_display(&mut line, truth),
        }
    }
    line.push_str("}\n");
    line
}

/// Appends a JSON string (RFC 8259 section 7). `<`, `>` and `&` stay; the two line separators that
/// JavaScript stumbles over do not.
fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..' ' | '\u{2028}' | '\u{2029}' => {
                write!(out, "\\u{:04x}", u32::from(c)).expect("a String takes every write");
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
