//! The key schedule: the keys of both directions from the shared token and both nonces.
//!
//! HKDF-SHA256 (RFC 5869) with the token's bytes as secret, client nonce then server nonce as salt
//! and `qdt-aead-v1` as info gives 72 bytes: client key, server key, client nonce prefix, server
//! nonce prefix. What the client sends is sealed under the client's key.
//!
//! Invariants: nothing of it shows in `Debug`, and it is wiped from memory when dropped.

use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::Nonce;

const INFO: &[u8] = b"qdt-aead-v1";

/// The AEAD key and nonce prefix of one direction of one session.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct DirectionKeys {
    key: [u8; Self::KEY_LEN],
    nonce_prefix: [u8; Self::PREFIX_LEN],
}

impl DirectionKeys {
    /// Length of the AEAD key in bytes, the same for both AEADs.
    pub const KEY_LEN: usize = 32;
    /// Length of the fixed first part of every AEAD nonce in bytes; the counter is the rest.
    pub const PREFIX_LEN: usize = 4;

    /// Combines a given key and prefix; [`SessionKeys::derive`] is the usual way.
    #[must_use]
    pub const fn new(key: [u8; Self::KEY_LEN], nonce_prefix: [u8; Self::PREFIX_LEN]) -> Self {
        Self { key, nonce_prefix }
    }

    /// Returns the AEAD key. A secret: never log it.
    #[must_use]
    pub const fn key(&self) -> &[u8; Self::KEY_LEN] {
        &self.key
    }

    /// Returns the first four bytes of every nonce of this direction.
    #[must_use]
    pub const fn nonce_prefix(&self) -> &[u8; Self::PREFIX_LEN] {
        &self.nonce_prefix
    }
}

impl fmt::Debug for DirectionKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DirectionKeys([redacted])")
    }
}

/// The token is empty: there is no secret to derive keys from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the token is empty, set one at both ends")]
pub struct EmptyToken;

/// The keys of one session, both directions.
#[derive(Debug, Clone)]
pub struct SessionKeys {
    /// Client to server.
    pub client: DirectionKeys,
    /// Server to client.
    pub server: DirectionKeys,
}

impl SessionKeys {
    /// Derives the keys. `token` is the shared secret as bytes, of any length but 0.
    ///
    /// # Errors
    /// [`EmptyToken`]: keys that follow from no secret would protect nothing.
    pub fn derive(
        token: &[u8],
        client_nonce: &Nonce,
        server_nonce: &Nonce,
    ) -> Result<Self, EmptyToken> {
        const KEY: usize = DirectionKeys::KEY_LEN;
        const PREFIX: usize = DirectionKeys::PREFIX_LEN;
        if token.is_empty() {
            return Err(EmptyToken);
        }
        let salt = [*client_nonce.as_bytes(), *server_nonce.as_bytes()].concat();
        let mut output = Zeroizing::new([0; 2 * (KEY + PREFIX)]);
        Hkdf::<Sha256>::new(Some(&salt), token)
            .expand(INFO, output.as_mut_slice())
            .expect("72 bytes are fewer than 255 blocks, the limit of HKDF-Expand");
        let mut keys = Self {
            client: DirectionKeys::new([0; KEY], [0; PREFIX]),
            server: DirectionKeys::new([0; KEY], [0; PREFIX]),
        };
        let (keys_part, prefixes) = output.split_at(2 * KEY);
        keys.client.key.copy_from_slice(&keys_part[..KEY]);
        keys.server.key.copy_from_slice(&keys_part[KEY..]);
        keys.client
            .nonce_prefix
            .copy_from_slice(&prefixes[..PREFIX]);
        keys.server
            .nonce_prefix
            .copy_from_slice(&prefixes[PREFIX..]);
        Ok(keys)
    }
}
