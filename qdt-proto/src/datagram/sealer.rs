//! The sending end of one direction of one session.
//!
//! Invariants: every datagram gets a counter above all before it, also one whose sealing
//! failed; the last counter there is (2^64-1) is never used, so the counter cannot wrap and no
//! nonce comes twice under one key.

use thiserror::Error;

use super::cipher::Cipher;
use super::fragments::Fragments;
use super::header::{Header, MessageType, SessionId};
use super::{Aead, FRAGMENT_HEADER_LEN, HEADER_LEN, MAX_PACKET, OVERHEAD};
use crate::handshake::DirectionKeys;

/// Seals datagrams in the order in which they are to be sent.
///
/// There must be one sealer only for the keys of a direction: two of them would use the same
/// nonces. That is why it cannot be cloned.
#[derive(Debug)]
pub struct Sealer {
    cipher: Cipher,
    session: SessionId,
    counter: u64,
    fragment_id: u32,
}

/// Why nothing was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SealError {
    /// The session has used up its counters: it must end, and a new handshake bring new keys.
    #[error("the session has used up its datagram counters, it needs a new handshake")]
    CounterExhausted,
    /// The buffer for the datagram is too short.
    #[error("the datagram needs a buffer of {needed} bytes, this one has {available}")]
    OutputTooSmall {
        /// Bytes that the datagram takes.
        needed: usize,
        /// Bytes that the buffer has.
        available: usize,
    },
    /// The packet is longer than [`MAX_PACKET`].
    #[error("a packet of {0} bytes is longer than an IP packet can be")]
    PacketTooLong(usize),
    /// Not even one byte of data fits after the headers of a fragment.
    #[error("a datagram of {0} bytes has no room for a fragment's data")]
    DatagramTooSmall(usize),
    /// The cryptographic library refused.
    #[error("the cryptographic library failed to seal the datagram")]
    Cipher,
}

impl Sealer {
    /// A sealer whose first datagram has counter 0 and whose first fragmented packet has id 1.
    #[must_use]
    pub fn new(aead: Aead, keys: &DirectionKeys, session: SessionId) -> Self {
        Self {
            cipher: Cipher::new(aead, keys),
            session,
            counter: 0,
            fragment_id: 1,
        }
    }

    /// The counter of the next datagram.
    #[must_use]
    pub const fn counter(&self) -> u64 {
        self.counter
    }

    /// Leaves out all counters below `counter`. The counter never goes back: a value below the
    /// present one changes nothing.
    pub fn advance_to(&mut self, counter: u64) {
        self.counter = self.counter.max(counter);
    }

    /// Seals one datagram into the beginning of `out` and says how long it is, which is
    /// [`OVERHEAD`] more than the plaintext. Allocates nothing. For [`MessageType::Fragment`] the
    /// plaintext must have its fragment header; [`fragments`](Self::fragments) does that.
    ///
    /// # Errors
    /// [`SealError::OutputTooSmall`], [`SealError::CounterExhausted`], [`SealError::Cipher`].
    pub fn seal(
        &mut self,
        kind: MessageType,
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, SealError> {
        let (counter, header, body) = self.begin(kind, plaintext.len(), out)?;
        self.cipher
            .seal(counter, &header, plaintext, body)
            .map_err(|_| SealError::Cipher)?;
        Ok(plaintext.len() + OVERHEAD)
    }

    /// Prepares the datagrams, each of `max_datagram` bytes at most, that carry `packet`: one of
    /// type data where it fits, fragments of one id, without gaps and in order, where it does
    /// not. They are sealed one by one, as the result is asked for them.
    ///
    /// # Errors
    /// [`SealError::PacketTooLong`], [`SealError::DatagramTooSmall`], and
    /// [`SealError::CounterExhausted`] where the counters do not suffice for all of them.
    pub fn fragments<'a>(
        &'a mut self,
        packet: &'a [u8],
        max_datagram: usize,
    ) -> Result<Fragments<'a>, SealError> {
        if packet.len() > MAX_PACKET {
            return Err(SealError::PacketTooLong(packet.len()));
        }
        let whole = packet.len() + OVERHEAD <= max_datagram;
        let chunk = max_datagram.saturating_sub(OVERHEAD + FRAGMENT_HEADER_LEN);
        if !whole && chunk == 0 {
            return Err(SealError::DatagramTooSmall(max_datagram));
        }
        let datagrams = if whole {
            1
        } else {
            packet.len().div_ceil(chunk)
        };
        if u64::MAX - self.counter < datagrams as u64 {
            return Err(SealError::CounterExhausted);
        }
        if whole {
            return Ok(Fragments::whole(self, packet));
        }
        let id = self.fragment_id;
        self.fragment_id = self.fragment_id.wrapping_add(1);
        Ok(Fragments::split(self, packet, chunk, id))
    }

    /// Seals one fragment of a packet of `total` bytes.
    pub(super) fn seal_fragment(
        &mut self,
        fragment_header: &[u8; FRAGMENT_HEADER_LEN],
        data: &[u8],
        out: &mut [u8],
    ) -> Result<usize, SealError> {
        let length = FRAGMENT_HEADER_LEN + data.len();
        let (counter, header, body) = self.begin(MessageType::Fragment, length, out)?;
        body[..FRAGMENT_HEADER_LEN].copy_from_slice(fragment_header);
        body[FRAGMENT_HEADER_LEN..length].copy_from_slice(data);
        self.cipher
            .seal_in_place(counter, &header, body)
            .map_err(|_| SealError::Cipher)?;
        Ok(length + OVERHEAD)
    }

    /// Takes a counter, writes the header and gives the room for ciphertext and tag.
    fn begin<'o>(
        &mut self,
        kind: MessageType,
        plaintext_len: usize,
        out: &'o mut [u8],
    ) -> Result<(u64, [u8; HEADER_LEN], &'o mut [u8]), SealError> {
        let available = out.len();
        let needed = plaintext_len + OVERHEAD;
        let datagram = out
            .get_mut(..needed)
            .ok_or(SealError::OutputTooSmall { needed, available })?;
        let counter = self.counter;
        self.counter = counter.checked_add(1).ok_or(SealError::CounterExhausted)?;
        let header = Header {
            kind: kind as u8,
            flags: 0,
            session: self.session,
            counter,
        }
        .encode();
        let (head, body) = datagram.split_at_mut(HEADER_LEN);
        head.copy_from_slice(&header);
        Ok((counter, header, body))
    }
}
