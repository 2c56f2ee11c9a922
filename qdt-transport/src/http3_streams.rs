//! What both ends do with HTTP/3's unidirectional streams: open our own control stream, read the
//! peer's.
//!
//! Invariant: nothing is buffered here but what the sans-I/O parsers hold (1 KiB a stream), and
//! QUIC lets the peer open no more than 32 of them.

use bytes::Bytes;
use qdt_proto::http3::{
    CriticalStreams, Http3Error, Scope, Side, UniStream, code, control_stream_preface,
};
use quinn_proto::{Connection, ConnectionError, Dir, ReadError, StreamId, VarInt, WriteError};

/// The peer's unidirectional streams of one connection.
#[derive(Debug)]
pub(crate) struct UniStreams {
    side: Side,
    critical: CriticalStreams,
    open: Vec<(StreamId, UniStream)>,
    /// The peer said that it takes datagrams (SETTINGS_H3_DATAGRAM, RFC 9297 section 2.1.1): before
    /// that, none may be sent.
    pub(crate) peer_takes_datagrams: bool,
    /// The peer's SETTINGS have arrived.
    pub(crate) has_settings: bool,
}

impl UniStreams {
    pub(crate) fn new(side: Side) -> Self {
        Self {
            side,
            critical: CriticalStreams::default(),
            open: Vec::new(),
            peer_takes_datagrams: false,
            has_settings: false,
        }
    }

    /// Takes in the streams that the peer has opened and reads them.
    pub(crate) fn accept(&mut self, quic: &mut Connection) -> Result<(), Http3Error> {
        while let Some(id) = quic.streams().accept(Dir::Uni) {
            self.open.push((id, UniStream::new(self.side)));
            self.read(quic, id)?;
        }
        Ok(())
    }

    /// Reads one of them.
    pub(crate) fn read(&mut self, quic: &mut Connection, id: StreamId) -> Result<(), Http3Error> {
        let Some(position) = self.open.iter().position(|(open, _)| *open == id) else {
            return Ok(());
        };
        let stream = &mut self.open[position].1;
        let mut settings = None;
        let mut outcome = Ok(());
        let end = read_chunks(quic, id, |data, fin| {
            match stream.handle(&mut self.critical, data, fin) {
                Ok(found) => {
                    settings = settings.or(found);
                    true
                }
                Err(error) => {
                    outcome = Err(error);
                    false
                }
            }
        });
        outcome?;
        if end == StreamEnd::Reset {
            stream.reset()?;
        }
        if let Some(settings) = settings {
            self.has_settings = true;
            self.peer_takes_datagrams = settings.datagrams;
        }
        if end == StreamEnd::Open && stream.is_ignored() {
            let _ = quic
                .recv_stream(id)
                .stop(error_code(code::H3_STREAM_CREATION_ERROR));
        } else if end == StreamEnd::Open {
            return Ok(());
        }
        self.open.swap_remove(position);
        Ok(())
    }
}

/// Opens our control stream and sends SETTINGS on it. It is never finished.
pub(crate) fn open_control_stream(quic: &mut Connection) {
    if let Some(id) = quic.streams().open(Dir::Uni) {
        // The preface is a few bytes at the start of a stream: flow control has room for it.
        let _ = quic.send_stream(id).write(&control_stream_preface());
    }
}

/// How reading a stream ended for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    /// More may come.
    Open,
    /// The peer finished it, and everything was read.
    Finished,
    /// The peer gave it up, or it is gone.
    Reset,
}

/// Reads what has arrived on a stream in order, until `each` returns false. The last call has `fin`
/// set.
pub(crate) fn read_chunks(
    quic: &mut Connection,
    id: StreamId,
    mut each: impl FnMut(&[u8], bool) -> bool,
) -> StreamEnd {
    let mut stream = quic.recv_stream(id);
    let Ok(mut chunks) = stream.read(true) else {
        return StreamEnd::Reset;
    };
    let end = loop {
        match chunks.next(usize::MAX) {
            Ok(Some(chunk)) => {
                if !each(&chunk.bytes, false) {
                    break StreamEnd::Open;
                }
            }
            Ok(None) => {
                each(&[], true);
                break StreamEnd::Finished;
            }
            Err(ReadError::Blocked) => break StreamEnd::Open,
            Err(ReadError::Reset(_)) => break StreamEnd::Reset,
        }
    };
    // Flow control credit goes out with the next packet; the engine flushes every connection it
    // touched.
    let _ = chunks.finalize();
    end
}

/// Ends what an HTTP/3 error says: the stream, or the whole connection.
pub(crate) fn fail(
    quic: &mut Connection,
    now: std::time::Instant,
    stream: Option<StreamId>,
    error: &Http3Error,
) {
    match (error.scope, stream) {
        (Scope::Stream, Some(id)) => {
            let _ = quic.send_stream(id).reset(error_code(error.code));
            let _ = quic.recv_stream(id).stop(error_code(error.code));
        }
        _ => quic.close(
            now,
            error_code(error.code),
            Bytes::copy_from_slice(error.reason.as_bytes()),
        ),
    }
}

/// An HTTP/3 code as QUIC's application error code.
pub(crate) fn error_code(code: u64) -> VarInt {
    VarInt::from_u64(code).expect("HTTP/3 codes are small")
}

/// Returns in words why a connection has ended whose other end is `peer`.
pub(crate) fn end_text(reason: &ConnectionError, peer: &str) -> String {
    match reason {
        ConnectionError::TimedOut => "timeout: no recent network activity".into(),
        ConnectionError::ApplicationClosed(close) => {
            let words = String::from_utf8_lossy(&close.reason);
            let code = close.error_code.into_inner();
            let text = format!("closed by the {peer}: code {code:#x} {words}");
            text.trim_end().into()
        }
        other => other.to_string(),
    }
}

/// Bytes on their way out on a stream, for as long as flow control holds them back.
#[derive(Default)]
pub(crate) struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    finish: bool,
}

impl std::fmt::Debug for Outgoing {
    /// Without the bytes: they hold a request's token or an answer's ticket.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing")
            .field("bytes", &self.bytes.len())
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}

impl Outgoing {
    /// Sends `bytes`, and the end of the stream behind them if `finish`.
    pub(crate) fn new(bytes: Vec<u8>, finish: bool) -> Self {
        Self {
            bytes,
            sent: 0,
            finish,
        }
    }

    /// Writes as much as may be written now.
    pub(crate) fn write(&mut self, quic: &mut Connection, id: StreamId) -> Sending {
        let mut stream = quic.send_stream(id);
        while self.sent < self.bytes.len() {
            match stream.write(&self.bytes[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(WriteError::Blocked) => return Sending::Blocked,
                Err(error) => return Sending::Refused(error),
            }
        }
        if self.finish {
            let _ = stream.finish();
        }
        Sending::Done
    }
}

/// How far [`Outgoing::write`] came.
#[derive(Debug)]
pub(crate) enum Sending {
    /// All is written.
    Done,
    /// Flow control holds the rest back.
    Blocked,
    /// The peer stopped the stream, or it is gone.
    Refused(WriteError),
}
