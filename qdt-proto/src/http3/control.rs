//! The peer's control stream (RFC 9114 section 6.2.1): SETTINGS first and once, then frames that
//! concern the connection.
//!
//! What is held is bounded by [`MAX_SETTINGS`]: the payload of the one frame being received. We
//! push nothing and allow no pushes, therefore frames about pushes are only checked.

use super::error::{Http3Error, code};
use super::frame::{self, FrameEvent, FrameReader};
use super::message::Side;
use super::settings::Settings;
use super::varint::decode_varint;

/// The largest SETTINGS frame that is accepted, in bytes; that is 64 settings and more.
pub(super) const MAX_SETTINGS: usize = 1024;

/// The receiving side of the control stream, behind its stream type.
#[derive(Debug)]
pub(super) struct ControlStream {
    side: Side,
    settings_seen: bool,
    frames: FrameReader,
    /// The frame whose payload is collected; `None` for one that is skipped.
    collected: Option<u64>,
    payload: Vec<u8>,
    goaway: Option<u64>,
    max_push_id: Option<u64>,
}

impl ControlStream {
    pub(super) const fn new(side: Side) -> Self {
        Self {
            side,
            settings_seen: false,
            frames: FrameReader::new(),
            collected: None,
            payload: Vec::new(),
            goaway: None,
            max_push_id: None,
        }
    }

    /// The id in the peer's last GOAWAY, if it sent one.
    pub(super) const fn goaway(&self) -> Option<u64> {
        self.goaway
    }

    /// Consumes the next bytes; returns the peer's settings when they are complete.
    pub(super) fn handle(&mut self, mut data: &[u8]) -> Result<Option<Settings>, Http3Error> {
        let mut settings = None;
        while let Some(event) = self.frames.next(&mut data) {
            match event {
                FrameEvent::Start { frame_type, length } => self.start(frame_type, length)?,
                FrameEvent::Payload(bytes) if self.collected.is_some() => {
                    self.payload.extend_from_slice(bytes);
                }
                FrameEvent::Payload(_) => {}
                FrameEvent::End => {
                    let payload = std::mem::take(&mut self.payload);
                    match self.collected.take() {
                        Some(frame::SETTINGS) => settings = Some(Settings::decode(&payload)?),
                        Some(frame_type) => self.identifier(frame_type, &payload)?,
                        None => {}
                    }
                }
            }
        }
        Ok(settings)
    }

    /// Checks a frame's type, position and size.
    fn start(&mut self, frame_type: u64, length: u64) -> Result<(), Http3Error> {
        if !self.settings_seen {
            if frame_type != frame::SETTINGS {
                return Err(Http3Error::connection(
                    code::H3_MISSING_SETTINGS,
                    format!("the control stream begins with frame type {frame_type:#x}"),
                ));
            }
            if length > MAX_SETTINGS as u64 {
                return Err(Http3Error::connection(
                    code::H3_EXCESSIVE_LOAD,
                    format!("a SETTINGS frame of {length} bytes, {MAX_SETTINGS} are allowed"),
                ));
            }
            self.settings_seen = true;
            self.collected = Some(frame_type);
            return Ok(());
        }
        let misplaced = match frame_type {
            frame::DATA | frame::HEADERS | frame::PUSH_PROMISE | frame::SETTINGS => true,
            frame::MAX_PUSH_ID => self.side == Side::Client,
            other => frame::is_reserved(other),
        };
        if misplaced {
            return Err(Http3Error::connection(
                code::H3_FRAME_UNEXPECTED,
                format!("frame type {frame_type:#x} has no place here on the control stream"),
            ));
        }
        if matches!(
            frame_type,
            frame::GOAWAY | frame::CANCEL_PUSH | frame::MAX_PUSH_ID
        ) {
            if !(1..=8).contains(&length) {
                return Err(wrong_layout(frame_type));
            }
            self.collected = Some(frame_type);
        }
        Ok(())
    }

    /// A frame whose payload is one identifier is complete.
    fn identifier(&mut self, frame_type: u64, payload: &[u8]) -> Result<(), Http3Error> {
        let identifier = match decode_varint(payload) {
            Some((identifier, len)) if len == payload.len() => identifier,
            _ => return Err(wrong_layout(frame_type)),
        };
        match frame_type {
            frame::GOAWAY => {
                // Section 7.2.6: a server names a client-initiated bidirectional stream.
                if self.side == Side::Client && identifier % 4 != 0 {
                    return Err(wrong_id("GOAWAY names a stream that is no request stream"));
                }
                if self.goaway.is_some_and(|last| identifier > last) {
                    return Err(wrong_id("GOAWAY names a higher id than the one before"));
                }
                self.goaway = Some(identifier);
                Ok(())
            }
            frame::MAX_PUSH_ID => {
                if self.max_push_id.is_some_and(|last| identifier < last) {
                    return Err(wrong_id("MAX_PUSH_ID is lower than the one before"));
                }
                self.max_push_id = Some(identifier);
                Ok(())
            }
            // CANCEL_PUSH: no push was ever promised by us or allowed to the peer.
            _ => Err(wrong_id("CANCEL_PUSH names a push that never was")),
        }
    }
}

fn wrong_layout(frame_type: u64) -> Http3Error {
    Http3Error::connection(
        code::H3_FRAME_ERROR,
        format!("frame type {frame_type:#x} does not hold exactly one identifier"),
    )
}

fn wrong_id(reason: &'static str) -> Http3Error {
    Http3Error::connection(code::H3_ID_ERROR, reason)
}
