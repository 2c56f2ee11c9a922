//! Field sections from the peer (RFC 9204 section 4.5).
//!
//! The limit of RFC 9114 section 4.2.2 (name + value + 32 bytes per field) is kept while decoding:
//! a section of many small references cannot unfold into more memory than it allows.

use super::huffman::decode_huffman;
use super::integer::{IntegerError, take_integer};
use super::static_table::STATIC_TABLE;
use crate::http3::error::{Http3Error, code};
use crate::http3::fields::Field;

/// What each field costs beyond its bytes (RFC 9114 section 4.2.2).
const FIELD_OVERHEAD: usize = 32;

/// Decodes the payload of a HEADERS frame into its fields, in order.
///
/// `limit` bounds the size of the section as RFC 9114 section 4.2.2 counts it, in bytes.
///
/// # Errors
/// `QPACK_DECOMPRESSION_FAILED` (connection) for anything that RFC 9204 does not allow without a
/// dynamic table; `H3_EXCESSIVE_LOAD` (stream) when the section is larger than `limit`.
pub fn decode_field_section(block: &[u8], limit: usize) -> Result<Vec<Field>, Http3Error> {
    let mut input = block;
    take_prefix(&mut input)?;
    let mut fields = Vec::new();
    let mut size = 0;
    while !input.is_empty() {
        let field = take_field(&mut input)?;
        size += field.0.len() + field.1.len() + FIELD_OVERHEAD;
        if size > limit {
            return Err(Http3Error::stream(
                code::H3_EXCESSIVE_LOAD,
                format!("a field section is larger than {limit} bytes"),
            ));
        }
        fields.push(field);
    }
    Ok(fields)
}

/// Required Insert Count and Base (section 4.5.1): without a dynamic table both are zero.
fn take_prefix(input: &mut &[u8]) -> Result<(), Http3Error> {
    if integer(input, 8)? != 0 {
        return Err(dynamic());
    }
    let sign = input.first().is_some_and(|byte| byte & 0x80 != 0);
    integer(input, 7)?;
    // "MUST treat a field block with a Sign bit of 1 as invalid if the value of Required Insert
    // Count is less than or equal to the value of Delta Base."
    if sign {
        return Err(failed("a field section has a negative base"));
    }
    Ok(())
}

/// One field line (sections 4.5.2 to 4.5.6), told apart by its highest bits.
fn take_field(input: &mut &[u8]) -> Result<Field, Http3Error> {
    let first = *input
        .first()
        .ok_or_else(|| failed("a field section ends within a field"))?;
    match first {
        // 1T: indexed; T tells the static table from the dynamic one.
        0b1100_0000..=0b1111_1111 => {
            let (name, value) = static_row(integer(input, 6)?)?;
            Ok((name.to_vec(), value.to_vec()))
        }
        // 01NT: literal value, name from a table.
        0b0100_0000..=0b0111_1111 if first & 0b0001_0000 != 0 => {
            let (name, _) = static_row(integer(input, 4)?)?;
            Ok((name.to_vec(), string(input, 7)?))
        }
        // 001NH: literal name and value.
        0b0010_0000..=0b0011_1111 => Ok((string(input, 3)?, string(input, 7)?)),
        // Everything else names the dynamic table: T = 0, or an index after the base.
        _ => Err(dynamic()),
    }
}

fn static_row(index: u64) -> Result<(&'static [u8], &'static [u8]), Http3Error> {
    usize::try_from(index)
        .ok()
        .and_then(|index| STATIC_TABLE.get(index).copied())
        .ok_or_else(|| failed(format!("the static table has no row {index}")))
}

/// A string literal (section 4.1.2): the bit above the length's prefix marks Huffman.
fn string(input: &mut &[u8], prefix: u32) -> Result<Vec<u8>, Http3Error> {
    let huffman = input.first().is_some_and(|byte| byte & (1 << prefix) != 0);
    let length = integer(input, prefix)?;
    let (text, rest) = usize::try_from(length)
        .ok()
        .and_then(|length| input.split_at_checked(length))
        .ok_or_else(|| failed("a string is longer than its field section"))?;
    *input = rest;
    if huffman {
        decode_huffman(text).ok_or_else(|| failed("a string has an invalid Huffman code"))
    } else {
        Ok(text.to_vec())
    }
}

fn integer(input: &mut &[u8], prefix: u32) -> Result<u64, Http3Error> {
    take_integer(input, prefix).map_err(|error| {
        failed(match error {
            IntegerError::Truncated => "a field section ends within an integer",
            IntegerError::TooLarge => "an integer in a field section is above 2^62 - 1",
        })
    })
}

fn dynamic() -> Http3Error {
    failed("a field section refers to the dynamic table, whose capacity is 0")
}

fn failed(reason: impl Into<std::borrow::Cow<'static, str>>) -> Http3Error {
    Http3Error::connection(code::QPACK_DECOMPRESSION_FAILED, reason)
}
