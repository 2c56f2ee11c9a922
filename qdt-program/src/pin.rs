//! The pin of a server's key, written `sha256/` and the base64 of the SHA-256 of its
//! SubjectPublicKeyInfo (RFC 7469 section 2.4 has the same fingerprint).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

/// SHA-256 of a certificate's SubjectPublicKeyInfo in DER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpkiPin([u8; 32]);

/// The text is no pin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a pin; it must be sha256/ and 44 characters of base64, as the client.yaml of the server's first start has it"
)]
pub struct PinError;

impl SpkiPin {
    /// The pin of a key with this fingerprint.
    pub const fn new(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }

    /// The fingerprint.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for SpkiPin {
    type Err = PinError;

    /// Padding may be left out.
    fn from_str(text: &str) -> Result<Self, PinError> {
        let base64 = text.strip_prefix("sha256/").ok_or(PinError)?;
        let bytes = STANDARD_NO_PAD
            .decode(base64.trim_end_matches('='))
            .map_err(|_| PinError)?;
        bytes.try_into().map(Self).map_err(|_| PinError)
    }
}

impl fmt::Display for SpkiPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256/{}", STANDARD.encode(self.0))
    }
}
