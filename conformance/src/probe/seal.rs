//! Sealing and opening with every field of the header in the caller's hand.

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use qdt_proto::handshake::DirectionKeys;

/// Bytes of the datagram header.
const HEADER: usize = 22;

/// Seals datagrams whose header may say anything.
pub struct RawSealer {
    cipher: ChaCha20Poly1305,
    prefix: [u8; 4],
    /// The session id in the header.
    pub session: u64,
    /// The counter of the next datagram.
    pub counter: u64,
    /// The version in the header.
    pub version: u8,
    /// The flags in the header.
    pub flags: u8,
}

impl RawSealer {
    /// A sealer for one direction that begins as a good client does.
    #[must_use]
    pub fn new(keys: &DirectionKeys, session: u64) -> Self {
        Self {
            cipher: ChaCha20Poly1305::new(keys.key().into()),
            prefix: *keys.nonce_prefix(),
            session,
            counter: 0,
            version: 1,
            flags: 0,
        }
    }

    /// Seals one message of type `kind` and moves the counter on.
    ///
    /// # Panics
    /// Never: the AEAD takes every plaintext of a datagram's size.
    pub fn seal(&mut self, kind: u8, plaintext: &[u8]) -> Vec<u8> {
        let mut header = Vec::with_capacity(HEADER + plaintext.len() + 16);
        header.extend_from_slice(b"QDT");
        header.extend_from_slice(&[self.version, kind, self.flags]);
        header.extend_from_slice(&self.session.to_be_bytes());
        header.extend_from_slice(&self.counter.to_be_bytes());
        let sealed = self
            .cipher
            .encrypt(
                &nonce(self.prefix, self.counter),
                Payload {
                    msg: plaintext,
                    aad: &header,
                },
            )
            .expect("a short plaintext is sealed");
        self.counter = self.counter.wrapping_add(1);
        header.extend_from_slice(&sealed);
        header
    }

    /// Seals one fragment as told.
    pub fn fragment(&mut self, id: u32, offset: u32, total: u32, data: &[u8]) -> Vec<u8> {
        let mut plaintext = Vec::with_capacity(12 + data.len());
        for field in [id, offset, total] {
            plaintext.extend_from_slice(&field.to_be_bytes());
        }
        plaintext.extend_from_slice(data);
        self.seal(1, &plaintext)
    }
}

impl std::fmt::Debug for RawSealer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "RawSealer(session {}, counter {})",
            self.session, self.counter
        )
    }
}

/// What a datagram of the server holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawMessage {
    /// The message type.
    pub kind: u8,
    /// The session id of the header.
    pub session: u64,
    /// The counter of the header.
    pub counter: u64,
    /// The plaintext.
    pub plaintext: Vec<u8>,
}

/// Opens what the server sends, without any window.
pub struct RawOpener {
    cipher: ChaCha20Poly1305,
    prefix: [u8; 4],
}

impl RawOpener {
    /// An opener for one direction.
    #[must_use]
    pub fn new(keys: &DirectionKeys) -> Self {
        Self {
            cipher: ChaCha20Poly1305::new(keys.key().into()),
            prefix: *keys.nonce_prefix(),
        }
    }

    /// Opens a datagram; nothing where it is none or is not authentic.
    #[must_use]
    pub fn open(&self, datagram: &[u8]) -> Option<RawMessage> {
        let (header, sealed) = datagram.split_at_checked(HEADER)?;
        let session = u64::from_be_bytes(header[6..14].try_into().ok()?);
        let counter = u64::from_be_bytes(header[14..22].try_into().ok()?);
        let plaintext = self
            .cipher
            .decrypt(
                &nonce(self.prefix, counter),
                Payload {
                    msg: sealed,
                    aad: header,
                },
            )
            .ok()?;
        Some(RawMessage {
            kind: header[4],
            session,
            counter,
            plaintext,
        })
    }
}

impl std::fmt::Debug for RawOpener {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("RawOpener")
    }
}

fn nonce(prefix: [u8; 4], counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&prefix);
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    nonce.into()
}
