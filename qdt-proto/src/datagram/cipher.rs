//! The AEAD of one direction: key, nonce prefix and the construction of a nonce from a counter.
//!
//! Invariants: the nonce is the four bytes of the prefix and the counter, big-endian, so
//! it is unique while the counter is, which [`Sealer`](super::Sealer) ensures.

use std::fmt;

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;

use super::{HEADER_LEN, TAG_LEN};
use crate::handshake::DirectionKeys;

/// The AEADs that seal datagrams; both take a key of 32 bytes and a nonce of 12.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Aead {
    /// ChaCha20-Poly1305 (RFC 8439), which every peer speaks.
    #[default]
    ChaCha20Poly1305,
    /// AES-256-GCM (NIST SP 800-38D), where both ends announced it.
    Aes256Gcm,
}

pub(super) struct Cipher {
    key: LessSafeKey,
    nonce_prefix: [u8; DirectionKeys::PREFIX_LEN],
}

impl Cipher {
    pub(super) fn new(aead: Aead, keys: &DirectionKeys) -> Self {
        let algorithm = match aead {
            Aead::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
            Aead::Aes256Gcm => &aead::AES_256_GCM,
        };
        let key =
            UnboundKey::new(algorithm, keys.key()).expect("both AEADs take a key of 32 bytes");
        Self {
            key: LessSafeKey::new(key),
            nonce_prefix: *keys.nonce_prefix(),
        }
    }

    fn nonce(&self, counter: u64) -> Nonce {
        let mut nonce = [0; aead::NONCE_LEN];
        nonce[..DirectionKeys::PREFIX_LEN].copy_from_slice(&self.nonce_prefix);
        nonce[DirectionKeys::PREFIX_LEN..].copy_from_slice(&counter.to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    }

    /// Seals `plaintext` into `out`, which is exactly as long as plaintext and tag.
    pub(super) fn seal(
        &self,
        counter: u64,
        header: &[u8; HEADER_LEN],
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<(), Unspecified> {
        let (ciphertext, tag) = out.split_at_mut(plaintext.len());
        self.key.seal_out_of_place_scatter(
            self.nonce(counter),
            Aad::from(header),
            plaintext,
            ciphertext,
            &[],
            tag,
        )
    }

    /// Seals the plaintext in `out` in place; the last bytes of `out` are reserved for the tag.
    pub(super) fn seal_in_place(
        &self,
        counter: u64,
        header: &[u8; HEADER_LEN],
        out: &mut [u8],
    ) -> Result<(), Unspecified> {
        let (text, room) = out.split_at_mut(out.len() - TAG_LEN);
        let tag =
            self.key
                .seal_in_place_separate_tag(self.nonce(counter), Aad::from(header), text)?;
        room.copy_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens a ciphertext with its tag into `out`, which is exactly as long as the plaintext.
    /// After an error the contents of `out` are meaningless.
    pub(super) fn open(
        &self,
        counter: u64,
        header: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<(), Unspecified> {
        let (ciphertext, tag) = sealed.split_at(out.len());
        self.key
            .open_separate_gather(self.nonce(counter), Aad::from(header), ciphertext, tag, out)
    }
}

impl fmt::Debug for Cipher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Cipher([redacted])")
    }
}
