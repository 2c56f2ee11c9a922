//! The pin of a server's key: `sha256/` and the base64 of the SHA-256 of its SubjectPublicKeyInfo
//! (the fingerprint of RFC 7469 section 2.4).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// SHA-256 of a certificate's SubjectPublicKeyInfo in DER. Displays in the form of `server_pin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpkiPin([u8; 32]);

/// The text is not a pin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a pin; it must be sha256/ and 44 characters of base64, as the client.yaml of the server's first start has it"
)]
pub struct PinError;

impl SpkiPin {
    /// Returns the pin of a certificate's key; `None` if the bytes are not an X.509 certificate.
    pub(super) fn of_certificate(certificate: &[u8]) -> Option<Self> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let digest = Sha256::digest(parsed.tbs_certificate.subject_pki.raw);
        Some(Self(digest.into()))
    }

    /// Compares two pins in constant time.
    pub(super) fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl FromStr for SpkiPin {
    type Err = PinError;

    /// Parses a pin, with or without padding.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_sha256_and_32_bytes_of_base64() {
        let good = format!("sha256/{}", STANDARD.encode([7; 32]));
        assert_eq!(good.parse::<SpkiPin>().expect("a pin").to_string(), good);
        for bad in [
            "",
            "sha256/",
            "sha256/AAAA",
            "sha1/AAAA",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        ] {
            assert_eq!(bad.parse::<SpkiPin>(), Err(PinError), "{bad}");
        }
    }
}
