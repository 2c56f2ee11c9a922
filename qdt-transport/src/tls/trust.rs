//! Whom a client trusts, as its configuration says it.

use std::path::PathBuf;

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
