//! What carries a session to its client: a QUIC connection. Nothing else of a session's knows how
//! the engine names one.

use quinn_proto::ConnectionHandle;

use crate::engine::{Application, Engine, Link};
use crate::udp::DatagramPort;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carrier(ConnectionHandle);

impl Carrier {
    pub(super) fn new(handle: ConnectionHandle) -> Self {
        Self(handle)
    }

    /// Returns the carrier's connection.
    pub(super) fn link<A: Application, P: DatagramPort>(
        self,
        engine: &mut Engine<A, P>,
    ) -> Option<&mut Link<A::Connection>> {
        engine.link(self.0)
    }

    /// Marks the connection as changed, so that the engine sends what was queued on it.
    pub(super) fn touch<A: Application, P: DatagramPort>(self, engine: &mut Engine<A, P>) {
        engine.touch(self.0);
    }
}
