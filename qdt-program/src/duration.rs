//! Durations as Go writes and reads them: `1h15m30.5s`, `300ms`, `-1.5h`.
//!
//! The range is that of Go's `time.Duration`, a signed 64-bit count of nanoseconds (about 292 years
//! either way). Every text that Go's `time.ParseDuration` accepts is accepted here with the same
//! value, every other text is refused with the same words, and what is written can always be read
//! back to the same value.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// Name under which a duration announces itself to the YAML reader, so that a bare number is
/// refused for it.
pub(crate) const YAML_TYPE: &str = "qdt::GoDuration";

/// The largest magnitude, 2^63 nanoseconds; only a negative duration can have it.
const LIMIT: u64 = 1 << 63;

/// A signed span of time in nanoseconds, with the text forms of Go's `time.Duration`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(i64);

impl GoDuration {
    /// Zero; in a configuration file it means "use the default".
    pub const ZERO: Self = Self(0);

    /// Creates a span of `nanoseconds`.
    pub const fn from_nanos(nanoseconds: i64) -> Self {
        Self(nanoseconds)
    }

    /// Creates a span of `seconds`; saturates at the ends of the range.
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// Returns the span in nanoseconds.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Returns whether the span is negative.
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// Converts to the standard library's type; a negative span becomes zero.
    pub fn to_std(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }
}

/// The reason why a text is not a duration; the texts are those of Go's `time.ParseDuration`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not of the form `[-+]?([0-9]*(\.[0-9]*)?[a-z]+)+`, or outside the range.
    #[error("time: invalid duration {}", quoted(.0))]
    Invalid(String),
    /// A number without a unit behind it.
    #[error("time: missing unit in duration {}", quoted(.0))]
    MissingUnit(String),
    /// A unit other than ns, us, µs, ms, s, m, h.
    #[error("time: unknown unit {} in duration {}", quoted(.unit), quoted(.text))]
    UnknownUnit {
        /// What stands where a unit should.
        unit: String,
        /// The whole text.
        text: String,
    },
}

/// Quotes the way Go's `time` package does: bytes outside printable ASCII as `\xNN`.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(byte as char);
            }
            0x20..0x80 => out.push(byte as char),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('"');
    out
}

/// Splits the leading digits off `text`; `None` when their value exceeds 2^63.
fn leading_digits(text: &str) -> Option<(u64, &str)> {
    let end = text
        .bytes()
        .position(|b| !b.is_ascii_digit())
        .unwrap_or(text.len());
    let mut value: u64 = 0;
    for digit in text[..end].bytes() {
        value = value
            .checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))?;
        if value > LIMIT {
            return None;
        }
    }
    Some((value, &text[end..]))
}

/// Splits the digits of a fraction off `text`: their value, the power of ten below them, the rest.
/// Digits beyond what 63 bits hold carry less than a nanosecond and are passed over.
fn leading_fraction(text: &str) -> (u64, f64, &str) {
    let end = text
        .bytes()
        .position(|b| !b.is_ascii_digit())
        .unwrap_or(text.len());
    let (mut value, mut scale) = (0u64, 1f64);
    for digit in text[..end].bytes() {
        let longer = value
            .checked_mul(10)
            .and_then(|v| v.checked_add(u64::from(digit - b'0')));
        match longer {
            Some(longer) if value <= (LIMIT - 1) / 10 && longer <= LIMIT => {
                value = longer;
                scale *= 10.0;
            }
            _ => break,
        }
    }
    (value, scale, &text[end..])
}

/// Nanoseconds in one `unit`. Both the micro sign (U+00B5) and the Greek mu (U+03BC) are in use.
fn unit_nanos(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

impl FromStr for GoDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let invalid = || DurationError::Invalid(text.to_owned());
        let (negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Ok(Self::ZERO);
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            if !rest.starts_with(|c: char| c == '.' || c.is_ascii_digit()) {
                return Err(invalid());
            }
            let (whole, after) = leading_digits(rest).ok_or_else(invalid)?;
            let mut has_digits = after.len() != rest.len();
            rest = after;
            let (mut fraction, mut scale) = (0, 1.0);
            if let Some(digits) = rest.strip_prefix('.') {
                (fraction, scale, rest) = leading_fraction(digits);
                has_digits |= rest.len() != digits.len();
            }
            if !has_digits {
                return Err(invalid());
            }
            let end = rest
                .find(|c: char| c == '.' || c.is_ascii_digit())
                .unwrap_or(rest.len());
            if end == 0 {
                return Err(DurationError::MissingUnit(text.to_owned()));
            }
            let unit = unit_nanos(&rest[..end]).ok_or_else(|| DurationError::UnknownUnit {
                unit: rest[..end].to_owned(),
                text: text.to_owned(),
            })?;
            rest = &rest[end..];
            let mut value = whole
                .checked_mul(unit)
                .filter(|v| *v <= LIMIT)
                .ok_or_else(invalid)?;
            if fraction > 0 {
                // In floating point, as in Go: an integer division would lose nanoseconds of a
                // fraction of an hour.
                value += (fraction as f64 * (unit as f64 / scale)) as u64;
            }
            total = total
                .checked_add(value)
                .filter(|t| *t <= LIMIT)
                .ok_or_else(invalid)?;
        }
        if negative {
            return Ok(Self((total as i64).wrapping_neg()));
        }
        i64::try_from(total).map(Self).map_err(|_| invalid())
    }
}

/// `value` in units of 10^`digits`, the fraction without trailing zeros.
fn decimal(value: u64, digits: u32) -> String {
    let scale = 10u64.pow(digits);
    let (whole, fraction) = (value / scale, value % scale);
    if fraction == 0 {
        return whole.to_string();
    }
    let fraction = format!("{fraction:0width$}", width = digits as usize);
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        match nanos {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{sign}{nanos}ns"),
            1_000..1_000_000 => write!(f, "{sign}{}\u{b5}s", decimal(nanos, 3)),
            1_000_000..1_000_000_000 => write!(f, "{sign}{}ms", decimal(nanos, 6)),
            _ => {
                let minutes = nanos / 60_000_000_000;
                let seconds = decimal(nanos % 60_000_000_000, 9);
                match (minutes / 60, minutes % 60) {
                    (0, 0) => write!(f, "{sign}{seconds}s"),
                    (0, m) => write!(f, "{sign}{m}m{seconds}s"),
                    (h, m) => write!(f, "{sign}{h}h{m}m{seconds}s"),
                }
            }
        }
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = GoDuration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with a unit, such as 90s, 2m or 1h30m")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<GoDuration, E> {
                text.parse().map_err(|error: DurationError| {
                    E::custom(format_args!(
                        "{error}; write it with units, such as 90s, 2m or 1h30m"
                    ))
                })
            }
        }
        deserializer.deserialize_newtype_struct(YAML_TYPE, Text)
    }
}
