//! One request on one stream, and what became of it.

use std::time::{Duration, Instant};

use qdt_proto::http3::{ResponseEvent, ResponseStream};
use quinn::{ConnectionError, ReadError, RecvStream, SendStream, VarInt};

use super::request::{Request, Step};
use crate::probe::{Probe, finish};

/// Given up by the client (RFC 9114 section 8.1).
const H3_REQUEST_CANCELLED: u32 = 0x10c;
/// How long packets may take to leave.
const LEAVING: Duration = Duration::from_secs(1);

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// An answer.
    Answer(Answer),
    /// The server reset the stream with this code.
    Reset(u64),
    /// The server closed the connection with this code.
    Closed(u64),
    /// Nothing came in time.
    Silence,
    /// Something came that is not HTTP/3, or the connection broke.
    Broken(String),
}

/// An answer as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Names and values in the order in which they came, without `:status`.
    pub(super) headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) body: Vec<u8>,
    /// The server has finished the stream.
    pub(super) finished: bool,
}

/// A request that is on its way.
#[derive(Debug)]
pub(super) struct Pending {
    /// Kept: a stream that is dropped is finished.
    send: SendStream,
    receive: RecvStream,
}

impl Pending {
    /// Opens a stream and does what the request says.
    pub(super) fn start(probe: &Probe, request: &Request) -> Result<Self, Outcome> {
        let (mut send, receive) = match probe.open_stream() {
            Ok(Some(streams)) => streams,
            Ok(None) => return Err(Outcome::Broken("the server grants no stream".into())),
            Err(error) => return Err(closed(error)),
        };
        let mut unwritten = Vec::new();
        for step in &request.steps {
            match step {
                Step::Write(bytes) => unwritten.extend_from_slice(bytes),
                Step::Flush => {
                    let before = write(probe, &mut send, &mut unwritten);
                    flush(probe, before);
                }
                Step::Finish => {
                    write(probe, &mut send, &mut unwritten);
                    let _ = send.finish();
                }
                Step::GiveUp => {
                    write(probe, &mut send, &mut unwritten);
                    let _ = send.reset(VarInt::from_u32(H3_REQUEST_CANCELLED));
                }
            }
        }
        write(probe, &mut send, &mut unwritten);
        Ok(Self { send, receive })
    }

    /// The quarter stream id that the server has to put before every datagram of this exchange.
    pub(super) fn quarter_stream_id(&self) -> u64 {
        VarInt::from(self.send.id()).into_inner() / 4
    }

    /// Waits for the end of the answer: of a success its JSON line, of anything else the end of the
    /// stream.
    pub(super) fn outcome(&mut self, within: Duration) -> Outcome {
        let mut machine = ResponseStream::new();
        let mut answer = None;
        let read = finish(within, async {
            loop {
                match self.receive.read_chunk(8192, true).await {
                    Ok(chunk) => {
                        let bytes = chunk.as_ref().map_or(&[][..], |chunk| &chunk.bytes);
                        if let Some(outcome) =
                            take(&mut machine, &mut answer, bytes, chunk.is_none())
                        {
                            return outcome;
                        }
                    }
                    Err(ReadError::Reset(code)) => return Outcome::Reset(code.into_inner()),
                    Err(ReadError::ConnectionLost(error)) => return closed(error),
                    Err(error) => return Outcome::Broken(error.to_string()),
                }
            }
        });
        read.unwrap_or_else(|| answer.map_or(Outcome::Silence, Outcome::Answer))
    }

    /// Whether the server has finished or reset the stream, as far as it is known `within` that
    /// time.
    pub(super) fn is_over(&mut self, within: Duration) -> bool {
        matches!(
            finish(within, self.receive.read_chunk(8192, true)),
            Some(Ok(None) | Err(_))
        )
    }
}

/// Takes the stream's next bytes; gives the outcome when it is known.
fn take(
    machine: &mut ResponseStream,
    answer: &mut Option<Answer>,
    bytes: &[u8],
    fin: bool,
) -> Option<Outcome> {
    for event in machine.handle(bytes, fin) {
        match event {
            Err(error) => return Some(Outcome::Broken(format!("no HTTP/3 response: {error}"))),
            Ok(ResponseEvent::Head(head)) => {
                *answer = Some(Answer {
                    status: head.status,
                    headers: head.headers,
                    body: Vec::new(),
                    finished: false,
                });
            }
            Ok(ResponseEvent::Body(part)) => {
                if let Some(answer) = answer {
                    answer.body.extend_from_slice(part);
                }
            }
            Ok(ResponseEvent::End) => {
                if let Some(answer) = answer {
                    answer.finished = true;
                }
            }
        }
    }
    let whole = answer.as_ref().is_some_and(|answer| {
        answer.finished || (answer.status == 200 && answer.body.ends_with(b"\n"))
    });
    if whole {
        answer.take().map(Outcome::Answer)
    } else {
        None
    }
}

/// Writes all at once, so that what leaves first is known; gives how many STREAM frames had left
/// before. A server that has made up its mind may stop the stream: its answer says more than this
/// write.
fn write(probe: &Probe, send: &mut SendStream, unwritten: &mut Vec<u8>) -> u64 {
    let before = probe.stream_frames_sent();
    let _ = finish(LEAVING, send.write_all(unwritten));
    unwritten.clear();
    before
}

/// Waits until more STREAM frames than `before` have left: with what was written, as far as flow
/// control allowed.
fn flush(probe: &Probe, before: u64) {
    let deadline = Instant::now() + LEAVING;
    while probe.stream_frames_sent() == before && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn closed(error: ConnectionError) -> Outcome {
    match error {
        ConnectionError::ApplicationClosed(close) => Outcome::Closed(close.error_code.into_inner()),
        other => Outcome::Broken(format!("the connection is lost: {other}")),
    }
}
