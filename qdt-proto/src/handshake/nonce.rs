//! The nonces of the handshake and their text form in JSON.
//!
//! Invariants: a [`Nonce`] is exactly 16 bytes; its text is standard Base64 (RFC 4648
//! section 4) without padding. Reading is as lenient as Go's decoder: CR and LF are skipped
//! wherever they stand, and the unused bits of the last character may be anything.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use thiserror::Error;

const TEXT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// Sixteen bytes that one end chose freshly at random for one handshake. Not a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce([u8; Self::LEN]);

/// The reason why a text is not a nonce. The server answers the two cases differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NonceError {
    /// The text is not unpadded standard Base64 (server: 400 `bad nonce`).
    #[error("the nonce is not unpadded standard Base64")]
    Text,
    /// The text is fine but stands for another number of bytes, 0 where the field is missing
    /// (server: 500 `key derivation error`).
    #[error("the nonce is {0} bytes long, it must be {expected}", expected = Nonce::LEN)]
    Length(usize),
}

impl Nonce {
    /// Length of a nonce in bytes; its text has 22 characters.
    pub const LEN: usize = 16;

    /// Wraps bytes that the caller drew from a cryptographic random generator.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Decodes the text form.
    ///
    /// # Errors
    /// [`NonceError::Text`] where the text is not Base64, [`NonceError::Length`] where it
    /// decodes to other than 16 bytes.
    pub fn from_text(text: &str) -> Result<Self, NonceError> {
        let bytes = decode_nonce_text(text)?;
        let length = bytes.len();
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| NonceError::Length(length))
    }

    /// Returns the 22 characters of the text form.
    #[must_use]
    pub fn to_text(&self) -> String {
        TEXT.encode(self.0)
    }

    /// Returns the bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl TryFrom<&[u8]> for Nonce {
    type Error = NonceError;

    /// Fails with [`NonceError::Length`] for other than 16 bytes.
    fn try_from(bytes: &[u8]) -> Result<Self, NonceError> {
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| NonceError::Length(bytes.len()))
    }
}

/// Decodes the text form of a nonce whatever its length, as the first of the two checks.
///
/// # Errors
/// [`NonceError::Text`], and no other.
pub fn decode_nonce_text(text: &str) -> Result<Vec<u8>, NonceError> {
    let characters: Vec<u8> = text
        .bytes()
        .filter(|byte| !matches!(byte, b'\r' | b'\n'))
        .collect();
    TEXT.decode(characters).map_err(|_| NonceError::Text)
}
