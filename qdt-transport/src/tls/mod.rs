//! TLS 1.3 for QUIC: the server's certificate and the secrets derived from its key, and the
//! client's trust.
//!
//! Both sides speak ALPN `h3`, prefer AES-128-GCM (the cheaper of two layers; the inner one is the
//! session's own) and offer the X25519MLKEM768 key exchange first. Private keys leave this module
//! only as the secrets that HKDF derives from them.

mod authorities;
mod client;
mod pin;
mod refusal;
mod secrets;
mod server;
mod trust;
mod verifier;

pub use client::{ClientTls, TrustError};
pub use pin::{PinError, SpkiPin};
pub(crate) use secrets::ResetKey;
pub use secrets::ServerSecrets;
pub use server::{CertificateError, ServerTls};
pub use trust::ClientTrust;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};

/// The application protocol of HTTP/3 (RFC 9114 section 3.1).
const ALPN_H3: &[u8] = b"h3";

/// Returns aws-lc-rs with the cheapest cipher first. Its key exchanges begin with X25519MLKEM768.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    Arc::new(provider)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::NamedGroup;

    #[test]
    fn the_post_quantum_key_exchange_is_offered_first() {
        assert_eq!(provider().kx_groups[0].name(), NamedGroup::X25519MLKEM768);
    }
}
