//! Quoting of a text so that every YAML reader reads the same text back.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::scalar::is_unmistakable_text;

/// `text` as a YAML scalar: plain where that is unmistakable, otherwise in double quotes.
pub fn yaml_scalar(text: &str) -> Cow<'_, str> {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "_./+-:@= ".contains(c);
    let plain = !text.is_empty()
        && text.chars().all(harmless)
        && !text.starts_with(['-', ' ', '@', '='])
        && !text.starts_with(": ")
        && !text.ends_with([':', ' '])
        && !text.contains(": ")
        && is_unmistakable_text(text);
    if plain {
        return Cow::Borrowed(text);
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            // Line breaks of YAML 1.1 and the byte order mark would not survive as they are.
            '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                escape(&mut quoted, c)
            }
            c if c.is_control() => escape(&mut quoted, c),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    Cow::Owned(quoted)
}

fn escape(out: &mut String, c: char) {
    write!(out, "\\u{:04x}", u32::from(c)).expect("a String takes every write");
}
