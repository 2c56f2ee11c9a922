//! The UDP port that an engine needs. Dispatch is static.
//!
//! Invariants: no call blocks; an error concerns the datagrams of its call only, and the port stays
//! usable.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::BytesMut;
use quinn_proto::{EcnCodepoint, Transmit};

use crate::counters::WorkerCounters;

/// A batch of datagrams from one sender, in one buffer.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) from: SocketAddr,
    pub(crate) local_ip: Option<IpAddr>,
    pub(crate) ecn: Option<EcnCodepoint>,
    /// Length of every datagram in `batch` except the last, which may be shorter.
    pub(crate) stride: usize,
    pub(crate) batch: BytesMut,
}

/// The error of a batch that was sent in part or not at all.
#[derive(Debug)]
pub(crate) struct SendError {
    /// The system's error; `WouldBlock` when the port's buffer is full.
    pub(crate) error: io::Error,
    /// Bytes at the start of the batch that were sent.
    pub(crate) sent: usize,
}

pub(crate) trait DatagramPort {
    /// Returns how many equal datagrams one send call may carry now.
    fn max_segments(&self, now: Instant) -> usize;

    /// Returns an address in this port's form: IPv4-mapped on a dual-stack socket.
    fn address_for(&self, addr: SocketAddr) -> SocketAddr;

    /// Reads once, up to [`super::RECEIVE_BUFFERS`] batches, and calls `each` with every batch.
    ///
    /// # Errors
    /// `WouldBlock` when nothing has arrived; any other error is transient.
    fn receive(&mut self, each: impl FnMut(Received)) -> io::Result<()>;

    /// Sends one batch: in one call, or datagram by datagram where the system refuses that.
    ///
    /// # Errors
    /// `WouldBlock` when the port's buffer is full; otherwise the system's error for these
    /// datagrams.
    fn send(
        &mut self,
        now: Instant,
        transmit: &Transmit,
        contents: &[u8],
        counters: &WorkerCounters,
    ) -> Result<(), SendError>;

    /// Sends one datagram outside any connection. It is lost if the port is full or the system
    /// refuses it.
    fn answer(&self, transmit: &Transmit, contents: &[u8]);
}
