//! What the engine needs of a UDP port. Static dispatch only: the engine is made for one kind of
//! port.
//!
//! Invariants: no call waits; each error is about the datagrams of its call, and none ends the
//! port.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::BytesMut;
use quinn_proto::{EcnCodepoint, Transmit};

use crate::counters::WorkerCounters;

/// A train of datagrams of one sender, as one buffer.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) from: SocketAddr,
    pub(crate) local_ip: Option<IpAddr>,
    pub(crate) ecn: Option<EcnCodepoint>,
    /// Length of every datagram in `train` but the last, which may be shorter.
    pub(crate) stride: usize,
    pub(crate) train: BytesMut,
}

/// Why a train, or the rest of it, was not sent.
#[derive(Debug)]
pub(crate) struct SendError {
    /// What the system said: `WouldBlock` when the port's buffer is full.
    pub(crate) error: io::Error,
    /// Bytes at the beginning of the train that have left.
    pub(crate) sent: usize,
}

/// See the module.
pub(crate) trait DatagramPort {
    /// Returns how many equal datagrams one send call may carry at most now.
    fn max_segments(&self, now: Instant) -> usize;

    /// Returns an address as this port writes it: IPv4 in its mapped form on a dual-stack socket.
    fn address_for(&self, addr: SocketAddr) -> SocketAddr;

    /// Reads what has arrived, one call and at most [`super::RECEIVE_BATCH`] trains; `each` gets
    /// every train.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; anything else is the network's trouble of the moment.
    fn receive(&mut self, each: impl FnMut(Received)) -> io::Result<()>;

    /// Sends one train: in one call, or datagram by datagram where the system takes it no other
    /// way.
    ///
    /// # Errors
    /// `WouldBlock` when the port's buffer is full; otherwise what the system said about these
    /// datagrams.
    fn send(
        &mut self,
        now: Instant,
        transmit: &Transmit,
        contents: &[u8],
        counters: &WorkerCounters,
    ) -> Result<(), SendError>;

    /// Sends one datagram that no connection waits for: an answer to whoever asked. It is lost
    /// where the port is full or the system refuses it.
    fn answer(&self, transmit: &Transmit, contents: &[u8]);
}
