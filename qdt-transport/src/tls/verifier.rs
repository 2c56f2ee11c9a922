//! The check of a server's certificate during the handshake.
//!
//! Invariants: the signature of the handshake is checked against the certificate's key, whatever
//! made the certificate acceptable; every refusal has a text of [`super::refusal`].

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

use super::authorities::Authorities;
use super::pin::SpkiPin;
use super::refusal;

/// The rule by which certificates are accepted.
#[derive(Debug)]
pub(super) enum Accepts {
    /// Authorities vouch for key, name and dates.
    Authorities(Authorities),
    /// The key has this pin.
    Pin(SpkiPin),
    /// Every certificate is accepted.
    Anything,
}

/// The verifier of one client configuration.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    accepts: Accepts,
    provider: Arc<CryptoProvider>,
}

impl ServerVerifier {
    pub(super) fn new(accepts: Accepts, provider: Arc<CryptoProvider>) -> Self {
        Self { accepts, provider }
    }

    fn with_remedy(&self, error: Error) -> Error {
        let remedy = match self.accepts {
            Accepts::Authorities(_) => refusal::NEW_CERTIFICATE_OR_PIN,
            // A pin is set already, or nothing is checked.
            Accepts::Pin(_) | Accepts::Anything => refusal::NEW_CERTIFICATE,
        };
        refusal::with_remedy(error, remedy)
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.accepts {
            Accepts::Authorities(authorities) => authorities
                .check(end_entity, intermediates, server_name, ocsp_response, now)
                .map_err(|error| self.with_remedy(error)),
            Accepts::Pin(pin) => check_key(end_entity, pin),
            Accepts::Anything => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
            .map_err(|error| self.with_remedy(error))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
            .map_err(|error| self.with_remedy(error))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn check_key(certificate: &CertificateDer<'_>, pin: &SpkiPin) -> Result<ServerCertVerified, Error> {
    let found = SpkiPin::of_certificate(certificate).ok_or_else(|| {
        Error::General("the server's certificate is not an X.509 certificate".into())
    })?;
    if found.matches(pin) {
        Ok(ServerCertVerified::assertion())
    } else {
        Err(Error::General(format!(
            "the server's key is {found}, server_pin says {pin}: either its certificate was replaced \
             (then update server_pin) or this is not your server"
        )))
    }
}
