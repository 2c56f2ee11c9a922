//! Unidirectional streams of the peer (RFC 9114 section 6.2): control, QPACK, push, unknown ones.
//!
//! Each stream is a [`UniStream`]; what holds across the streams of a connection (one of each
//! critical kind) is in [`CriticalStreams`]. Streams of an unknown type are skipped, not kept.

use super::control::ControlStream;
use super::error::{Http3Error, code};
use super::message::{MAX_HEADER_SECTION, Side};
use super::qpack_streams::{DecoderStream, handle_encoder_stream};
use super::settings::{self, Settings};
use super::varint::decode_varint;

/// Stream type of the control stream (RFC 9114 section 6.2.1).
pub(super) const CONTROL_STREAM: u8 = 0x00;
const CONTROL: u64 = CONTROL_STREAM as u64;
/// Push stream (RFC 9114 section 6.2.2).
const PUSH: u64 = 0x01;
/// QPACK encoder and decoder stream (RFC 9204 section 4.2).
const QPACK_ENCODER: u64 = 0x02;
const QPACK_DECODER: u64 = 0x03;

/// What our control stream begins with: its type and our SETTINGS (datagrams on, no dynamic QPACK
/// table, field sections up to [`MAX_HEADER_SECTION`]). The stream is never finished.
///
/// We open no QPACK streams: an endpoint without dynamic table need not (RFC 9204 section 4.2).
pub fn control_stream_preface() -> Vec<u8> {
    settings::control_stream_preface(MAX_HEADER_SECTION as u64)
}

/// Which critical streams a connection has seen; at most one of each kind may exist.
#[derive(Debug, Default)]
pub struct CriticalStreams {
    control: bool,
    encoder: bool,
    decoder: bool,
}

/// The receiving side of one unidirectional stream of the peer.
///
/// Call [`handle`](Self::handle) with the stream's bytes in order, [`reset`](Self::reset) when the
/// peer resets it. At most 1 KiB is held, whatever comes.
#[derive(Debug)]
pub struct UniStream {
    side: Side,
    state: State,
    failed: Option<Http3Error>,
}

#[derive(Debug)]
enum State {
    /// Within the stream type, a variable-length integer.
    Type {
        bytes: [u8; 8],
        len: usize,
    },
    Control(ControlStream),
    Encoder,
    Decoder(DecoderStream),
    /// Of a type that we do not know.
    Ignored,
}

impl UniStream {
    /// A stream of which nothing has come yet; `side` is ours.
    pub const fn new(side: Side) -> Self {
        Self {
            side,
            state: State::Type {
                bytes: [0; 8],
                len: 0,
            },
            failed: None,
        }
    }

    /// Takes the next bytes of the stream; `fin` says that the stream ends behind them.
    ///
    /// Gives the peer's settings when they are complete, once per connection. `critical` is the
    /// connection's, shared by all its streams.
    ///
    /// # Errors
    /// Every error ends the connection; a call after an error gives the same one again.
    pub fn handle(
        &mut self,
        critical: &mut CriticalStreams,
        data: &[u8],
        fin: bool,
    ) -> Result<Option<Settings>, Http3Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.advance(critical, data, fin);
        self.failed = result.as_ref().err().cloned();
        result
    }

    fn advance(
        &mut self,
        critical: &mut CriticalStreams,
        mut data: &[u8],
        fin: bool,
    ) -> Result<Option<Settings>, Http3Error> {
        if let Some(stream_type) = self.take_type(&mut data) {
            self.state = self.open(stream_type, critical)?;
        }
        let settings = match &mut self.state {
            State::Type { .. } | State::Ignored => None,
            State::Control(control) => control.handle(data)?,
            State::Encoder => {
                handle_encoder_stream(data)?;
                None
            }
            State::Decoder(decoder) => {
                decoder.handle(data)?;
                None
            }
        };
        if fin {
            self.reset()?;
        }
        Ok(settings)
    }

    /// The peer ended the stream by RESET_STREAM.
    ///
    /// # Errors
    /// `H3_CLOSED_CRITICAL_STREAM` for a control or QPACK stream, which live as long as the
    /// connection; any other stream may end at any time, also before its type came (RFC 9114
    /// section 6.2).
    pub fn reset(&self) -> Result<(), Http3Error> {
        match self.state {
            State::Type { .. } | State::Ignored => Ok(()),
            State::Control(_) | State::Encoder | State::Decoder(_) => Err(Http3Error::connection(
                code::H3_CLOSED_CRITICAL_STREAM,
                "the peer ended its control stream or a QPACK stream",
            )),
        }
    }

    /// Whether the stream is of a type that we do not know: it may be stopped with
    /// `H3_STREAM_CREATION_ERROR` and forgotten.
    pub const fn is_ignored(&self) -> bool {
        matches!(self.state, State::Ignored)
    }

    /// The id in the GOAWAY that the peer sent last on this stream, if any: the peer is about to
    /// leave, and takes no request stream with this or a higher id.
    pub const fn goaway(&self) -> Option<u64> {
        match &self.state {
            State::Control(control) => control.goaway(),
            _ => None,
        }
    }

    /// Takes bytes until the stream type is complete and was not known before.
    fn take_type(&mut self, data: &mut &[u8]) -> Option<u64> {
        let State::Type { bytes, len } = &mut self.state else {
            return None;
        };
        while let Some((byte, rest)) = data.split_first() {
            *data = rest;
            bytes[*len] = *byte;
            *len += 1;
            if let Some((stream_type, _)) = decode_varint(&bytes[..*len]) {
                return Some(stream_type);
            }
        }
        None
    }

    /// Judges a stream by its type.
    fn open(&self, stream_type: u64, critical: &mut CriticalStreams) -> Result<State, Http3Error> {
        let (seen, state) = match stream_type {
            CONTROL => (
                &mut critical.control,
                State::Control(ControlStream::new(self.side)),
            ),
            QPACK_ENCODER => (&mut critical.encoder, State::Encoder),
            QPACK_DECODER => (&mut critical.decoder, State::Decoder(DecoderStream::new())),
            PUSH => {
                return Err(match self.side {
                    Side::Server => Http3Error::connection(
                        code::H3_STREAM_CREATION_ERROR,
                        "a client opened a push stream",
                    ),
                    Side::Client => Http3Error::connection(
                        code::H3_ID_ERROR,
                        "a push stream, though no push was allowed",
                    ),
                });
            }
            _ => return Ok(State::Ignored),
        };
        if std::mem::replace(seen, true) {
            return Err(Http3Error::connection(
                code::H3_STREAM_CREATION_ERROR,
                format!("a second unidirectional stream of type {stream_type:#x}"),
            ));
        }
        Ok(state)
    }
}
