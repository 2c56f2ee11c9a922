//! Errors of the HTTP/3 edge, with the RFC's error codes.
//!
//! Every error names its RFC error code and whether it ends the stream or the whole connection,
//! so callers need not decide that again. Reasons never contain a header value: it may be a secret.

use std::borrow::Cow;

/// Error codes that go into CONNECTION_CLOSE, RESET_STREAM and STOP_SENDING.
///
/// Source: RFC 9114 section 8.1, RFC 9204 section 6, RFC 9297 section 5.2.
pub mod code {
    /// A datagram without a usable quarter stream id (RFC 9297 section 2.1).
    pub const H3_DATAGRAM_ERROR: u64 = 0x33;
    /// The end of a connection or stream without an error.
    pub const H3_NO_ERROR: u64 = 0x100;
    /// A stream that the peer must not create, or whose type is unknown.
    pub const H3_STREAM_CREATION_ERROR: u64 = 0x103;
    /// The control stream or a QPACK stream ended.
    pub const H3_CLOSED_CRITICAL_STREAM: u64 = 0x104;
    /// A frame that is not allowed at this place.
    pub const H3_FRAME_UNEXPECTED: u64 = 0x105;
    /// A frame with a wrong layout or size.
    pub const H3_FRAME_ERROR: u64 = 0x106;
    /// The peer asks for more memory or work than it is given.
    pub const H3_EXCESSIVE_LOAD: u64 = 0x107;
    /// A stream or push id used wrongly.
    pub const H3_ID_ERROR: u64 = 0x108;
    /// A SETTINGS frame with a forbidden content.
    pub const H3_SETTINGS_ERROR: u64 = 0x109;
    /// A control stream that does not begin with SETTINGS.
    pub const H3_MISSING_SETTINGS: u64 = 0x10a;
    /// A request that was not processed at all.
    pub const H3_REQUEST_REJECTED: u64 = 0x10b;
    /// A request or its answer is not wanted any more.
    pub const H3_REQUEST_CANCELLED: u64 = 0x10c;
    /// A request stream that ended before its request was whole.
    pub const H3_REQUEST_INCOMPLETE: u64 = 0x10d;
    /// A malformed message (RFC 9114 section 4.1.2).
    pub const H3_MESSAGE_ERROR: u64 = 0x10e;
    /// A field section that cannot be decoded (RFC 9204 section 2.2).
    pub const QPACK_DECOMPRESSION_FAILED: u64 = 0x200;
    /// A wrong instruction on the peer's encoder stream.
    pub const QPACK_ENCODER_STREAM_ERROR: u64 = 0x201;
    /// A wrong instruction on the peer's decoder stream.
    pub const QPACK_DECODER_STREAM_ERROR: u64 = 0x202;
}

/// What an error ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Only the stream: reset and stop it with the code (RFC 9114 section 8).
    Stream,
    /// The connection: close it with the code.
    Connection,
}

/// A violation of RFC 9114, 9204 or 9297 by the peer, or of a bound of this crate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("HTTP/3 {scope:?} error {code:#x}: {reason}")]
pub struct Http3Error {
    /// The application error code to end the stream or connection with (see [`code`]).
    pub code: u64,
    /// Whether the stream or the whole connection ends.
    pub scope: Scope,
    /// What was wrong and where, for the log; free of header values.
    pub reason: Cow<'static, str>,
}

impl Http3Error {
    /// Creates an error that ends the connection.
    pub(super) fn connection(code: u64, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            scope: Scope::Connection,
            reason: reason.into(),
        }
    }

    /// Creates an error that ends one stream.
    pub fn stream(code: u64, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            scope: Scope::Stream,
            reason: reason.into(),
        }
    }

    /// A malformed message (RFC 9114 section 4.1.2): ends its stream.
    pub(super) fn malformed(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::stream(code::H3_MESSAGE_ERROR, reason)
    }
}
