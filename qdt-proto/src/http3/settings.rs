//! SETTINGS (RFC 9114 section 7.2.4), both directions.
//!
//! Ours are constant. The peer's are judged once, as a whole frame: identifiers of HTTP/2, doubled
//! identifiers and switches that are neither 0 nor 1 are errors; unknown identifiers are skipped.

use super::error::{Http3Error, code};
use super::frame;
use super::varint::{EncodedVarint, decode_varint};

/// QPACK_MAX_TABLE_CAPACITY (RFC 9204 section 5).
const QPACK_MAX_TABLE_CAPACITY: u64 = 0x1;
/// SETTINGS_MAX_FIELD_SECTION_SIZE (RFC 9114 section 7.2.4.1).
const MAX_FIELD_SECTION_SIZE: u64 = 0x6;
/// QPACK_BLOCKED_STREAMS (RFC 9204 section 5).
const QPACK_BLOCKED_STREAMS: u64 = 0x7;
/// SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 9220 section 5).
const ENABLE_CONNECT_PROTOCOL: u64 = 0x8;
/// SETTINGS_H3_DATAGRAM (RFC 9297 section 5.1).
const H3_DATAGRAM: u64 = 0x33;

/// What the peer announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// The peer takes HTTP/3 datagrams (RFC 9297). Without it none may be sent. Where it is set and
    /// the peer's QUIC transport parameter `max_datagram_frame_size` is not, the caller closes the
    /// connection with `H3_SETTINGS_ERROR` (section 2.1.1): that parameter is not seen here.
    pub datagrams: bool,
    /// The peer takes Extended CONNECT (RFC 9220).
    pub extended_connect: bool,
    /// The largest field section the peer takes, in bytes as RFC 9114 section 4.2.2 counts them;
    /// `None` means no limit.
    pub max_field_section_size: Option<u64>,
}

impl Settings {
    /// Reads the payload of a SETTINGS frame.
    pub(super) fn decode(mut payload: &[u8]) -> Result<Self, Http3Error> {
        let mut settings = Self::default();
        let mut seen: Vec<u64> = Vec::new();
        while !payload.is_empty() {
            let identifier = take_varint(&mut payload)?;
            let value = take_varint(&mut payload)?;
            if seen.contains(&identifier) {
                return Err(settings_error(identifier, "stands twice"));
            }
            seen.push(identifier);
            match identifier {
                // Section 11.2.2 reserves the numbers that HTTP/2 used for something else.
                0x0 | 0x2..=0x5 => return Err(settings_error(identifier, "belongs to HTTP/2")),
                MAX_FIELD_SECTION_SIZE => settings.max_field_section_size = Some(value),
                ENABLE_CONNECT_PROTOCOL => settings.extended_connect = switch(identifier, value)?,
                H3_DATAGRAM => settings.datagrams = switch(identifier, value)?,
                // "An implementation MUST ignore any parameter with an identifier it does not
                // understand." The peer's table size does not matter to us, we never insert.
                _ => {}
            }
        }
        Ok(settings)
    }
}

/// What our control stream begins with: its type and our SETTINGS frame.
///
/// `max_field_section_size` is the largest field section that we take, in bytes (RFC 9114 section
/// 4.2.2). Datagrams are on; the dynamic QPACK table is off, so that no stream ever waits for
/// another.
pub(super) fn control_stream_preface(max_field_section_size: u64) -> Vec<u8> {
    let mut payload = Vec::with_capacity(16);
    for (identifier, value) in [
        (QPACK_MAX_TABLE_CAPACITY, 0),
        (MAX_FIELD_SECTION_SIZE, max_field_section_size),
        (QPACK_BLOCKED_STREAMS, 0),
        (H3_DATAGRAM, 1),
    ] {
        for number in [identifier, value] {
            let number = EncodedVarint::new(number).expect("our settings are small constants");
            payload.extend_from_slice(&number);
        }
    }
    let mut out = vec![super::uni::CONTROL_STREAM];
    frame::append_header(&mut out, frame::SETTINGS, payload.len());
    out.extend_from_slice(&payload);
    out
}

fn take_varint(payload: &mut &[u8]) -> Result<u64, Http3Error> {
    let (value, len) = decode_varint(payload).ok_or_else(|| {
        Http3Error::connection(
            code::H3_FRAME_ERROR,
            "a SETTINGS frame ends within a setting",
        )
    })?;
    *payload = &payload[len..];
    Ok(value)
}

fn switch(identifier: u64, value: u64) -> Result<bool, Http3Error> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(settings_error(identifier, "is neither 0 nor 1")),
    }
}

fn settings_error(identifier: u64, what: &str) -> Http3Error {
    Http3Error::connection(
        code::H3_SETTINGS_ERROR,
        format!("setting {identifier:#x} {what}"),
    )
}
