//! Secrets that a server derives from its TLS private key, so that they survive a restart without a
//! file.
//!
//! With the same key a restarted server signs the same stateless resets (RFC 9000 section 10.3) for
//! its predecessor's connections, accepts its address tokens (section 8.1) and opens its resume
//! tickets. HKDF-SHA256 (RFC 5869) with a label each separates the three from each other and from
//! the key.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::{hkdf, hmac};
use hkdf::KeyType;
use quinn_proto::crypto::{CryptoError, HandshakeTokenKey, HmacKey};
use zeroize::Zeroizing;

const SALT: &[u8] = b"qdt server secrets v1";
const STATELESS_RESET: &[u8] = b"stateless reset";
const ADDRESS_TOKEN: &[u8] = b"address token";
const RESUME_TICKET: &[u8] = b"resume ticket";

/// A key of 32 bytes.
struct Key32;

impl KeyType for Key32 {
    fn len(&self) -> usize {
        32
    }
}

/// The derived secrets.
#[derive(Clone)]
pub struct ServerSecrets {
    reset: Arc<hmac::Key>,
    token: Zeroizing<[u8; 32]>,
    ticket: Zeroizing<[u8; 32]>,
}

impl ServerSecrets {
    /// Derives all secrets from the private key's DER bytes.
    pub(super) fn derive(private_key_der: &[u8]) -> Self {
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(private_key_der);
        let expand = |label: &[u8]| {
            let mut out = Zeroizing::new([0; 32]);
            prk.expand(&[label], Key32)
                .and_then(|okm| okm.fill(&mut *out))
                .expect("32 bytes are within HKDF's limit of 8160");
            out
        };
        Self {
            reset: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &*expand(STATELESS_RESET))),
            token: expand(ADDRESS_TOKEN),
            ticket: expand(RESUME_TICKET),
        }
    }

    /// Returns the key of resume tickets.
    #[must_use]
    pub fn ticket_key(&self) -> &[u8; 32] {
        &self.ticket
    }

    /// Returns the key for the stateless resets of one endpoint.
    pub(crate) fn reset_key(&self) -> ResetKey {
        ResetKey(Arc::new(RwLock::new(self.reset.clone())))
    }

    pub(crate) fn token_key(&self) -> Arc<dyn HandshakeTokenKey> {
        Arc::new(hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(&*self.token))
    }
}

/// The key of an endpoint's stateless resets, which may change during its life. Clones change
/// together.
///
/// A connection keeps the reset token that it started with: after a change the endpoint cannot
/// reset older connections, but a later process with the new key can reset the newer ones.
#[derive(Clone)]
pub(crate) struct ResetKey(Arc<RwLock<Arc<hmac::Key>>>);

impl ResetKey {
    /// Signs resets with the key of `secrets` from now on.
    pub(crate) fn change_to(&self, secrets: &ServerSecrets) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = secrets.reset.clone();
    }

    /// Returns the current key. Called when a connection starts or is unknown, never for a packet
    /// of a known one.
    fn current(&self) -> Arc<hmac::Key> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        HmacKey::sign(&*self.current(), data, signature_out);
    }

    fn signature_len(&self) -> usize {
        HmacKey::signature_len(&*self.current())
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        HmacKey::verify(&*self.current(), data, signature)
    }
}

impl fmt::Debug for ServerSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerSecrets(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_key_gives_the_same_secrets_and_another_key_gives_others() {
        let tag = |secrets: &ServerSecrets| {
            let mut out = [0; 32];
            secrets.reset_key().sign(b"connection id", &mut out);
            out
        };
        let (a, again, b) = (
            ServerSecrets::derive(b"key a"),
            ServerSecrets::derive(b"key a"),
            ServerSecrets::derive(b"key b"),
        );
        assert_eq!(tag(&a), tag(&again));
        assert_eq!(a.ticket_key(), again.ticket_key());
        assert_ne!(tag(&a), tag(&b));
        assert_ne!(a.ticket_key(), b.ticket_key());
        assert_ne!(a.ticket_key(), &*a.token);
    }

    #[test]
    fn debug_output_shows_no_secret() {
        assert_eq!(
            format!("{:?}", ServerSecrets::derive(b"key")),
            "ServerSecrets(..)"
        );
    }

    #[test]
    fn clones_of_a_reset_key_change_together() {
        let (a, b) = (
            ServerSecrets::derive(b"key a"),
            ServerSecrets::derive(b"key b"),
        );
        let tag = |key: &ResetKey| {
            let mut out = [0; 32];
            key.sign(b"connection id", &mut out);
            out
        };
        let key = a.reset_key();
        let endpoint = key.clone();
        key.change_to(&b);
        assert_eq!(tag(&endpoint), tag(&b.reset_key()));
        assert_ne!(tag(&endpoint), tag(&a.reset_key()));
    }
}
