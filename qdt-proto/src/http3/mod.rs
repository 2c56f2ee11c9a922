//! The HTTP/3 edge of one exchange, free of I/O (RFC 9114, RFC 9204, RFC 9297).
//!
//! A tunnel needs little of HTTP/3: the peer's settings, one `POST` with its answer on a stream
//! that stays open, and the quarter stream id in front of every datagram. That much is here, for
//! both sides, as machines that are fed with a stream's bytes and give out events:
//!
//! | stream | machine | written with |
//! |---|---|---|
//! | control, QPACK (unidirectional) | [`UniStream`], [`CriticalStreams`] | [`control_stream_preface`] |
//! | request, on the server | [`RequestStream`] | [`encode_success`], [`encode_refusal`] |
//! | request, on the client | [`ResponseStream`] | [`encode_request`] |
//! | datagrams | [`split_datagram`] | [`datagram_prefix`] |
//!
//! Invariants: memory per stream is bounded ([`MAX_HEADERS_PAYLOAD`]), bodies and unknown
//! frames pass through without being kept, input in any chunks gives the same events, and every
//! error ([`Http3Error`]) carries the code and scope with which the peer is to be told.

mod control;
mod datagram;
mod date;
mod error;
mod fields;
mod frame;
mod message;
mod qpack;
mod qpack_streams;
mod request;
mod response;
mod settings;
mod uni;
mod varint;

pub use datagram::{MAX_QUARTER_STREAM_ID, datagram_prefix, quarter_stream_id, split_datagram};
pub use date::http_date;
pub use error::{Http3Error, Scope, code};
pub use fields::Field;
pub use message::{MAX_FIELD_VALUE, MAX_HEADER_SECTION, MAX_HEADERS_PAYLOAD, MessageEvent, Side};
pub use qpack::{FieldSectionEncoder, decode_field_section};
pub use request::{RequestEvent, RequestHead, RequestStream, encode_request};
pub use response::{
    MAX_RESPONSE_BODY, ResponseEvent, ResponseHead, ResponseStream, encode_refusal,
    encode_response, encode_success,
};
pub use settings::Settings;
pub use uni::{CriticalStreams, UniStream, control_stream_preface};
pub use varint::{EncodedVarint, MAX_VARINT, decode_varint};
