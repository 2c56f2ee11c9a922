//! The shared secret of a server and its clients.
//!
//! A token is bytes, not text: non-ASCII and even non-UTF-8 tokens are legal. It never shows in
//! `Debug` output, it has no `Display`, comparing two takes the same time wherever they differ, and
//! its memory is wiped when it is dropped.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Tokens of sample configurations that must not reach production.
const PLACEHOLDERS: [&[u8]; 2] = [b"YOUR_TOKEN", b"CHANGE_ME"];

/// Below this many bytes a token is worth a loud warning.
const WEAK_BELOW: usize = 16;

/// A secret sequence of bytes.
#[derive(Clone, Default)]
pub struct Token(Zeroizing<Vec<u8>>);

/// The reason why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenProblem {
    /// The token is empty.
    #[error("token is required")]
    Missing,
    /// The placeholder of a sample file.
    #[error(
        "token is still the placeholder of a sample file; put a secret of your own there, for example the output of `openssl rand -base64 32`"
    )]
    Placeholder,
    /// HTTP header values carry no control characters (RFC 9110 section 5.5), so no client could
    /// ever present it.
    #[error(
        "token contains a line break or another control character, which no HTTP header can carry; write it on one line (`token: |` adds a line break)"
    )]
    NotSendable,
    /// A request's header holds only so much, so no client could ever present it.
    #[error(
        "token is {0} bytes long and at most {max} can be presented to a server; use a shorter secret, for example the output of `openssl rand -base64 32`",
        max = Token::MAX_LEN
    )]
    TooLong(usize),
}

impl Token {
    /// The longest token, in bytes: what every client can present to every server whatever its
    /// characters, since some clients' encoding makes four bytes of one.
    pub const MAX_LEN: usize = 7 * 1024;

    /// Creates a token from bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// Returns the secret itself: for comparison, key derivation and the request header only.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns whether the token is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether the token is short enough to be guessed (under 16 bytes).
    pub fn is_weak(&self) -> bool {
        self.0.len() < WEAK_BELOW
    }

    /// Refuses what cannot work (no token, one that no header can carry, one that is too long) and
    /// what must not (a placeholder).
    pub fn check(&self) -> Result<(), TokenProblem> {
        if self.is_empty() {
            return Err(TokenProblem::Missing);
        }
        if PLACEHOLDERS.contains(&self.as_bytes()) {
            return Err(TokenProblem::Placeholder);
        }
        if self
            .0
            .iter()
            .any(|b| (*b < 0x20 && *b != b'\t') || *b == 0x7f)
        {
            return Err(TokenProblem::NotSendable);
        }
        if self.0.len() > Self::MAX_LEN {
            return Err(TokenProblem::TooLong(self.0.len()));
        }
        Ok(())
    }
}

impl PartialEq for Token {
    /// In time that depends on the lengths alone.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() {
            "Token(none)"
        } else {
            "Token(redacted)"
        })
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Token;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a token")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Token, E> {
                Ok(Token::new(bytes))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}
