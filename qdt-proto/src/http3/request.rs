//! Requests: read on the server, written on the client.
//!
//! The reader judges form only (RFC 9114 section 4.3.1). Which method, path or `:protocol` is
//! served is the caller's business, and so is `content-length`: there are clients that announce
//! zero and send a body all the same, and they are to be served.

use super::error::Http3Error;
use super::fields::{Field, malformed, set_once};
use super::frame;
use super::message::{MessageEvent, MessageReader, RawEvent, Side, events};
use super::qpack::FieldSectionEncoder;

/// The head of a request: pseudo-header fields and the rest, as bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// `:method`, never empty, case as sent.
    pub method: Vec<u8>,
    /// `:path` with its query; begins with `/` or is `*`. Empty for a plain CONNECT.
    pub path: Vec<u8>,
    /// `:scheme`. Empty for a plain CONNECT.
    pub scheme: Vec<u8>,
    /// `:authority` as sent; it may lack, and it may be a bare IPv6 literal.
    pub authority: Option<Vec<u8>>,
    /// `:protocol` of an Extended CONNECT (RFC 9220), whatever its value.
    pub protocol: Option<Vec<u8>>,
    /// The other fields in the order sent: name in lower case, value.
    pub headers: Vec<Field>,
}

impl RequestHead {
    /// The value of the first field called `name` (lower case).
    pub fn header(&self, name: &[u8]) -> Option<&[u8]> {
        let field = self.headers.iter().find(|field| field.0 == name)?;
        Some(&field.1)
    }

    /// Sorts the fields of a request into place and judges its pseudo-header fields.
    fn from_fields(fields: Vec<Field>) -> Result<Self, Http3Error> {
        let [
            mut method,
            mut path,
            mut scheme,
            mut authority,
            mut protocol,
        ] = [const { None::<Vec<u8>> }; 5];
        let mut headers = Vec::new();
        for (name, value) in fields {
            match name.as_slice() {
                b":method" => set_once(&mut method, &name, value)?,
                b":path" => set_once(&mut path, &name, value)?,
                b":scheme" => set_once(&mut scheme, &name, value)?,
                b":authority" => set_once(&mut authority, &name, value)?,
                b":protocol" => set_once(&mut protocol, &name, value)?,
                [b':', ..] => return Err(malformed(&name, "is not defined for requests")),
                _ => headers.push((name, value)),
            }
        }
        let method = required(method, b":method")?;
        let extended = protocol.is_some();
        if extended && method != b"CONNECT" {
            return Err(malformed(
                b":protocol",
                "stands on a method other than CONNECT",
            ));
        }
        let (path, scheme) = if method == b"CONNECT" && !extended {
            // Section 4.4: a plain CONNECT names its target in :authority alone.
            if path.is_some() || scheme.is_some() {
                return Err(malformed(b":method", "is CONNECT, beside :path or :scheme"));
            }
            required(authority.clone(), b":authority")?;
            (Vec::new(), Vec::new())
        } else {
            let path = required(path, b":path")?;
            if !path.starts_with(b"/") && path != b"*" {
                return Err(malformed(b":path", "does not begin with `/`"));
            }
            (path, required(scheme, b":scheme")?)
        };
        if extended {
            required(authority.clone(), b":authority")?;
        }
        Ok(Self {
            method,
            path,
            scheme,
            authority,
            protocol,
            headers,
        })
    }
}

impl std::fmt::Debug for RequestHead {
    /// Header names without their values: one of them is the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self
            .headers
            .iter()
            .map(|(name, _)| name.escape_ascii().to_string())
            .collect();
        f.debug_struct("RequestHead")
            .field("method", &self.method.escape_ascii().to_string())
            .field("path", &self.path.escape_ascii().to_string())
            .field("headers", &names)
            .finish_non_exhaustive()
    }
}

/// What a request stream gives out.
pub type RequestEvent<'a> = MessageEvent<'a, RequestHead>;

/// The server's receiving side of one request stream.
///
/// Call [`handle`](Self::handle) with the stream's bytes in order and take its events. Between two
/// calls at most [`MAX_HEADERS_PAYLOAD`](super::MAX_HEADERS_PAYLOAD) bytes are held, whatever
/// comes.
#[derive(Debug)]
pub struct RequestStream {
    message: MessageReader,
}

impl Default for RequestStream {
    fn default() -> Self {
        Self::new()
    }
}

impl RequestStream {
    /// A stream of which nothing has come yet.
    pub fn new() -> Self {
        Self {
            message: MessageReader::new(Side::Server),
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
    ) -> impl Iterator<Item = Result<RequestEvent<'d>, Http3Error>> {
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
    ) -> Result<Option<RequestEvent<'a>>, Http3Error> {
        match self.message.next(data, fin)? {
            None => Ok(None),
            Some(RawEvent::Body(body)) => Ok(Some(RequestEvent::Body(body))),
            Some(RawEvent::End) => Ok(Some(RequestEvent::End)),
            Some(RawEvent::Fields(fields)) => match RequestHead::from_fields(fields) {
                Ok(head) => {
                    self.message.head_done();
                    Ok(Some(RequestEvent::Head(head)))
                }
                Err(error) => Err(self.message.fail(error)),
            },
        }
    }
}

/// A `POST` of `body` to `path` with the token in `x-qdt-token`: HEADERS and DATA, to be written
/// on a request stream that is not finished afterwards.
///
/// `authority` is `host`, `host:port` or `[IPv6]:port`; empty leaves `:authority` out. `token` is
/// written as a secret: never indexed, not in Huffman code. The result holds the token in clear.
pub fn encode_request(authority: &[u8], path: &[u8], token: &[u8], body: &[u8]) -> Vec<u8> {
    let mut section = FieldSectionEncoder::new();
    section.field(b":method", b"POST");
    section.field(b":scheme", b"https");
    if !authority.is_empty() {
        section.field(b":authority", authority);
    }
    section.field(b":path", path);
    section.secret(b"x-qdt-token", token);
    section.field(b"content-length", body.len().to_string().as_bytes());
    let section = section.finish();

    let mut out = Vec::with_capacity(section.len() + body.len() + 16);
    frame::append_header(&mut out, frame::HEADERS, section.len());
    out.extend_from_slice(&section);
    frame::append_header(&mut out, frame::DATA, body.len());
    out.extend_from_slice(body);
    out
}

fn required(value: Option<Vec<u8>>, name: &[u8]) -> Result<Vec<u8>, Http3Error> {
    value
        .filter(|value| !value.is_empty())
        .ok_or_else(|| malformed(name, "is missing or empty"))
}
