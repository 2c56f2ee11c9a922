//! Responses: written on the server, read on the client.
//!
//! The two shapes that the server sends are functions here, so that no caller composes them by
//! hand. The reader skips interim responses and gives the body out up to [`MAX_RESPONSE_BODY`].

use super::error::{Http3Error, code};
use super::fields::{Field, malformed, set_once};
use super::frame;
use super::message::{MessageEvent, MessageReader, RawEvent, Side, events};
use super::qpack::FieldSectionEncoder;

/// The longest response body that a client takes, in bytes.
pub const MAX_RESPONSE_BODY: usize = 4096;

/// The head of a final response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// 200 to 999.
    pub status: u16,
    /// The fields in the order sent: name in lower case, value.
    pub headers: Vec<Field>,
}

impl ResponseHead {
    /// Sorts the fields of a response, interim ones included.
    fn from_fields(fields: Vec<Field>) -> Result<Self, Http3Error> {
        let mut status = None;
        let mut headers = Vec::new();
        for (name, value) in fields {
            match name.as_slice() {
                b":status" => set_once(&mut status, &name, value)?,
                [b':', ..] => return Err(malformed(&name, "is not defined for responses")),
                _ => headers.push((name, value)),
            }
        }
        let status = match status.as_deref() {
            Some(
                [
                    hundreds @ b'1'..=b'9',
                    tens @ b'0'..=b'9',
                    ones @ b'0'..=b'9',
                ],
            ) => {
                let digit = |byte: &u8| u16::from(byte - b'0');
                digit(hundreds) * 100 + digit(tens) * 10 + digit(ones)
            }
            _ => {
                return Err(malformed(
                    b":status",
                    "is missing or not a number of three digits",
                ));
            }
        };
        // Section 4.5: "HTTP/3 does not support the HTTP Upgrade mechanism or the 101".
        if status == 101 {
            return Err(malformed(b":status", "is 101, which HTTP/3 does not have"));
        }
        Ok(Self { status, headers })
    }
}

/// What a response gives out.
pub type ResponseEvent<'a> = MessageEvent<'a, ResponseHead>;

/// The client's receiving side of one request stream.
///
/// Call [`handle`](Self::handle) with the stream's bytes in order and take its events. Between two
/// calls at most [`MAX_HEADERS_PAYLOAD`](super::MAX_HEADERS_PAYLOAD) bytes are held, whatever
/// comes.
#[derive(Debug)]
pub struct ResponseStream {
    message: MessageReader,
    body_len: usize,
}

impl Default for ResponseStream {
    fn default() -> Self {
        Self::new()
    }
}

impl ResponseStream {
    /// A stream of which nothing has come yet.
    pub fn new() -> Self {
        Self {
            message: MessageReader::new(Side::Client),
            body_len: 0,
        }
    }

    /// Takes the next bytes of the stream; `fin` says that the stream ends behind them. The first
    /// error is the last item.
    ///
    /// The bytes are read as the events are taken: take them all, or be done with the stream.
    pub fn handle<'d>(
        &mut self,
        mut data: &'d [u8],
        fin: bool,
    ) -> impl Iterator<Item = Result<ResponseEvent<'d>, Http3Error>> {
        events(move || self.next(&mut data, fin))
    }

    /// Bytes of memory held for input that is not complete.
    pub fn buffered(&self) -> usize {
        self.message.buffered()
    }

    fn next<'a>(
        &mut self,
        data: &mut &'a [u8],
        fin: bool,
    ) -> Result<Option<ResponseEvent<'a>>, Http3Error> {
        loop {
            match self.message.next(data, fin)? {
                None => return Ok(None),
                Some(RawEvent::End) => return Ok(Some(ResponseEvent::End)),
                Some(RawEvent::Body(body)) => {
                    self.body_len += body.len();
                    if self.body_len > MAX_RESPONSE_BODY {
                        return Err(self.message.fail(Http3Error::stream(
                            code::H3_EXCESSIVE_LOAD,
                            format!("a response body of more than {MAX_RESPONSE_BODY} bytes"),
                        )));
                    }
                    return Ok(Some(ResponseEvent::Body(body)));
                }
                Some(RawEvent::Fields(fields)) => match ResponseHead::from_fields(fields) {
                    Ok(ResponseHead { status: ..200, .. }) => {}
                    Ok(head) => {
                        self.message.head_done();
                        return Ok(Some(ResponseEvent::Head(head)));
                    }
                    Err(error) => return Err(self.message.fail(error)),
                },
            }
        }
    }
}

/// The head of a response with `headers`, and its body as one DATA frame if there is one.
///
/// `status` is 100 to 999, names are lower case.
pub fn encode_response(status: u16, headers: &[(&[u8], &[u8])], body: Option<&[u8]>) -> Vec<u8> {
    let mut section = FieldSectionEncoder::new();
    section.field(b":status", status.to_string().as_bytes());
    for (name, value) in headers {
        section.field(name, value);
    }
    let section = section.finish();

    let mut out = Vec::with_capacity(section.len() + body.map_or(0, <[u8]>::len) + 16);
    frame::append_header(&mut out, frame::HEADERS, section.len());
    out.extend_from_slice(&section);
    if let Some(body) = body {
        frame::append_header(&mut out, frame::DATA, body.len());
        out.extend_from_slice(body);
    }
    out
}

/// The answer that opens a session: `:status` 200 and `date` (from
/// [`http_date`](super::http_date)), then `body`. The stream is not finished behind it.
pub fn encode_success(date: &str, body: &[u8]) -> Vec<u8> {
    encode_response(200, &[(b"date", date.as_bytes())], Some(body))
}

/// A refusal: `message` and a line feed as plain text, with the fields that Go's `http.Error`
/// sets. The stream is finished behind it.
///
/// `message` is without its line feed. `head_request`: the request was a HEAD, whose answer
/// names the length of the body and has none.
pub fn encode_refusal(status: u16, message: &str, date: &str, head_request: bool) -> Vec<u8> {
    let body = format!("{message}\n");
    let headers: [(&[u8], &[u8]); 4] = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-length", &body.len().to_string().into_bytes()),
        (b"date", date.as_bytes()),
    ];
    encode_response(status, &headers, (!head_request).then_some(body.as_bytes()))
}
