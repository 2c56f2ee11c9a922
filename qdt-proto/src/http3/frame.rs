//! HTTP/3 frames (RFC 9114 section 7): type, length, payload.
//!
//! [`FrameReader`] cuts a stream into frames as its bytes come, in pieces of any size. It holds
//! the at most 16 bytes of an unfinished frame header and never any payload: payload pieces are
//! borrowed from the input, so that an endless frame costs nothing.

use super::varint::{EncodedVarint, append_length, decode_varint};

/// DATA (RFC 9114 section 7.2.1).
pub(super) const DATA: u64 = 0x0;
/// HEADERS (section 7.2.2).
pub(super) const HEADERS: u64 = 0x1;
/// CANCEL_PUSH (section 7.2.3).
pub(super) const CANCEL_PUSH: u64 = 0x3;
/// SETTINGS (section 7.2.4).
pub(super) const SETTINGS: u64 = 0x4;
/// PUSH_PROMISE (section 7.2.5).
pub(super) const PUSH_PROMISE: u64 = 0x5;
/// GOAWAY (section 7.2.6).
pub(super) const GOAWAY: u64 = 0x7;
/// MAX_PUSH_ID (section 7.2.7).
pub(super) const MAX_PUSH_ID: u64 = 0xd;

/// Frame types of HTTP/2 that have no meaning in HTTP/3 and must not be used (section 7.2.8).
pub(super) const fn is_reserved(frame_type: u64) -> bool {
    matches!(frame_type, 0x2 | 0x6 | 0x8 | 0x9)
}

/// Type and length of a frame, as they stand in front of its payload.
pub(super) fn append_header(out: &mut Vec<u8>, frame_type: u64, length: usize) {
    let frame_type = EncodedVarint::new(frame_type).expect("our frame types are small constants");
    out.extend_from_slice(&frame_type);
    append_length(out, length);
}

/// One step through a stream of frames.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FrameEvent<'a> {
    /// A frame begins.
    Start {
        /// The frame's type.
        frame_type: u64,
        /// Bytes of payload to come.
        length: u64,
    },
    /// Some of the payload, never empty.
    Payload(&'a [u8]),
    /// The payload is complete.
    End,
}

/// Cuts one stream into frames.
#[derive(Debug)]
pub(super) struct FrameReader {
    state: State,
}

#[derive(Debug)]
enum State {
    /// Within type and length; two variable-length integers have at most 16 bytes.
    Header { bytes: [u8; 16], len: usize },
    /// `left` bytes of payload are still to come.
    Payload { left: u64 },
}

impl State {
    const BOUNDARY: Self = Self::Header {
        bytes: [0; 16],
        len: 0,
    };
}

impl FrameReader {
    pub(super) const fn new() -> Self {
        Self {
            state: State::BOUNDARY,
        }
    }

    /// Parses the next event from the front of `input`; `None` when more input is needed.
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<FrameEvent<'a>> {
        match &mut self.state {
            State::Header { bytes, len } => {
                while let Some((byte, rest)) = input.split_first() {
                    *input = rest;
                    bytes[*len] = *byte;
                    *len += 1;
                    if let Some((frame_type, length)) = decode_header(&bytes[..*len]) {
                        self.state = State::Payload { left: length };
                        return Some(FrameEvent::Start { frame_type, length });
                    }
                }
                None
            }
            State::Payload { left: 0 } => {
                self.state = State::BOUNDARY;
                Some(FrameEvent::End)
            }
            State::Payload { left } => {
                let take = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(input.len());
                if take == 0 {
                    return None;
                }
                let (payload, rest) = input.split_at(take);
                *input = rest;
                *left -= take as u64;
                Some(FrameEvent::Payload(payload))
            }
        }
    }

    /// Returns whether the stream may end here: between two frames.
    pub(super) const fn at_boundary(&self) -> bool {
        matches!(self.state, State::Header { len: 0, .. })
    }
}

/// Type and length, once `bytes` holds both.
fn decode_header(bytes: &[u8]) -> Option<(u64, u64)> {
    let (frame_type, type_len) = decode_varint(bytes)?;
    let (length, _) = decode_varint(&bytes[type_len..])?;
    Some((frame_type, length))
}
