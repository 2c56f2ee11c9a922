//! The packet side of one session: sealing and sending, receiving and opening, on whichever
//! connection carries it.
//!
//! Sealing happens in sending order, straight from the packet into the buffer that becomes the QUIC
//! datagram: `quarter stream id | header | ciphertext | tag`. A packet that one datagram cannot
//! carry at this moment leaves in fragments; nothing else about the size ever ends a session.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use qdt_proto::datagram::{
    Aead, FRAGMENT_HEADER_LEN, MessageType, OVERHEAD, OpenError, Opened, Opener, SealError, Sealer,
    SessionId,
};
use qdt_proto::handshake::{Capabilities, Capability, DirectionKeys};
use qdt_proto::http3::{EncodedVarint, datagram_prefix, split_datagram};
use quinn_proto::Connection;

use crate::arena::Arena;
use crate::counters::{DropReason, WorkerCounters};

/// The smallest datagram that fragments are cut for: below it a packet would become a swarm.
const MIN_DATAGRAM: usize = OVERHEAD + FRAGMENT_HEADER_LEN + 256;

/// What both sides of a session agreed on.
pub(crate) struct Terms<'a> {
    pub(crate) id: SessionId,
    pub(crate) aead: Aead,
    pub(crate) send: &'a DirectionKeys,
    pub(crate) receive: &'a DirectionKeys,
    pub(crate) caps: Capabilities,
    /// The session's `mtu`: no datagram is longer.
    pub(crate) mtu: u16,
    pub(crate) max_reassembly_bytes: usize,
    /// The stream of the CONNECT exchange.
    pub(crate) stream: u64,
}

/// See the module.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) caps: Capabilities,
    pub(crate) mtu: u16,
    sealer: Sealer,
    opener: Opener,
    /// The quarter stream id as we write it before every datagram (RFC 9297 section 2.1).
    prefix: EncodedVarint,
    /// The stream of the CONNECT exchange, which the quarter stream id names.
    stream: u64,
}

/// Where datagrams are sealed.
pub(crate) struct SealBuffer<'a> {
    pub(crate) arena: &'a mut Arena,
    /// The connection has datagrams waiting from an earlier turn, and so will these. Then each gets
    /// memory of its own: one small datagram that waits for ever would keep a whole arena from
    /// being used again.
    pub(crate) backlog: bool,
}

impl SealBuffer<'_> {
    /// What `seal` writes into a buffer of `needed` bytes, as far as it says.
    fn seal<E>(
        &mut self,
        needed: usize,
        seal: impl FnOnce(&mut [u8]) -> Result<Option<usize>, E>,
    ) -> Result<Option<Bytes>, E> {
        if self.backlog {
            let mut own = BytesMut::zeroed(needed);
            let len = seal(&mut own)?;
            return Ok(len.map(|len| own.split_to(len).freeze()));
        }
        let len = seal(&mut self.arena.space(needed)[..needed])?;
        Ok(len.map(|len| self.arena.take(len).freeze()))
    }
}

/// Something valid that arrived for a session.
pub(crate) enum Arrival<'a> {
    /// An inner packet of this many bytes now stands in the caller's slot.
    InSlot(usize),
    /// An inner packet that came in fragments.
    Whole(&'a [u8]),
    /// Nothing to deliver: a fragment of a packet that is not complete yet.
    Fragment,
    /// A ping of this many bytes in the slot; it wants the same bytes back.
    Ping(usize),
    /// A pong of this many bytes in the slot.
    Pong(usize),
    /// The peer says that it ends the session.
    Close,
}

impl Session {
    pub(crate) fn new(terms: &Terms<'_>) -> Self {
        Self {
            id: terms.id,
            caps: terms.caps,
            mtu: terms.mtu,
            sealer: Sealer::new(terms.aead, terms.send, terms.id),
            opener: Opener::new(
                terms.aead,
                terms.receive,
                terms.id,
                terms.max_reassembly_bytes,
                terms.caps.contains(Capability::Close),
            ),
            prefix: datagram_prefix(terms.stream),
            stream: terms.stream,
        }
    }

    /// The longest inner packet that one datagram on `quic` carries now.
    pub(crate) fn packet_limit(&self, quic: &mut Connection) -> usize {
        self.datagram_limit(quic).saturating_sub(OVERHEAD)
    }

    /// The longest QDT datagram on `quic` now.
    fn datagram_limit(&self, quic: &mut Connection) -> usize {
        let path = quic
            .datagrams()
            .max_size()
            .unwrap_or(0)
            .saturating_sub(self.prefix.as_slice().len());
        path.min(usize::from(self.mtu))
    }

    /// Seals one inner packet and queues it on `quic`: one datagram, or fragments where `limit`
    /// (from [`Self::packet_limit`]) is too small for it.
    pub(crate) fn send_packet(
        &mut self,
        quic: &mut Connection,
        buffer: &mut SealBuffer<'_>,
        counters: &WorkerCounters,
        packet: &[u8],
        limit: usize,
    ) -> Result<(), DropReason> {
        if packet.len() <= limit {
            return self.send_message(quic, buffer, MessageType::Data, packet);
        }
        self.send_fragments(quic, buffer, counters, packet, limit + OVERHEAD)
    }

    /// Seals one message into one datagram and queues it.
    pub(crate) fn send_message(
        &mut self,
        quic: &mut Connection,
        buffer: &mut SealBuffer<'_>,
        kind: MessageType,
        plaintext: &[u8],
    ) -> Result<(), DropReason> {
        let prefix = self.prefix.as_slice();
        let needed = prefix.len() + OVERHEAD + plaintext.len();
        // Asked before sealing: what is sealed is sent, so that counters have no holes of our
        // making.
        if quic.datagrams().send_buffer_space() < needed {
            return Err(DropReason::QueueFull);
        }
        let sealer = &mut self.sealer;
        let datagram = buffer
            .seal(needed, |space| {
                let (head, body) = space.split_at_mut(prefix.len());
                head.copy_from_slice(prefix);
                qdt_proto::mutant!(QuarterStreamId0 => head.fill(0));
                let len = sealer.seal(kind, plaintext, body)?;
                Ok::<_, SealError>(Some(head.len() + len))
            })
            .ok()
            .flatten()
            .ok_or(DropReason::DatagramOversize)?;
        quic.datagrams()
            .send(datagram, false)
            .map_err(|_| DropReason::DatagramOversize)
    }

    #[cold]
    fn send_fragments(
        &mut self,
        quic: &mut Connection,
        buffer: &mut SealBuffer<'_>,
        counters: &WorkerCounters,
        packet: &[u8],
        max_datagram: usize,
    ) -> Result<(), DropReason> {
        let prefix = self.prefix.as_slice();
        if max_datagram < MIN_DATAGRAM {
            return Err(DropReason::DatagramOversize);
        }
        let count = packet
            .len()
            .div_ceil(max_datagram - OVERHEAD - FRAGMENT_HEADER_LEN);
        // All or nothing: a packet of which a part is dropped is a waste of the rest.
        if quic.datagrams().send_buffer_space() < count * (prefix.len() + max_datagram + 64) {
            return Err(DropReason::QueueFull);
        }
        let mut fragments = self
            .sealer
            .fragments(packet, max_datagram)
            .map_err(|_| DropReason::DatagramOversize)?;
        loop {
            let sealed = buffer.seal(prefix.len() + max_datagram, |space| {
                let (head, body) = space.split_at_mut(prefix.len());
                head.copy_from_slice(prefix);
                let len = fragments.next_into(body)?;
                Ok::<_, SealError>(len.map(|len| head.len() + len))
            });
            let Some(datagram) = sealed.map_err(|_| DropReason::DatagramOversize)? else {
                return Ok(());
            };
            quic.datagrams()
                .send(datagram, false)
                .map_err(|_| DropReason::DatagramOversize)?;
            counters.fragment_out();
        }
    }

    /// The part of an HTTP datagram that is this session's, or the reason why it is not.
    pub(crate) fn strip<'d>(&self, datagram: &'d [u8]) -> Result<&'d [u8], DropReason> {
        let inner = match datagram.strip_prefix(self.prefix.as_slice()) {
            Some(inner) => inner,
            None => self.strip_longer_form(datagram)?,
        };
        if inner.len() > usize::from(self.mtu) {
            return Err(DropReason::DecodeOversize);
        }
        Ok(inner)
    }

    /// Strips a quarter stream id that the peer wrote in more bytes than it needs: every length
    /// that holds a value is valid (RFC 9000 section 16).
    #[cold]
    fn strip_longer_form<'d>(&self, datagram: &'d [u8]) -> Result<&'d [u8], DropReason> {
        match split_datagram(datagram) {
            Ok((stream, inner)) if stream == self.stream => Ok(inner),
            _ => Err(DropReason::Decode),
        }
    }

    /// When [`Self::expire`] has something to do.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.opener.poll_timeout()
    }

    /// Forgets packets whose missing fragments have not come in time.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.opener.handle_timeout(now);
    }

    /// Opens a datagram that [`Self::strip`] returned; its plaintext goes into `slot`, which is at
    /// least as long as the datagram without its [`OVERHEAD`].
    pub(crate) fn open(
        &mut self,
        now: Instant,
        datagram: &[u8],
        slot: &mut [u8],
    ) -> Result<Arrival<'_>, DropReason> {
        match self.opener.open(now, datagram, slot) {
            Ok(Opened::Packet(len)) => Ok(Arrival::InSlot(len)),
            Ok(Opened::Reassembled(packet)) => Ok(Arrival::Whole(packet)),
            Ok(Opened::Incomplete) => Ok(Arrival::Fragment),
            Ok(Opened::Ping(len)) => Ok(Arrival::Ping(len)),
            Ok(Opened::Pong(len)) => Ok(Arrival::Pong(len)),
            Ok(Opened::Close(_)) => Ok(Arrival::Close),
            Err(OpenError::Replay) => Err(DropReason::Replay),
            Err(_) => Err(DropReason::Decode),
        }
    }
}

#[cfg(test)]
mod tests {
    use qdt_proto::handshake::{Nonce, SessionKeys};

    use super::*;

    fn on_stream(stream: u64) -> Session {
        let nonce = Nonce::from_bytes([1; 16]);
        let keys = SessionKeys::derive(b"token", &nonce, &nonce).expect("keys");
        Session::new(&Terms {
            id: SessionId(7),
            aead: Aead::ChaCha20Poly1305,
            send: &keys.server,
            receive: &keys.client,
            caps: Capabilities::NONE,
            mtu: 1350,
            max_reassembly_bytes: 65_535,
            stream,
        })
    }

    /// `value` as a variable-length integer of 2, 4 or 8 bytes.
    fn varint(value: u64, len: usize) -> Vec<u8> {
        let mut bytes = value.to_be_bytes()[8 - len..].to_vec();
        bytes[0] |= (len.trailing_zeros() as u8) << 6;
        bytes
    }

    #[test]
    fn a_quarter_stream_id_is_accepted_in_every_form_that_holds_it() {
        for quarter in [0, 1, 62, 63, 64, 16_383, 16_384] {
            let session = on_stream(quarter * 4);
            let shortest = session.prefix.as_slice().to_vec();
            let longer = [2, 4, 8].into_iter().filter(|len| *len > shortest.len());
            for prefix in longer
                .map(|len| varint(quarter, len))
                .chain([shortest.clone()])
            {
                let datagram = [&prefix[..], b"sealed"].concat();
                let inner = session.strip(&datagram).ok();
                assert_eq!(inner, Some(&b"sealed"[..]), "{quarter} as {prefix:x?}");
            }
        }
    }

    #[test]
    fn another_streams_id_is_refused_in_every_form_and_so_is_one_that_is_cut_off() {
        let session = on_stream(4);
        for prefix in [varint(2, 2), varint(0, 4), varint(5, 8), vec![0], vec![2]] {
            let datagram = [&prefix[..], b"sealed"].concat();
            assert_eq!(
                session.strip(&datagram),
                Err(DropReason::Decode),
                "{prefix:x?}"
            );
        }
        for cut in [&[][..], &[0x40], &[0x80, 0, 0], &[0xc0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(session.strip(cut), Err(DropReason::Decode), "{cut:x?}");
        }
    }

    #[test]
    fn what_is_longer_than_the_sessions_mtu_is_refused_behind_a_longer_form_too() {
        let session = on_stream(0);
        for len in [1, 2, 4, 8] {
            let mut datagram = if len == 1 { vec![0] } else { varint(0, len) };
            datagram.resize(len + 1350, 0x5a);
            assert_eq!(session.strip(&datagram).map(<[u8]>::len), Ok(1350));
            datagram.push(0x5a);
            assert_eq!(session.strip(&datagram), Err(DropReason::DecodeOversize));
        }
    }
}
