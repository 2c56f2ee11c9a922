//! Validation of the fields of a message (RFC 9114 sections 4.2 and 4.3).
//!
//! Names and values are bytes: a token may well hold bytes above 127. A message that breaks a rule
//! is malformed as a whole; nothing is repaired.

use super::error::Http3Error;

/// Name and value of one field line.
pub type Field = (Vec<u8>, Vec<u8>);

/// Fields that speak about one connection and have no place in HTTP/3 (RFC 9114 section 4.2).
const CONNECTION_SPECIFIC: [&[u8]; 5] = [
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"transfer-encoding",
    b"upgrade",
];

/// Checks names, values and order: pseudo-header fields first, the rest in lower case.
///
/// Which pseudo-header fields a message has is for the caller to check.
pub(super) fn check_fields(fields: &[Field]) -> Result<(), Http3Error> {
    let mut regular = false;
    for (name, value) in fields {
        if let Some(pseudo) = name.strip_prefix(b":") {
            if regular {
                return Err(malformed(name, "stands after a regular field"));
            }
            check_name(pseudo, name)?;
        } else {
            regular = true;
            check_name(name, name)?;
            if CONNECTION_SPECIFIC.contains(&name.as_slice()) {
                return Err(malformed(name, "has no place in HTTP/3"));
            }
            if name == b"te" && value != b"trailers" {
                return Err(malformed(name, "has a value other than trailers"));
            }
        }
        if !value
            .iter()
            .all(|byte| *byte == b'\t' || !byte.is_ascii_control())
        {
            return Err(malformed(name, "has a control character in its value"));
        }
    }
    Ok(())
}

/// Trailers are fields without pseudo-header fields (RFC 9114 section 4.3).
pub(super) fn check_trailers(fields: &[Field]) -> Result<(), Http3Error> {
    check_fields(fields)?;
    match fields.first() {
        Some((name, _)) if name.starts_with(b":") => Err(malformed(name, "stands in trailers")),
        _ => Ok(()),
    }
}

/// Takes a pseudo-header field's value into `slot`, which it may do once.
pub(super) fn set_once(
    slot: &mut Option<Vec<u8>>,
    name: &[u8],
    value: Vec<u8>,
) -> Result<(), Http3Error> {
    if slot.replace(value).is_some() {
        return Err(malformed(name, "stands twice"));
    }
    Ok(())
}

/// A malformed message because of the field `name`.
pub(super) fn malformed(name: &[u8], what: &str) -> Http3Error {
    // A name is the peer's choice too: only so much of it goes into a log, and escaped.
    let shown = &name[..name.len().min(64)];
    Http3Error::malformed(format!("field `{}` {what}", shown.escape_ascii()))
}

/// A name is a token (RFC 9110 section 5.6.2) without upper case letters.
fn check_name(token: &[u8], name: &[u8]) -> Result<(), Http3Error> {
    let allowed = |byte: &u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(byte)
    };
    if token.is_empty() || !token.iter().all(allowed) {
        return Err(malformed(
            name,
            "has an empty name or one with forbidden characters",
        ));
    }
    Ok(())
}
