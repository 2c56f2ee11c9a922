//! HTTP/3 datagrams (RFC 9297): the quarter stream id in front of every QUIC DATAGRAM payload.
//!
//! A request stream has a number divisible by four (client-initiated, bidirectional), so that a
//! quarter of it names the stream. Nothing here allocates; the prefix of a session is computed
//! once.

use super::error::{Http3Error, code};
use super::varint::{EncodedVarint, decode_varint};

/// The largest quarter stream id, 2^60 - 1 (RFC 9297 section 2.1).
pub const MAX_QUARTER_STREAM_ID: u64 = (1 << 60) - 1;

/// Returns the quarter stream id of the request stream `stream_id`.
pub const fn quarter_stream_id(stream_id: u64) -> u64 {
    stream_id / 4
}

/// The bytes that stand in front of every datagram that belongs to the request stream `stream_id`.
///
/// `stream_id` is a QUIC stream id (below 2^62), therefore its quarter always fits.
pub fn datagram_prefix(stream_id: u64) -> EncodedVarint {
    EncodedVarint::new(quarter_stream_id(stream_id)).expect("a quarter of a u64 is below 2^62")
}

/// Splits a QUIC DATAGRAM payload into the request stream's id and the HTTP datagram payload.
///
/// # Errors
/// `H3_DATAGRAM_ERROR` for the connection when the payload is too short to hold the quarter stream
/// id or the id is above [`MAX_QUARTER_STREAM_ID`] (RFC 9297 section 2.1).
pub fn split_datagram(payload: &[u8]) -> Result<(u64, &[u8]), Http3Error> {
    match decode_varint(payload) {
        None => Err(Http3Error::connection(
            code::H3_DATAGRAM_ERROR,
            "a datagram ends before its quarter stream id does",
        )),
        Some((quarter, _)) if quarter > MAX_QUARTER_STREAM_ID => Err(Http3Error::connection(
            code::H3_DATAGRAM_ERROR,
            "a datagram's quarter stream id is above 2^60 - 1",
        )),
        Some((quarter, len)) => Ok((quarter * 4, &payload[len..])),
    }
}
