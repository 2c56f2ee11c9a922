//! One exchange on a request stream: any request, and its answer as it came.

use std::time::Duration;

use qdt_proto::http3::{FieldSectionEncoder, ResponseEvent, ResponseStream};
use quinn::{RecvStream, SendStream};

use super::connection::{Probe, finish};

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Headers in their order, without `:status`.
    pub headers: Vec<(String, String)>,
    /// The body, as far as it had come.
    pub body: Vec<u8>,
    /// Whether the server had finished its side of the stream.
    pub finished: bool,
}

impl Answer {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// An open request stream.
#[derive(Debug)]
pub struct Exchange {
    send: SendStream,
    receive: RecvStream,
}

impl From<(SendStream, RecvStream)> for Exchange {
    fn from((send, receive): (SendStream, RecvStream)) -> Self {
        Self { send, receive }
    }
}

impl Exchange {
    /// Opens a stream and writes nothing yet.
    ///
    /// # Panics
    /// When the server grants none.
    #[must_use]
    #[track_caller]
    pub fn open(probe: &Probe) -> Self {
        match probe.open_stream() {
            Ok(Some((send, receive))) => Self { send, receive },
            other => panic!("no request stream: {other:?}"),
        }
    }

    /// The quarter stream id that goes before every datagram of this exchange.
    #[must_use]
    pub fn quarter_stream_id(&self) -> u64 {
        quinn::VarInt::from(self.send.id()).into_inner() / 4
    }

    /// Writes bytes as they are; false where the stream takes no more.
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        matches!(
            finish(Duration::from_secs(5), self.send.write_all(bytes)),
            Some(Ok(()))
        )
    }

    /// Writes a HEADERS frame.
    pub fn write_headers(&mut self, headers: &[(&str, &[u8])]) -> bool {
        let mut section = FieldSectionEncoder::new();
        for (name, value) in headers {
            section.field(name.as_bytes(), value);
        }
        self.write_frame(1, &section.finish())
    }

    /// Writes the head of a good `POST /connect`, with `content-length` where one is given.
    pub fn write_connect_head(&mut self, token: &[u8], content_length: Option<usize>) -> bool {
        let length = content_length.map(|length| length.to_string());
        let mut headers: Vec<(&str, &[u8])> = vec![
            (":method", b"POST"),
            (":scheme", b"https"),
            (":authority", b"qdt.test"),
            (":path", b"/connect"),
            ("x-qdt-token", token),
        ];
        headers.extend(
            length
                .as_ref()
                .map(|length| ("content-length", length.as_bytes())),
        );
        self.write_headers(&headers)
    }

    /// Writes a DATA frame.
    pub fn write_data(&mut self, body: &[u8]) -> bool {
        self.write_frame(0, body)
    }

    fn write_frame(&mut self, kind: u8, payload: &[u8]) -> bool {
        let mut frame = vec![kind];
        // Lengths in the four-byte form of a varint, whatever they are.
        frame.extend_from_slice(&(payload.len() as u32 | 0x8000_0000).to_be_bytes());
        frame.extend_from_slice(payload);
        self.write(&frame)
    }

    /// Gives the request up: RESET_STREAM with H3_REQUEST_CANCELLED (RFC 9114 section 4.1.1).
    pub fn give_up(&mut self) {
        let _ = self.send.reset(quinn::VarInt::from_u32(0x10c));
    }

    /// Finishes the sending side.
    pub fn finish(&mut self) {
        let _ = self.send.finish();
    }

    /// Reads until the answer is complete: a whole JSON line of a success, or
    /// the end of the stream.
    #[must_use]
    pub fn answer(&mut self, within: Duration) -> Option<Answer> {
        let mut machine = ResponseStream::new();
        let mut answer: Option<Answer> = None;
        finish(within, async {
            loop {
                let chunk = self.receive.read_chunk(4096, true).await.ok()?;
                let (bytes, fin) = match &chunk {
                    Some(chunk) => (&chunk.bytes[..], false),
                    None => (&[][..], true),
                };
                for event in machine.handle(bytes, fin) {
                    match event.ok()? {
                        ResponseEvent::Head(head) => {
                            answer = Some(Answer {
                                status: head.status,
                                headers: head.headers.iter().map(pair).collect(),
                                body: Vec::new(),
                                finished: false,
                            });
                        }
                        ResponseEvent::Body(body) => {
                            answer.as_mut()?.body.extend_from_slice(body);
                        }
                        ResponseEvent::End => answer.as_mut()?.finished = true,
                    }
                }
                let whole = |answer: &Answer| {
                    answer.finished || (answer.status == 200 && answer.body.ends_with(b"\n"))
                };
                if fin || answer.as_ref().is_some_and(whole) {
                    return answer;
                }
            }
        })?
    }
}

fn pair((name, value): &(Vec<u8>, Vec<u8>)) -> (String, String) {
    (
        String::from_utf8_lossy(name).into_owned(),
        String::from_utf8_lossy(value).into_owned(),
    )
}

/// A request body as the Go client writes it, without extensions.
#[must_use]
pub fn request_body(nonce: &str, mtu: i64) -> Vec<u8> {
    format!(r#"{{"version":1,"client_nonce":"{nonce}","mtu":{mtu},"caps":[]}}"#).into_bytes()
}
