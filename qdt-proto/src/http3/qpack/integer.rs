//! Prefixed integers (RFC 7541 section 5.1, as RFC 9204 section 4.1.1 uses them).
//!
//! An integer shares its first byte with an instruction's flags; what does not fit into the
//! prefix follows in groups of seven bits, lowest first.

/// Continuation bytes that a 62-bit integer can need: 9 x 7 = 63 bits.
const MAX_CONTINUATION: u32 = 9;

/// Why an integer could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IntegerError {
    /// The input ends within the integer.
    Truncated,
    /// The value is above 2^62 - 1, or written in more bytes than such a value can need.
    TooLarge,
}

/// Takes an integer with a prefix of `prefix` bits (1 to 8) from the front of `input`.
pub(super) fn take_integer(input: &mut &[u8], prefix: u32) -> Result<u64, IntegerError> {
    let (first, mut rest) = input.split_first().ok_or(IntegerError::Truncated)?;
    let limit = (1u64 << prefix) - 1;
    let mut value = u64::from(*first) & limit;
    if value == limit {
        for group in 0.. {
            if group == MAX_CONTINUATION {
                return Err(IntegerError::TooLarge);
            }
            let (byte, tail) = rest.split_first().ok_or(IntegerError::Truncated)?;
            rest = tail;
            // At most (2^7 - 1) << 56 is added to at most 2^56 + 2^8: no overflow.
            value += u64::from(byte & 0x7f) << (7 * group);
            if byte & 0x80 == 0 {
                break;
            }
        }
        if value > crate::http3::MAX_VARINT {
            return Err(IntegerError::TooLarge);
        }
    }
    *input = rest;
    Ok(value)
}

/// Appends `value` with a prefix of `prefix` bits (1 to 8); `flags` are the bits above the prefix.
pub(super) fn append_integer(out: &mut Vec<u8>, flags: u8, prefix: u32, value: usize) {
    let limit = (1usize << prefix) - 1;
    if value < limit {
        out.push(flags | value as u8);
        return;
    }
    out.push(flags | limit as u8);
    let mut left = value - limit;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}
