//! HTTP/3's unidirectional streams at both ends: our own control stream and the peer's streams.
//!
//! Invariant: only the sans-I/O parsers buffer here (1 KiB per stream), and QUIC lets the peer open
//! at most 32 streams.

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
    /// Whether the peer announced SETTINGS_H3_DATAGRAM, before which no datagram may be sent (RFC
    /// 9297 section 2.1.1).
    pub(crate) peer_takes_datagrams: bool,
    /// Whether the peer's SETTINGS have arrived.
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

    /// Accepts the streams that the peer has opened and reads them.
    pub(crate) fn accept(&mut self, quic: &mut Connection) -> Result<(), Http3Error> {
        while let Some(id) = quic.streams().accept(Dir::Uni) {
            self.open.push((id, UniStream::new(self.side)));
            self.read(quic, id)?;
        }
        Ok(())
    }

    /// Reads one stream.
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

/// Opens our control stream, which stays open, and sends SETTINGS on it.
pub(crate) fn open_control_stream(quic: &mut Connection) {
    if let Some(id) = quic.streams().open(Dir::Uni) {
        // Flow control always has room for these few bytes.
        let _ = quic.send_stream(id).write(&control_stream_preface());
    }
}

/// The state of a stream after reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    /// More may come.
    Open,
    /// The peer finished it, and everything was read.
    Finished,
    /// The peer reset it.
    Reset,
    /// Nothing is left to read: it was read to its end, reset or stopped before.
    Gone,
}

/// Reads the data that has arrived in order, until `each` returns false. The last call has `fin`
/// set.
pub(crate) fn read_chunks(
    quic: &mut Connection,
    id: StreamId,
    mut each: impl FnMut(&[u8], bool) -> bool,
) -> StreamEnd {
    let mut stream = quic.recv_stream(id);
    let Ok(mut chunks) = stream.read(true) else {
        return StreamEnd::Gone;
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
    // The engine flushes every touched connection, which sends flow control credit.
    let _ = chunks.finalize();
    end
}

/// Ends the stream or the connection, as an HTTP/3 error requires.
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

/// Returns an HTTP/3 code as a QUIC application error code.
pub(crate) fn error_code(code: u64) -> VarInt {
    VarInt::from_u64(code).expect("HTTP/3 codes are small")
}

/// Returns why a connection to `peer` has ended, for the log.
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

/// The rest of the bytes to send on a stream, while flow control blocks them.
#[derive(Default)]
pub(crate) struct StreamWriter {
    bytes: Vec<u8>,
    sent: usize,
    finish: bool,
}

impl std::fmt::Debug for StreamWriter {
    /// Omits the bytes, which hold a request's token or an answer's ticket.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamWriter")
            .field("bytes", &self.bytes.len())
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}

impl StreamWriter {
    /// Returns a writer of `bytes`, which ends the stream after them if `finish`.
    pub(crate) fn new(bytes: Vec<u8>, finish: bool) -> Self {
        Self {
            bytes,
            sent: 0,
            finish,
        }
    }

    /// Writes as much as flow control allows.
    pub(crate) fn write(&mut self, quic: &mut Connection, id: StreamId) -> WriteStatus {
        let mut stream = quic.send_stream(id);
        while self.sent < self.bytes.len() {
            match stream.write(&self.bytes[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(WriteError::Blocked) => return WriteStatus::Blocked,
                Err(error) => return WriteStatus::Refused(error),
            }
        }
        if self.finish {
            let _ = stream.finish();
        }
        WriteStatus::Done
    }
}

/// The result of [`StreamWriter::write`].
#[derive(Debug)]
pub(crate) enum WriteStatus {
    /// Everything is written.
    Done,
    /// Flow control blocks the rest.
    Blocked,
    /// The peer stopped the stream, or it is gone.
    Refused(WriteError),
}
