//! Whom a client trusts: a pinned public key, or nobody in particular.
//!
//! Both verifiers check the handshake's signature against the key in the certificate; what they leave out is
//! the name, the dates and the chain. The pinned one replaces them by something stronger, the other one by
//! nothing, which is what `insecure: true` says.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use subtle::ConstantTimeEq;

use super::refusal::in_our_words;
use super::server::spki_pin;

/// What makes a server's certificate acceptable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientTrust {
    /// The system's roots, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
    System,
    /// The certificates of one PEM file, and no others.
    CaFile(PathBuf),
    /// The public key itself: `sha256/` and base64 of its SHA-256. Name, dates and chain do not matter.
    Pin(String),
    /// Any certificate: no protection against an active attacker.
    Anyone,
}

/// Accepts certificates by their key, or all of them.
#[derive(Debug)]
pub(super) struct KeyVerifier {
    pin: Option<String>,
    provider: Arc<CryptoProvider>,
}

impl KeyVerifier {
    /// Accepts the key that `pin` names, or every key for `None`.
    pub(super) fn new(pin: Option<String>, provider: Arc<CryptoProvider>) -> Self {
        Self { pin, provider }
    }
}

impl ServerCertVerifier for KeyVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(pin) = &self.pin else {
            return Ok(ServerCertVerified::assertion());
        };
        let found = spki_pin(end_entity).ok_or_else(|| {
            Error::General("the server's certificate is not an X.509 certificate".into())
        })?;
        if bool::from(found.as_bytes().ct_eq(pin.as_bytes())) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::General(format!(
                "the server's key is {found}, server_pin says {pin}: either its certificate was replaced \
                 (then update server_pin) or this is not your server"
            )))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
        .map_err(in_our_words)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
        .map_err(in_our_words)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
