//! Scalar resolution as in `yaml.v3`: plain scalars and explicit tags.
//!
//! It follows YAML 1.2's core schema with the additions that make older files work: `0755` and
//! `0b101` are numbers, underscores may stand between digits. `yes`, `no`, `on`, `off` are texts
//! here; only a boolean key takes them for truth values.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How the scalar was marked in the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// Nothing (or `!`) before a plain scalar: its text decides.
    Plain,
    /// Quotes, a block scalar or `!!str`: text, whatever it looks like.
    Str,
    /// `!!binary`: base64 of bytes.
    Binary,
    /// `!!int`, `!!float`, `!!bool`, `!!null`, `!!timestamp` or another tag, by its short name.
    Explicit(String),
}

/// The value of a scalar.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    /// An integer above `i64::MAX`.
    Large(u64),
    Float(f64),
    Str,
    Bytes(Vec<u8>),
}

impl Value {
    /// The tag that `yaml.v3` would give to such a value.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "!!null",
            Self::Bool(_) => "!!bool",
            Self::Int(_) | Self::Large(_) => "!!int",
            Self::Float(_) => "!!float",
            Self::Str => "!!str",
            Self::Bytes(_) => "!!binary",
        }
    }
}

/// The value of the scalar `text` under `tag`, or what is wrong with it.
pub(super) fn resolve(text: &str, tag: &Tag) -> Result<Value, String> {
    match tag {
        Tag::Plain => Ok(plain(text)),
        Tag::Str => Ok(Value::Str),
        Tag::Binary => {
            let joined: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
            let bytes = STANDARD.decode(joined);
            bytes
                .map(Value::Bytes)
                .map_err(|_| "!!binary value is not base64".to_owned())
        }
        Tag::Explicit(name) => match (plain(text), name.as_str()) {
            (value, name) if value.kind() == name => Ok(value),
            (Value::Int(n), "!!float") => Ok(Value::Float(n as f64)),
            (Value::Large(n), "!!float") => Ok(Value::Float(n as f64)),
            (Value::Str, "!!timestamp") => Ok(Value::Str),
            (_, "!!int" | "!!float" | "!!bool" | "!!null" | "!!timestamp") => Err(format!(
                "the value is not what the tag {name} says; leave the tag out"
            )),
            // An unknown tag says nothing here; the value is a text.
            _ => Ok(Value::Str),
        },
    }
}

/// The value of a plain scalar without a tag.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Value::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        _ => {}
    }
    match text.as_bytes()[0] {
        b'.' => float(text).map_or(Value::Str, Value::Float),
        b'+' | b'-' | b'0'..=b'9' => {
            let digits = text.replace('_', "");
            integer(&digits)
                .or_else(|| float(&digits).map(Value::Float))
                .unwrap_or(Value::Str)
        }
        _ => Value::Str,
    }
}

/// An integer in the notations of Go's `strconv.ParseInt` with base 0.
fn integer(text: &str) -> Option<Value> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (digits, radix) = match unsigned.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&unsigned[2..], 16),
        [b'0', b'o' | b'O', ..] => (&unsigned[2..], 8),
        [b'0', b'b' | b'B', ..] => (&unsigned[2..], 2),
        [b'0', _, ..] => (&unsigned[1..], 8),
        _ => (unsigned, 10),
    };
    if digits.is_empty() || !digits.bytes().all(|b| (b as char).is_digit(radix)) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        return (magnitude <= 1 << 63).then(|| Value::Int((magnitude as i64).wrapping_neg()));
    }
    // An unsigned number may not carry a sign, as in Go's ParseUint.
    match i64::try_from(magnitude) {
        Ok(number) => Some(Value::Int(number)),
        Err(_) if text.starts_with('+') => None,
        Err(_) => Some(Value::Large(magnitude)),
    }
}

/// A float of the form `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?` that is finite.
fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let mantissa_fits = match mantissa.split_once('.') {
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits(whole) && (fraction.is_empty() || digits(fraction)),
        None => digits(mantissa),
    };
    let exponent_fits = exponent.is_none_or(|e| digits(e.strip_prefix(['+', '-']).unwrap_or(e)));
    if !mantissa_fits || !exponent_fits {
        return None;
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// The integer that an integer key gets: fractions are cut, what no `i64` holds is nothing.
pub(super) fn as_integer(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        // 2^63 itself is not an i64; every float below it converts exactly.
        Value::Float(f) if (-(2f64.powi(63))..2f64.powi(63)).contains(f) => Some(*f as i64),
        _ => None,
    }
}

/// The truth value that a boolean key gets: also YAML 1.1's words.
pub(super) fn as_boolean(value: &Value, text: &str) -> Option<bool> {
    match (value, text) {
        (Value::Bool(truth), _) => Some(*truth),
        (Value::Str, "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON") => Some(true),
        (Value::Str, "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF") => Some(false),
        _ => None,
    }
}

/// Whether the plain scalar `text` would be read back as this very text by every YAML reader in
/// use.
pub(super) fn is_unmistakable_text(text: &str) -> bool {
    let value = plain(text);
    let base_60 = {
        let parts: Vec<&str> = text.trim_start_matches(['+', '-']).split(':').collect();
        parts.len() > 1
            && parts
                .iter()
                .all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
    };
    value == Value::Str && as_boolean(&value, text).is_none() && !base_60 && text != "<<"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_every_notation_of_yaml_1_1_and_1_2() {
        let cases: &[(&str, i64)] = &[
            ("1_000", 1000),
            ("0x500", 1280),
            ("0755", 493),
            ("0o755", 493),
            ("0b101", 5),
            ("-0x10", -16),
            ("+7", 7),
            ("1350.7", 1350),
            ("1e3", 1000),
            ("08", 8),
            ("-9223372036854775808", i64::MIN),
        ];
        for (text, number) in cases {
            let value = resolve(text, &Tag::Plain).expect("plain scalars always have a value");
            assert_eq!(as_integer(&value), Some(*number), "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_a_number_stays_text() {
        for text in [
            "1.2.3",
            "0x",
            "1__2x",
            "-",
            "+",
            "12h",
            "1e",
            "0xg",
            "2020-01-01",
            "1:30",
        ] {
            assert_eq!(resolve(text, &Tag::Plain), Ok(Value::Str), "{text}");
        }
    }

    #[test]
    fn an_integer_that_no_key_can_hold_is_refused() {
        for text in [
            "9223372036854775808",
            "99999999999999999999",
            ".inf",
            "1e19",
        ] {
            let value = resolve(text, &Tag::Plain).expect("plain scalars always have a value");
            assert_eq!(as_integer(&value), None, "{text}");
        }
    }
}
