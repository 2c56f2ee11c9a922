//! The carrier of a session's datagrams: a QUIC connection.
//!
//! A session needs three operations: the longest datagram now, whether there is room, and sending.
//! Code for packets is generic over [`Carrier`]: the kind is chosen once per TUN read, never per
//! packet.
//!
//! Invariant: only this file knows the connection's handle in the engine and the prefix of a
//! session's datagrams.

use bytes::{Bytes, BytesMut};
use qdt_proto::datagram::SealError;
use qdt_proto::http3::{EncodedVarint, datagram_prefix, split_datagram};
use quinn_proto::{Connection, ConnectionHandle, StreamId};

use crate::arena::Arena;
use crate::counters::DropReason;
use crate::engine::{Application, Engine, Link};
use crate::udp::DatagramPort;

/// A carrier that is ready to send the packets of one TUN read.
pub(crate) trait Carrier {
    /// Returns the length of the longest datagram that it accepts now; 0 if none.
    fn datagram_limit(&mut self) -> usize;

    /// Returns whether it accepts `count` datagrams of `len` bytes now.
    fn has_room(&mut self, count: usize, len: usize) -> bool;

    /// Sends the datagram that `seal` writes into a space of `len` bytes and whose length it
    /// returns. If `seal` returns `None`, sends nothing and returns false.
    ///
    /// # Errors
    /// `seal` failed, or the carrier accepts no datagram of this length.
    fn send(
        &mut self,
        len: usize,
        seal: impl FnOnce(&mut [u8]) -> Result<Option<usize>, SealError>,
    ) -> Result<bool, DropReason>;
}

/// The encoding of a session's datagrams in those of a QUIC connection: behind the quarter stream
/// id of its request (RFC 9297 section 2.1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Codec {
    /// The quarter stream id in its shortest form.
    prefix: EncodedVarint,
    stream: u64,
}

impl Codec {
    /// Returns the codec of a session that was requested on `stream`.
    pub(crate) fn new(stream: StreamId) -> Self {
        let stream = stream.into();
        Self {
            prefix: datagram_prefix(stream),
            stream,
        }
    }

    /// Returns the length of the longest datagram that `quic` accepts now.
    pub(crate) fn datagram_limit(&self, quic: &mut Connection) -> usize {
        let largest = quic.datagrams().max_size().unwrap_or(0);
        largest.saturating_sub(self.prefix.as_slice().len())
    }

    /// Returns the session's part of a received datagram.
    ///
    /// # Errors
    /// It is not for this session.
    pub(crate) fn strip<'d>(&self, datagram: &'d [u8]) -> Result<&'d [u8], DropReason> {
        match datagram.strip_prefix(self.prefix.as_slice()) {
            Some(inner) => Ok(inner),
            None => self.strip_longer_form(datagram),
        }
    }

    /// Strips a quarter stream id that the peer encoded in more bytes than necessary, which is
    /// valid (RFC 9000 section 16).
    #[cold]
    fn strip_longer_form<'d>(&self, datagram: &'d [u8]) -> Result<&'d [u8], DropReason> {
        match split_datagram(datagram) {
            Ok((stream, inner)) if stream == self.stream => Ok(inner),
            _ => Err(DropReason::Decode),
        }
    }
}

/// A QUIC connection, ready to send.
pub(crate) struct QuicCarrier<'a> {
    quic: &'a mut Connection,
    codec: &'a Codec,
    arena: &'a mut Arena,
    /// Whether datagrams of an earlier turn wait, and so will these. Each then gets its own memory:
    /// a small datagram that waits long would pin a whole arena.
    backlog: bool,
}

impl<'a> QuicCarrier<'a> {
    /// Returns `quic` ready to send datagrams sealed in `arena`; `backlog` is [`Link::backlog`].
    pub(crate) fn new(
        quic: &'a mut Connection,
        codec: &'a Codec,
        arena: &'a mut Arena,
        backlog: bool,
    ) -> Self {
        Self {
            quic,
            codec,
            arena,
            backlog,
        }
    }

    /// Returns the bytes that `write` wrote into a buffer of `needed` bytes.
    #[inline]
    fn write<E>(
        &mut self,
        needed: usize,
        write: impl FnOnce(&mut [u8]) -> Result<Option<usize>, E>,
    ) -> Result<Option<Bytes>, E> {
        if self.backlog {
            let mut own = BytesMut::zeroed(needed);
            let len = write(&mut own)?;
            return Ok(len.map(|len| own.split_to(len).freeze()));
        }
        let len = write(&mut self.arena.space(needed)[..needed])?;
        Ok(len.map(|len| self.arena.take(len).freeze()))
    }
}

impl Carrier for QuicCarrier<'_> {
    #[inline]
    fn datagram_limit(&mut self) -> usize {
        self.codec.datagram_limit(self.quic)
    }

    #[inline]
    fn has_room(&mut self, count: usize, len: usize) -> bool {
        let each = self.codec.prefix.as_slice().len() + len;
        self.quic.datagrams().send_buffer_space() >= count * each
    }

    #[inline]
    fn send(
        &mut self,
        len: usize,
        seal: impl FnOnce(&mut [u8]) -> Result<Option<usize>, SealError>,
    ) -> Result<bool, DropReason> {
        let prefix = self.codec.prefix.as_slice();
        let written = self.write(prefix.len() + len, |space| {
            let (head, body) = space.split_at_mut(prefix.len());
            head.copy_from_slice(prefix);
            Ok::<_, SealError>(seal(body)?.map(|len| head.len() + len))
        });
        match written {
            Ok(Some(datagram)) => self
                .quic
                .datagrams()
                .send(datagram, false)
                .map(|()| true)
                .map_err(|_| DropReason::DatagramOversize),
            Ok(None) => Ok(false),
            Err(_) => Err(DropReason::DatagramOversize),
        }
    }
}

/// A reference to the carrier of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CarrierRef {
    handle: ConnectionHandle,
    pub(crate) codec: Codec,
}

impl CarrierRef {
    /// Refers to the connection `handle`, on whose `stream` the session was requested.
    pub(crate) fn new(handle: ConnectionHandle, stream: StreamId) -> Self {
        Self {
            handle,
            codec: Codec::new(stream),
        }
    }

    /// Returns the carrier's connection.
    pub(crate) fn link<A: Application, P: DatagramPort>(
        self,
        engine: &mut Engine<A, P>,
    ) -> Option<&mut Link<A::Connection>> {
        engine.link(self.handle)
    }

    /// Marks the connection as changed, so that the engine sends what was queued on it.
    pub(crate) fn touch<A: Application, P: DatagramPort>(self, engine: &mut Engine<A, P>) {
        engine.touch(self.handle);
    }
}

#[cfg(test)]
mod tests {
    use quinn_proto::{Dir, Side};

    use super::*;

    fn on_quarter(quarter: u64) -> Codec {
        Codec::new(StreamId::new(Side::Client, Dir::Bi, quarter))
    }

    /// Returns `value` as a variable-length integer of 1, 2, 4 or 8 bytes.
    fn varint(value: u64, len: usize) -> Vec<u8> {
        let mut bytes = value.to_be_bytes()[8 - len..].to_vec();
        bytes[0] |= (len.trailing_zeros() as u8) << 6;
        bytes
    }

    #[test]
    fn a_quarter_stream_id_is_accepted_in_every_length() {
        for quarter in [0, 1, 62, 63, 64, 16_383, 16_384] {
            let codec = on_quarter(quarter);
            let shortest = codec.prefix.as_slice().to_vec();
            let longer = [2, 4, 8].into_iter().filter(|len| *len > shortest.len());
            for prefix in longer
                .map(|len| varint(quarter, len))
                .chain([shortest.clone()])
            {
                let datagram = [&prefix[..], b"sealed"].concat();
                let inner = codec.strip(&datagram).ok();
                assert_eq!(inner, Some(&b"sealed"[..]), "{quarter} as {prefix:x?}");
            }
        }
    }

    #[test]
    fn the_id_of_another_stream_and_a_truncated_one_are_refused() {
        let codec = on_quarter(1);
        for prefix in [varint(2, 2), varint(0, 4), varint(5, 8), vec![0], vec![2]] {
            let datagram = [&prefix[..], b"sealed"].concat();
            let stripped = codec.strip(&datagram);
            assert_eq!(stripped, Err(DropReason::Decode), "{prefix:x?}");
        }
        for cut in [&[][..], &[0x40], &[0x80, 0, 0], &[0xc0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(codec.strip(cut), Err(DropReason::Decode), "{cut:x?}");
        }
    }
}
