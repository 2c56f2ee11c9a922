//! The part of the engine that needs a real socket: waiting for it, and draining at the end.

use std::time::{Duration, Instant};

use qdt_proto::http3::code;

use super::{Application, Engine};
use crate::http3_streams::error_code;
use crate::wake::Source;

/// The limit on the time until the socket has taken the last packets.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

impl<A: Application> Engine<A> {
    /// Returns the socket as something to wait for.
    pub(crate) fn source(&self) -> Source<'_> {
        Source::of(&self.port)
    }

    /// Closes every connection with H3_NO_ERROR and `reason`, and waits until the socket has taken
    /// the packets or [`DRAIN_TIMEOUT`] has passed on `clock`.
    pub(crate) fn drain(&mut self, app: &mut A, clock: impl Fn() -> Instant, reason: &'static str) {
        let now = clock();
        let handles: Vec<_> = self.links().map(|link| link.handle).collect();
        for handle in handles {
            if let Some(link) = self.link(handle) {
                link.quic
                    .close(now, error_code(code::H3_NO_ERROR), reason.as_bytes().into());
            }
            self.touch(handle);
        }
        let until = now + DRAIN_TIMEOUT;
        loop {
            self.flush(app, clock());
            if !self.is_blocked() || clock() >= until {
                return;
            }
            self.source().wait_writable(until);
        }
    }
}
