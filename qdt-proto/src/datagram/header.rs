//! The clear header of a datagram: `QDT`, version 1, type, flags, session id, counter, integers
//! big-endian.
//!
//! Invariants: reading it needs no key and believes nothing; every byte of it is authenticated
//! together with the ciphertext.

use std::fmt;

use thiserror::Error;

use super::{HEADER_LEN, OVERHEAD};

const MAGIC: &[u8; 3] = b"QDT";
const VERSION: u8 = 1;

/// The number by which both ends know a session. The server chooses it at random.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What a datagram carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MessageType {
    /// A whole inner packet.
    Data = 0,
    /// A part of an inner packet, behind a fragment header.
    Fragment = 1,
    /// A liveness probe; Go peers accept and ignore it.
    Ping = 2,
    /// The answer to a ping; Go peers accept and ignore it.
    Pong = 3,
    /// The reason why the peer closes the session; only where negotiated, because it ends a Go
    /// client.
    Close = 4,
}

impl MessageType {
    /// Returns the type with this number on the wire, if there is one.
    #[must_use]
    pub const fn from_wire(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Data),
            1 => Some(Self::Fragment),
            2 => Some(Self::Ping),
            3 => Some(Self::Pong),
            4 => Some(Self::Close),
            _ => None,
        }
    }
}

/// A header as read, not authenticated yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The number of the message type; see [`MessageType::from_wire`].
    pub kind: u8,
    /// Reserved bits: sent as 0, accepted as anything.
    pub flags: u8,
    /// The session that the datagram claims to belong to.
    pub session: SessionId,
    /// The sender's counter, the variable part of the AEAD nonce.
    pub counter: u64,
}

/// The reason why bytes are not a datagram of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// Header and tag alone need more bytes.
    #[error("a datagram of {0} bytes is shorter than header and tag")]
    TooShort(usize),
    /// It does not begin with `QDT`.
    #[error("the datagram does not begin with the QDT magic")]
    Magic,
    /// It is of another version of the protocol.
    #[error("datagram version {0} is not supported")]
    Version(u8),
}

impl Header {
    /// Reads the header of a complete datagram, tag included.
    ///
    /// # Errors
    /// [`HeaderError`] in the order of its variants.
    pub fn parse(datagram: &[u8]) -> Result<Self, HeaderError> {
        if datagram.len() < OVERHEAD {
            return Err(HeaderError::TooShort(datagram.len()));
        }
        let (magic, rest) = datagram.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(HeaderError::Magic);
        }
        if rest[0] != VERSION {
            return Err(HeaderError::Version(rest[0]));
        }
        let number = |at: usize| {
            u64::from_be_bytes(
                rest[at..at + 8]
                    .try_into()
                    .expect("the slice has eight bytes"),
            )
        };
        Ok(Self {
            kind: rest[1],
            flags: rest[2],
            session: SessionId(number(3)),
            counter: number(11),
        })
    }

    /// Returns the header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..3].copy_from_slice(MAGIC);
        bytes[3] = VERSION;
        bytes[4] = self.kind;
        bytes[5] = self.flags;
        bytes[6..14].copy_from_slice(&self.session.0.to_be_bytes());
        bytes[14..].copy_from_slice(&self.counter.to_be_bytes());
        bytes
    }
}
