//! A server's TLS configuration for QUIC, from its PEM files.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quinn_proto::crypto::rustls::QuicServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::pin::SpkiPin;
use super::refusal::{self, NEW_CERTIFICATE};
use super::{ALPN_H3, ServerSecrets, provider};

/// Why a certificate or key is unusable. Each text names the file.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file cannot be read.
    #[error("{what} {path}: cannot read it: {source}", path = path.display())]
    Unreadable {
        /// The configuration key that names the file.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file holds no PEM item of the right kind.
    #[error("{what} {path}: {problem}", path = path.display())]
    Malformed {
        /// The configuration key that names the file.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is missing or broken.
        problem: String,
    },
    /// Certificate and key do not belong together.
    #[error(
        "tls_cert {certificate} and tls_key {key} belong to different keys: give the two that were made together, \
         or move both away to have them made anew",
        certificate = certificate.display(),
        key = key.display()
    )]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The key's kind is not supported.
    #[error(
        "tls_key {key}: cannot be used: {problem}; give an ECDSA, Ed25519 or RSA key, or {NEW_CERTIFICATE}",
        key = .key.display()
    )]
    Key {
        /// The key's file.
        key: PathBuf,
        /// The TLS library's error.
        problem: rustls::Error,
    },
}

/// A server's TLS configuration and the secrets derived from its key.
#[derive(Clone)]
pub struct ServerTls {
    quic: Arc<QuicServerConfig>,
    secrets: ServerSecrets,
    pin: String,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls(..)")
    }
}

impl ServerTls {
    /// Loads a certificate chain and its key (PKCS#1, SEC1 or PKCS#8) from PEM files.
    ///
    /// # Errors
    /// A file is unreadable or lacks the item, or the two do not match.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, CertificateError> {
        let read = |what, path: &Path| {
            fs::read(path).map_err(|source| CertificateError::Unreadable {
                what,
                path: path.into(),
                source,
            })
        };
        let malformed = |what, path: &Path, problem: String| CertificateError::Malformed {
            what,
            path: path.into(),
            problem,
        };
        let certificate_pem = read("tls_cert", certificate)?;
        let key_pem = Zeroizing::new(read("tls_key", key)?);
        let chain = CertificateDer::pem_slice_iter(&certificate_pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| {
                malformed(
                    "tls_cert",
                    certificate,
                    format!("not a PEM certificate: {error}"),
                )
            })?;
        if chain.is_empty() {
            let problem =
                "holds no CERTIFICATE block; give the PEM file with the certificate chain";
            return Err(malformed("tls_cert", certificate, problem.into()));
        }
        let key_der = PrivateKeyDer::from_pem_slice(&key_pem).map_err(|_| {
            let problem = "holds no private key in PEM (PKCS#8, PKCS#1 or SEC1, unencrypted)";
            malformed("tls_key", key, problem.into())
        })?;
        Self::new(chain, key_der).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => CertificateError::Mismatch {
                certificate: certificate.into(),
                key: key.into(),
            },
            rustls::Error::InvalidCertificate(problem) => {
                let what = refusal::problem_text(&problem, NEW_CERTIFICATE);
                malformed("tls_cert", certificate, what)
            }
            problem => CertificateError::Key {
                key: key.into(),
                problem,
            },
        })
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, rustls::Error> {
        let secrets = ServerSecrets::derive(key.secret_der());
        let pin =
            SpkiPin::of_certificate(&chain[0]).map_or_else(String::new, |pin| pin.to_string());
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![ALPN_H3.to_vec()];
        // Sessions resume by their own ticket; TLS tickets would only lengthen handshakes.
        config.send_tls13_tickets = 0;
        let quic = QuicServerConfig::try_from(config)
            .expect("the provider has TLS13_AES_128_GCM_SHA256, which protects Initial packets");
        Ok(Self {
            quic: Arc::new(quic),
            secrets,
            pin,
        })
    }

    /// Returns the secrets derived from the private key.
    #[must_use]
    pub fn secrets(&self) -> &ServerSecrets {
        &self.secrets
    }

    /// Returns the certificate's pin in the form of `server_pin`; empty if it has none.
    #[must_use]
    pub fn pin(&self) -> &str {
        &self.pin
    }

    /// Returns the certificate of `newer` with the secrets of this configuration.
    pub(crate) fn with_certificate_of(&self, newer: Self) -> Self {
        Self {
            secrets: self.secrets.clone(),
            ..newer
        }
    }

    pub(crate) fn quic(&self) -> Arc<QuicServerConfig> {
        self.quic.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
        let path = dir.join(name);
        fs::write(&path, text).expect("write");
        path
    }

    #[test]
    fn a_certificate_and_its_key_load_and_have_a_pin() {
        let dir = tempfile::tempdir().expect("tempdir");
        let pair =
            rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("certificate");
        let certificate = write(dir.path(), "cert.pem", &pair.cert.pem());
        let key = write(dir.path(), "key.pem", &pair.signing_key.serialize_pem());
        let tls = ServerTls::load(&certificate, &key).expect("load");
        assert!(tls.pin().starts_with("sha256/"), "{}", tls.pin());
        assert_eq!(tls.pin().len(), "sha256/".len() + 44);
    }

    #[test]
    fn every_refusal_names_the_file_and_a_remedy() {
        let dir = tempfile::tempdir().expect("tempdir");
        let pair =
            rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("certificate");
        let other =
            rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("certificate");
        let certificate = write(dir.path(), "cert.pem", &pair.cert.pem());
        let key = write(dir.path(), "key.pem", &pair.signing_key.serialize_pem());
        let other_key = write(dir.path(), "other.pem", &other.signing_key.serialize_pem());
        let empty = write(dir.path(), "empty.pem", "nothing here\n");
        let missing = dir.path().join("missing.pem");
        let text = |certificate: &Path, key: &Path| {
            ServerTls::load(certificate, key)
                .expect_err("refused")
                .to_string()
        };
        assert!(
            text(&missing, &key)
                .starts_with(&format!("tls_cert {}: cannot read it", missing.display()))
        );
        assert!(text(&empty, &key).contains("holds no CERTIFICATE block"));
        assert!(text(&certificate, &empty).contains("holds no private key"));
        let mismatch = text(&certificate, &other_key);
        assert!(mismatch.contains("cert.pem and tls_key"), "{mismatch}");
        assert!(mismatch.contains("different keys"), "{mismatch}");
        assert!(!mismatch.contains("KeyMismatch"), "{mismatch}");
    }
}
