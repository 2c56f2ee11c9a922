//! The text inside JSON strings, both ways, with the results of Go's `encoding/json`.
//!
//! Invariants: reading never fails (what is no Unicode becomes U+FFFD, one per wrong byte
//! or lone surrogate), and what is written is plain JSON that is also harmless inside HTML.

/// The text that the bytes between two quotes stand for; their escapes have been checked.
pub(super) fn unescape(raw: &[u8]) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(backslash) = rest.iter().position(|byte| *byte == b'\\') {
        push_lossy(&mut text, &rest[..backslash]);
        let (character, after) = escaped(&rest[backslash + 1..]);
        text.push(character);
        rest = after;
    }
    push_lossy(&mut text, rest);
    text
}

/// Reads what follows a backslash; a lone surrogate is U+FFFD and takes nothing else with it.
fn escaped(rest: &[u8]) -> (char, &[u8]) {
    let simple = |character| (character, rest.get(1..).unwrap_or_default());
    match rest.first() {
        Some(b'b') => simple('\u{8}'),
        Some(b'f') => simple('\u{c}'),
        Some(b'n') => simple('\n'),
        Some(b'r') => simple('\r'),
        Some(b't') => simple('\t'),
        Some(b'u') => {
            let after = rest.get(5..).unwrap_or_default();
            let Some(unit) = code_unit(rest) else {
                return (char::REPLACEMENT_CHARACTER, after);
            };
            if let Some(character) = char::from_u32(u32::from(unit)) {
                return (character, after);
            }
            let second = after.strip_prefix(b"\\").and_then(code_unit);
            if let Some(second) = second
                && let Some(Ok(character)) = char::decode_utf16([unit, second]).next()
            {
                return (character, &after[6..]);
            }
            (char::REPLACEMENT_CHARACTER, after)
        }
        Some(other) => simple(char::from(*other)),
        None => (char::REPLACEMENT_CHARACTER, &[]),
    }
}

/// The UTF-16 code unit of `uXXXX`.
fn code_unit(rest: &[u8]) -> Option<u16> {
    let digits = rest.strip_prefix(b"u")?.get(..4)?;
    u16::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

/// Appends bytes as text; each byte that is not part of valid UTF-8 becomes one U+FFFD.
fn push_lossy(text: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
}

/// Returns the lower-case name that a key (raw, as in the input) matches. Letters compare by
/// Unicode simple case folding, so that the Kelvin sign is a k and the long s is an s.
pub(super) fn folded(raw: &[u8]) -> String {
    unescape(raw).chars().map(fold).collect()
}

fn fold(character: char) -> char {
    match character {
        '\u{212a}' => 'k',
        '\u{17f}' => 's',
        other => other.to_ascii_lowercase(),
    }
}

/// Appends `text` as a JSON string, escaped as Go's encoder does by default.
pub(super) fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(character)).as_bytes());
            }
            plain => {
                let mut utf8 = [0; 4];
                out.extend_from_slice(plain.encode_utf8(&mut utf8).as_bytes());
            }
        }
    }
    out.push(b'"');
}

/// Appends an array of strings.
pub(super) fn write_strings(out: &mut Vec<u8>, texts: &[String]) {
    out.push(b'[');
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(out, text);
    }
    out.push(b']');
}
