//! The peer's QPACK encoder and decoder streams (RFC 9204 sections 4.3 and 4.4).
//!
//! Without a dynamic table hardly an instruction makes sense: the encoder may set the capacity to
//! the 0 that it has, the decoder may say that it gave a stream up. Everything else is an error.
//! Nothing is kept but the place within one integer.

use super::error::{Http3Error, code};

/// Set Dynamic Table Capacity (section 4.3.1) with the capacity 0.
const SET_CAPACITY_0: u8 = 0b0010_0000;
/// Continuation bytes that a stream id can need (RFC 7541 section 5.1): 9 x 7 bits.
const MAX_CONTINUATION: u8 = 9;

/// Judges bytes of the peer's encoder stream.
pub(super) fn handle_encoder_stream(data: &[u8]) -> Result<(), Http3Error> {
    if data.iter().all(|byte| *byte == SET_CAPACITY_0) {
        return Ok(());
    }
    Err(Http3Error::connection(
        code::QPACK_ENCODER_STREAM_ERROR,
        "the encoder stream inserts into a dynamic table, whose capacity is 0",
    ))
}

/// The receiving side of the peer's decoder stream.
#[derive(Debug)]
pub(super) struct DecoderStream {
    /// Continuation bytes read so far of a stream id that is not complete.
    within: Option<u8>,
}

impl DecoderStream {
    pub(super) const fn new() -> Self {
        Self { within: None }
    }

    pub(super) fn handle(&mut self, data: &[u8]) -> Result<(), Http3Error> {
        for byte in data {
            self.within = match (self.within, byte) {
                (Some(_), 0..=0x7f) => None,
                (Some(read), _) if read < MAX_CONTINUATION => Some(read + 1),
                // Stream Cancellation (section 4.4.2): 01 and a stream id with a 6-bit prefix.
                (None, 0b0111_1111) => Some(1),
                (None, 0b0100_0000..=0b0111_1110) => None,
                (Some(_), _) => return Err(decoder_error("an integer is too long")),
                // Section Acknowledgment, Insert Count Increment: we never insert.
                (None, _) => {
                    return Err(decoder_error(
                        "something is acknowledged that never was inserted",
                    ));
                }
            };
        }
        Ok(())
    }
}

fn decoder_error(what: &str) -> Http3Error {
    Http3Error::connection(
        code::QPACK_DECODER_STREAM_ERROR,
        format!("on the decoder stream {what}"),
    )
}
