//! Builders of input and collectors of events.

use qdt_proto::http3::{
    EncodedVarint, FieldSectionEncoder, Http3Error, RequestEvent, RequestHead, RequestStream,
    ResponseEvent, ResponseHead, ResponseStream,
};

pub(crate) const DATA: u64 = 0x0;
pub(crate) const HEADERS: u64 = 0x1;
/// A frame type of the form 0x1f * N + 0x21, which exists to be ignored (RFC 9114 section 7.2.8).
pub(crate) const GREASE: u64 = 0x1f * 1_000_003 + 0x21;

pub(crate) fn varint(value: u64) -> Vec<u8> {
    EncodedVarint::new(value).expect("test values fit").to_vec()
}

pub(crate) fn frame(frame_type: u64, payload: &[u8]) -> Vec<u8> {
    [
        varint(frame_type),
        varint(payload.len() as u64),
        payload.to_vec(),
    ]
    .concat()
}

pub(crate) fn section(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut encoder = FieldSectionEncoder::new();
    for (name, value) in fields {
        encoder.field(name.as_bytes(), value.as_bytes());
    }
    encoder.finish()
}

pub(crate) fn headers(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, &section(fields))
}

/// The pseudo-header fields of a usual request.
pub(crate) const POST: [(&str, &str); 4] = [
    (":method", "POST"),
    (":scheme", "https"),
    (":authority", "vpn.example"),
    (":path", "/connect"),
];

pub(crate) fn post_with(more: &[(&'static str, &'static str)]) -> Vec<u8> {
    headers(&[&POST[..], more].concat())
}

/// Everything that a request stream gave: head, body, whether it ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) head: Option<RequestHead>,
    pub(crate) body: Vec<u8>,
    pub(crate) ended: bool,
}

/// Feeds chunks to a fresh request stream; the last one with FIN if `fin`.
pub(crate) fn read_request(chunks: &[&[u8]], fin: bool) -> Result<Request, Http3Error> {
    let mut stream = RequestStream::new();
    let mut request = Request::default();
    for (index, chunk) in chunks.iter().enumerate() {
        for event in stream.handle(chunk, fin && index + 1 == chunks.len()) {
            assert!(!request.ended, "nothing comes after the end");
            match event? {
                RequestEvent::Head(head) => assert_eq!(request.head.replace(head), None),
                RequestEvent::Body(body) => {
                    assert!(request.head.is_some() && !body.is_empty());
                    request.body.extend_from_slice(body);
                }
                RequestEvent::End => request.ended = true,
            }
        }
    }
    Ok(request)
}

/// Everything that a response stream gave.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) head: Option<ResponseHead>,
    pub(crate) body: Vec<u8>,
    pub(crate) ended: bool,
}

/// Feeds chunks to a fresh response stream; the last one with FIN if `fin`.
pub(crate) fn read_response(chunks: &[&[u8]], fin: bool) -> Result<Response, Http3Error> {
    let mut stream = ResponseStream::new();
    let mut response = Response::default();
    for (index, chunk) in chunks.iter().enumerate() {
        for event in stream.handle(chunk, fin && index + 1 == chunks.len()) {
            assert!(!response.ended, "nothing comes after the end");
            match event? {
                ResponseEvent::Head(head) => assert_eq!(response.head.replace(head), None),
                ResponseEvent::Body(body) => {
                    assert!(response.head.is_some() && !body.is_empty());
                    response.body.extend_from_slice(body);
                }
                ResponseEvent::End => response.ended = true,
            }
        }
    }
    Ok(response)
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).expect("hex") as u8)
        .collect();
    digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

pub(crate) fn text_fields(fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<(&str, &str)> {
    fields
        .iter()
        .map(|(name, value)| {
            (
                str::from_utf8(name).expect("text"),
                str::from_utf8(value).expect("text"),
            )
        })
        .collect()
}
