//! A client's TLS configuration for QUIC, from its trust settings.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quinn_proto::crypto::rustls::QuicClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::authorities::Authorities;
use super::verifier::{Accepts, ServerVerifier};
use super::{ALPN_H3, ClientTrust, provider};

/// Why a client's trust settings are unusable.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read.
    #[error("ca_file {path}: cannot read it: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file holds no certificate.
    #[error("ca_file {path}: holds no usable CERTIFICATE block; give the PEM file of the authority", path = .0.display())]
    NoCertificates(PathBuf),
    /// The system has no roots.
    #[error(
        "no trusted root certificates on this system: install ca-certificates, or set server_pin or ca_file"
    )]
    NoRoots,
}

/// A client's TLS configuration.
#[derive(Clone)]
pub struct ClientTls {
    quic: Arc<QuicClientConfig>,
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientTls(..)")
    }
}

impl ClientTls {
    /// Returns a configuration that accepts certificates according to `trust`.
    ///
    /// # Errors
    /// The file is unreadable or without certificates, or the system has no roots.
    pub fn new(trust: &ClientTrust) -> Result<Self, TrustError> {
        let provider = provider();
        let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider supports TLS 1.3");
        let by_authority = |certificates, none: TrustError| {
            let authorities = Authorities::new(certificates, provider.clone());
            authorities.map(Accepts::Authorities).map_err(|_| none)
        };
        let accepts = match trust {
            ClientTrust::System => {
                let system = rustls_native_certs::load_native_certs().certs;
                by_authority(system, TrustError::NoRoots)?
            }
            ClientTrust::CaFile(path) => by_authority(
                certificates_of(path)?,
                TrustError::NoCertificates(path.clone()),
            )?,
            ClientTrust::Pin(pin) => Accepts::Pin(*pin),
            ClientTrust::Anyone => Accepts::Anything,
        };
        let mut config = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ServerVerifier::new(accepts, provider)))
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN_H3.to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        let quic = QuicClientConfig::try_from(config)
            .expect("the provider has TLS13_AES_128_GCM_SHA256, which protects Initial packets");
        Ok(Self {
            quic: Arc::new(quic),
        })
    }

    pub(crate) fn quic(&self) -> Arc<QuicClientConfig> {
        self.quic.clone()
    }
}

/// Returns the certificates in a PEM file, and ignores its other contents.
fn certificates_of(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let pem = std::fs::read(path).map_err(|source| TrustError::Unreadable {
        path: path.into(),
        source,
    })?;
    Ok(CertificateDer::pem_slice_iter(&pem)
        .filter_map(Result::ok)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_without_certificates_is_named() {
        let file = tempfile::NamedTempFile::new().expect("file");
        let error = ClientTls::new(&ClientTrust::CaFile(file.path().into())).expect_err("empty");
        assert!(
            error
                .to_string()
                .contains(&file.path().display().to_string()),
            "{error}"
        );
    }
}
