//! A client's trust settings.

use std::path::PathBuf;

use super::SpkiPin;

/// The rule by which a client accepts a server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientTrust {
    /// The system's roots, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    System,
    /// Only the certificates of one PEM file.
    CaFile(PathBuf),
    /// The public key. Name, dates and chain do not count.
    Pin(SpkiPin),
    /// Any certificate, without protection against an active attacker.
    Anyone,
}
