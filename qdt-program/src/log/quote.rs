//! When a text needs quotes in a log line, and how Go's `strconv.Quote` writes it then.

use std::fmt::Write as _;

/// Appends `text`, quoted only where `slog.TextHandler` quotes: nothing at all, a space, `=`, a
/// double quote, or a character that does not print. A backslash alone needs none.
pub(super) fn push_text(out: &mut String, text: &str) {
    let plain = |c: char| match c {
        ' ' | '=' | '"' => false,
        '\u{21}'..='\u{7f}' => true,
        _ => is_print(c) && !c.is_whitespace() && c != char::REPLACEMENT_CHARACTER,
    };
    if !text.is_empty() && text.chars().all(plain) {
        out.push_str(text);
    } else {
        push_quoted(out, text);
    }
}

/// Appends `text` in double quotes with Go's escapes.
pub(super) fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        let escape = match c {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\u{7}' => "\\a",
            '\u{8}' => "\\b",
            '\u{c}' => "\\f",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            '\u{b}' => "\\v",
            c if is_print(c) => {
                out.push(c);
                continue;
            }
            c => {
                let code = u32::from(c);
                let written = match code {
                    0..0x20 | 0x7f => write!(out, "\\x{code:02x}"),
                    0x80..0x1_0000 => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
                written.expect("a String takes every write");
                continue;
            }
        };
        out.push_str(escape);
    }
    out.push('"');
}

/// Go's `unicode.IsPrint`: letters, marks, numbers, punctuation, symbols and the ASCII space.
fn is_print(c: char) -> bool {
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    // The standard library has the same table, but shows it only through what it escapes; it
    // escapes combining marks at the beginning of a text, hence the letter before.
    let mut encoded = [b'x', 0, 0, 0, 0];
    let len = c.encode_utf8(&mut encoded[1..]).len();
    let text = std::str::from_utf8(&encoded[..=len]).expect("a letter and a character");
    text.escape_debug().nth(1) == Some(c)
}
