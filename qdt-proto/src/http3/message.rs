//! One message on a request stream (RFC 9114 section 4.1): HEADERS, DATA, trailers, end.
//!
//! Requests and responses share this state machine. What it holds per stream is bounded by
//! [`MAX_HEADERS_PAYLOAD`]: the payload of the HEADERS frame being received, and only as much of it
//! as has come. DATA goes out as it comes in, unknown frames and trailers are not kept. After an
//! error every further call returns the same error.

use super::error::{Http3Error, code};
use super::fields::{Field, check_fields, check_trailers};
use super::frame::{self, FrameEvent, FrameReader};
use super::qpack::decode_field_section;

/// The largest field section that is accepted, in bytes of its content as RFC 9114 section 4.2.2
/// counts it: name + value + 32 per field.
pub const MAX_HEADER_SECTION: usize = 8 * 1024;

/// The largest encoding of a field section that is accepted, in bytes. It is also the most that a
/// stream holds in memory between two calls. Huffman code makes up to 30 bits of a byte (RFC 7541
/// appendix B), and there are clients that use it whatever it makes of a value.
pub const MAX_HEADERS_PAYLOAD: usize = 28 * 1024;

/// The longest value of one request field, in bytes, that reaches a server whatever its characters
/// and whatever encoding the client chooses: it leaves the other fields 1 KiB of either limit.
pub const MAX_FIELD_VALUE: usize = 7 * 1024;

// The longest value in its longest encoding, and the other fields.
const _: () = assert!(MAX_FIELD_VALUE + 1024 <= MAX_HEADER_SECTION);
const _: () = assert!(MAX_FIELD_VALUE * 30 / 8 + 1024 <= MAX_HEADERS_PAYLOAD);

/// Which end of the connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client, which dialled.
    Client,
    /// The server, which was dialled.
    Server,
}

/// An event whose field section has not been read as a head.
pub(super) enum RawEvent<'a> {
    /// A field section before the body.
    Fields(Vec<Field>),
    /// Some of the body, never empty.
    Body(&'a [u8]),
    /// The peer finished its side of the stream.
    End,
}

/// What a stream gives out whose message begins with a head of type `H`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageEvent<'a, H> {
    /// The head; once, first. Interim responses are skipped.
    Head(H),
    /// Some of the body, never empty, as it came in; how much of it is kept is the caller's choice.
    Body(&'a [u8]),
    /// The peer finished its side of the stream; last.
    End,
}

/// Returns what `next` gives out; its first error is the last item.
pub(super) fn events<T>(
    mut next: impl FnMut() -> Result<Option<T>, Http3Error>,
) -> impl Iterator<Item = Result<T, Http3Error>> {
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed {
            return None;
        }
        let event = next().transpose();
        failed = matches!(event, Some(Err(_)));
        event
    })
}

/// The receiving side of one request stream.
pub(super) struct MessageReader {
    side: Side,
    phase: Phase,
    frames: FrameReader,
    payload: Payload,
    /// The HEADERS payload so far.
    block: Vec<u8>,
    failed: Option<Http3Error>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waiting for the (final) field section that begins the message.
    Head,
    /// The body may come, or trailers.
    Body,
    /// Trailers have come.
    Trailers,
    /// The peer finished the stream.
    Ended,
}

/// What becomes of the payload of the current frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Payload {
    Body,
    /// Collected into `block`, whose final length this is.
    Section(usize),
    Skipped,
}

impl MessageReader {
    pub(super) fn new(side: Side) -> Self {
        Self {
            side,
            phase: Phase::Head,
            frames: FrameReader::new(),
            payload: Payload::Skipped,
            block: Vec::new(),
            failed: None,
        }
    }

    /// Returns the bytes of memory held for unfinished input.
    pub(super) fn buffered(&self) -> usize {
        self.block.capacity()
    }

    /// The section given out last was the final one: body and trailers may follow.
    pub(super) fn head_done(&mut self) {
        self.phase = Phase::Body;
    }

    /// Keeps `error` as the state of this stream and gives it back.
    pub(super) fn fail(&mut self, error: Http3Error) -> Http3Error {
        self.block = Vec::new();
        self.failed = Some(error.clone());
        error
    }

    /// The next event, taken from the front of `input`; `None` when more input is needed.
    ///
    /// `fin` says that the stream ends behind `input`.
    pub(super) fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
        fin: bool,
    ) -> Result<Option<RawEvent<'a>>, Http3Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.advance(input, fin).map_err(|error| self.fail(error))
    }

    fn advance<'a>(
        &mut self,
        input: &mut &'a [u8],
        fin: bool,
    ) -> Result<Option<RawEvent<'a>>, Http3Error> {
        if self.phase == Phase::Ended {
            return Ok(None);
        }
        while let Some(event) = self.frames.next(input) {
            match (event, self.payload) {
                (FrameEvent::Start { frame_type, length }, _) => {
                    self.payload = self.start(frame_type, length)?;
                }
                (FrameEvent::Payload(body), Payload::Body) => {
                    return Ok(Some(RawEvent::Body(body)));
                }
                (FrameEvent::Payload(bytes), Payload::Section(length)) => {
                    self.collect(bytes, length)
                }
                (FrameEvent::End, Payload::Section(_)) => {
                    if let Some(fields) = self.section()? {
                        return Ok(Some(RawEvent::Fields(fields)));
                    }
                }
                (FrameEvent::Payload(_) | FrameEvent::End, _) => {}
            }
        }
        if fin { self.end().map(Some) } else { Ok(None) }
    }

    /// Checks a frame's type and position (RFC 9114 sections 4.1 and 7.2).
    fn start(&self, frame_type: u64, length: u64) -> Result<Payload, Http3Error> {
        let unexpected = |what: &str| {
            Err(Http3Error::connection(
                code::H3_FRAME_UNEXPECTED,
                format!("frame type {frame_type:#x} {what}"),
            ))
        };
        match frame_type {
            frame::DATA => match self.phase {
                Phase::Body => Ok(Payload::Body),
                _ => unexpected("stands outside of the body of a message"),
            },
            frame::HEADERS => match usize::try_from(length) {
                _ if self.phase == Phase::Trailers => unexpected("stands after the trailers"),
                Ok(length) if length <= MAX_HEADERS_PAYLOAD => Ok(Payload::Section(length)),
                _ => Err(Http3Error::stream(
                    code::H3_EXCESSIVE_LOAD,
                    format!("a HEADERS frame of {length} bytes, {MAX_HEADERS_PAYLOAD} are allowed"),
                )),
            },
            // We never send MAX_PUSH_ID: a server has no push id to promise.
            frame::PUSH_PROMISE if self.side == Side::Client => Err(Http3Error::connection(
                code::H3_ID_ERROR,
                "a push that was not allowed",
            )),
            frame::PUSH_PROMISE
            | frame::CANCEL_PUSH
            | frame::SETTINGS
            | frame::GOAWAY
            | frame::MAX_PUSH_ID => unexpected("has no place on a request stream"),
            reserved if frame::is_reserved(reserved) => unexpected("belongs to HTTP/2"),
            // "Implementations MUST ignore unknown or unsupported values" (section 9).
            _ => Ok(Payload::Skipped),
        }
    }

    /// Keeps a piece of a HEADERS payload of `length` bytes. Memory grows with what has come, not
    /// with what was announced, and never beyond `length`.
    fn collect(&mut self, bytes: &[u8], length: usize) {
        let needed = self.block.len() + bytes.len();
        if needed > self.block.capacity() {
            let target = needed.max(2 * self.block.capacity()).min(length);
            self.block.reserve_exact(target - self.block.len());
        }
        self.block.extend_from_slice(bytes);
    }

    /// A HEADERS frame is complete: the head, or trailers, which are checked and dropped.
    fn section(&mut self) -> Result<Option<Vec<Field>>, Http3Error> {
        let block = std::mem::take(&mut self.block);
        let fields = decode_field_section(&block, MAX_HEADER_SECTION)?;
        if self.phase == Phase::Head {
            check_fields(&fields)?;
            return Ok(Some(fields));
        }
        check_trailers(&fields)?;
        self.phase = Phase::Trailers;
        Ok(None)
    }

    /// The peer finished the stream.
    fn end<'a>(&mut self) -> Result<RawEvent<'a>, Http3Error> {
        if !self.frames.at_boundary() {
            // Section 7.1: "if the last frame on the stream was truncated, this MUST be treated as
            // a connection error of type H3_FRAME_ERROR".
            return Err(Http3Error::connection(
                code::H3_FRAME_ERROR,
                "a request stream ends within a frame",
            ));
        }
        if self.phase == Phase::Head {
            return Err(match self.side {
                Side::Server => Http3Error::stream(
                    code::H3_REQUEST_INCOMPLETE,
                    "a request stream ends before its HEADERS frame",
                ),
                Side::Client => Http3Error::malformed("a response ends before its HEADERS frame"),
            });
        }
        self.phase = Phase::Ended;
        Ok(RawEvent::End)
    }
}

impl std::fmt::Debug for MessageReader {
    /// Without the bytes held: they may be a token's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MessageReader")
            .field("side", &self.side)
            .field("phase", &self.phase)
            .field("buffered", &self.buffered())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}
