//! The packet side of one session: sealing and sending, receiving and opening, independent of the
//! carrier.
//!
//! Invariants: packets are sealed in the order of sending, straight into the carrier's buffer
//! (`header | ciphertext | tag`); a packet that one datagram cannot carry is sent in fragments, and
//! no size ends a session.

use std::time::Instant;

use qdt_proto::datagram::{
    Aead, FRAGMENT_HEADER_LEN, MessageType, OVERHEAD, OpenError, Opened, Opener, Sealer, SessionId,
};
use qdt_proto::handshake::{Capabilities, Capability, DirectionKeys};

use crate::carrier::{Carrier, Codec};
use crate::counters::{DropReason, WorkerCounters};

/// The smallest datagram for fragments: below it a packet would need too many.
const MIN_DATAGRAM: usize = OVERHEAD + FRAGMENT_HEADER_LEN + 256;

/// The negotiated terms of a session.
pub(crate) struct Terms<'a> {
    pub(crate) id: SessionId,
    pub(crate) aead: Aead,
    pub(crate) send: &'a DirectionKeys,
    pub(crate) receive: &'a DirectionKeys,
    pub(crate) caps: Capabilities,
    /// The session's `mtu`: the longest datagram.
    pub(crate) mtu: u16,
    pub(crate) max_reassembly_bytes: usize,
}

pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) caps: Capabilities,
    pub(crate) mtu: u16,
    sealer: Sealer,
    opener: Opener,
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
        }
    }

    /// Returns the length of the longest inner packet in one datagram, with a carrier's limit of
    /// `carrier` bytes.
    pub(crate) fn packet_limit(&self, carrier: usize) -> usize {
        carrier.min(usize::from(self.mtu)).saturating_sub(OVERHEAD)
    }

    /// Seals and sends one inner packet: in one datagram, or in fragments if it exceeds `limit`
    /// (from [`Self::packet_limit`]).
    pub(crate) fn send_packet(
        &mut self,
        carrier: &mut impl Carrier,
        counters: &WorkerCounters,
        packet: &[u8],
        limit: usize,
    ) -> Result<(), DropReason> {
        if packet.len() <= limit {
            return self.send_message(carrier, MessageType::Data, packet);
        }
        self.send_fragments(carrier, counters, packet, limit + OVERHEAD)
    }

    /// Seals and sends one message in one datagram.
    pub(crate) fn send_message(
        &mut self,
        carrier: &mut impl Carrier,
        kind: MessageType,
        plaintext: &[u8],
    ) -> Result<(), DropReason> {
        let needed = OVERHEAD + plaintext.len();
        // Checked before sealing: a sealed datagram is always sent, so that our counters have no
        // gaps.
        if !carrier.has_room(1, needed) {
            return Err(DropReason::QueueFull);
        }
        let sealer = &mut self.sealer;
        carrier.send(needed, |body| sealer.seal(kind, plaintext, body).map(Some))?;
        Ok(())
    }

    #[cold]
    fn send_fragments(
        &mut self,
        carrier: &mut impl Carrier,
        counters: &WorkerCounters,
        packet: &[u8],
        max_datagram: usize,
    ) -> Result<(), DropReason> {
        if max_datagram < MIN_DATAGRAM {
            return Err(DropReason::DatagramOversize);
        }
        let count = packet
            .len()
            .div_ceil(max_datagram - OVERHEAD - FRAGMENT_HEADER_LEN);
        // All or nothing: the other fragments of a dropped one are useless.
        if !carrier.has_room(count, max_datagram + 64) {
            return Err(DropReason::QueueFull);
        }
        let mut fragments = self
            .sealer
            .fragments(packet, max_datagram)
            .map_err(|_| DropReason::DatagramOversize)?;
        while carrier.send(max_datagram, |body| fragments.next_into(body))? {
            counters.fragment_out();
        }
        Ok(())
    }

    /// Returns the session's part of a datagram from its carrier.
    pub(crate) fn strip<'d>(
        &self,
        codec: &Codec,
        datagram: &'d [u8],
    ) -> Result<&'d [u8], DropReason> {
        let inner = codec.strip(datagram)?;
        if inner.len() > usize::from(self.mtu) {
            return Err(DropReason::DecodeOversize);
        }
        Ok(inner)
    }

    /// Returns when [`Self::expire`] is due.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.opener.poll_timeout()
    }

    /// Drops packets whose missing fragments are overdue.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.opener.handle_timeout(now);
    }

    /// Opens a datagram from [`Self::strip`]. Its plaintext goes into `slot`, which is at least as
    /// long as the datagram without its [`OVERHEAD`].
    pub(crate) fn open(
        &mut self,
        now: Instant,
        datagram: &[u8],
        slot: &mut [u8],
    ) -> Result<Opened<'_>, DropReason> {
        let opened = self.opener.open(now, datagram, slot);
        opened.map_err(|error| match error {
            OpenError::Replay => DropReason::Replay,
            _ => DropReason::Decode,
        })
    }
}

#[cfg(test)]
mod tests {
    use qdt_proto::datagram::SealError;
    use qdt_proto::handshake::{Nonce, SessionKeys};
    use quinn_proto::{Dir, Side, StreamId};

    use super::*;

    fn session() -> Session {
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
        })
    }

    /// A carrier that stores the datagrams up to its room.
    struct Memory {
        limit: usize,
        room: usize,
        sent: Vec<Vec<u8>>,
    }

    impl Memory {
        fn with_room(room: usize) -> Self {
            Self {
                limit: 1000,
                room,
                sent: Vec::new(),
            }
        }
    }

    impl Carrier for Memory {
        fn datagram_limit(&mut self) -> usize {
            self.limit
        }

        fn has_room(&mut self, count: usize, len: usize) -> bool {
            count * len <= self.room
        }

        fn send(
            &mut self,
            len: usize,
            seal: impl FnOnce(&mut [u8]) -> Result<Option<usize>, SealError>,
        ) -> Result<bool, DropReason> {
            let mut space = vec![0; len];
            let Some(len) = seal(&mut space).expect("it seals") else {
                return Ok(false);
            };
            space.truncate(len);
            self.room -= len;
            self.sent.push(space);
            Ok(true)
        }
    }

    #[test]
    fn a_packet_longer_than_the_carriers_limit_is_sent_in_fragments() {
        let mut session = session();
        let mut carrier = Memory::with_room(1 << 16);
        let limit = session.packet_limit(carrier.datagram_limit());
        let counters = WorkerCounters::default();
        for (len, datagrams) in [(limit, 1), (limit + 1, 2), (1312, 2)] {
            carrier.sent.clear();
            let sent = session.send_packet(&mut carrier, &counters, &vec![7; len], limit);
            assert_eq!((sent, carrier.sent.len()), (Ok(()), datagrams), "{len}");
            assert!(carrier.sent.iter().all(|sent| sent.len() <= carrier.limit));
        }
    }

    #[test]
    fn a_packet_is_not_sent_in_part_without_room_for_all_of_it() {
        let mut session = session();
        let counters = WorkerCounters::default();
        for (room, len) in [(100, 63), (1500, 1312)] {
            let mut carrier = Memory::with_room(room);
            let limit = session.packet_limit(carrier.datagram_limit());
            let sent = session.send_packet(&mut carrier, &counters, &vec![7; len], limit);
            assert_eq!(sent, Err(DropReason::QueueFull), "{len}");
            assert!(carrier.sent.is_empty(), "{len}");
        }
        let mut carrier = Memory::with_room(100);
        let sent = session.send_packet(&mut carrier, &counters, &[7; 62], 900);
        assert_eq!((sent, carrier.sent.len()), (Ok(()), 1));
    }

    #[test]
    fn a_datagram_longer_than_the_sessions_mtu_is_refused_behind_any_prefix() {
        let session = session();
        let codec = Codec::new(StreamId::new(Side::Client, Dir::Bi, 0));
        for prefix in [
            &[0][..],
            &[0x40, 0],
            &[0x80, 0, 0, 0],
            &[0xc0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            let mut datagram = prefix.to_vec();
            datagram.resize(prefix.len() + 1350, 0x5a);
            let inner = session.strip(&codec, &datagram).map(<[u8]>::len);
            assert_eq!(inner, Ok(1350));
            datagram.push(0x5a);
            let inner = session.strip(&codec, &datagram);
            assert_eq!(inner, Err(DropReason::DecodeOversize));
        }
    }
}
