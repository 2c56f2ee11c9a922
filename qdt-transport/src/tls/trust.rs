//! Whom a client trusts, as its configuration says it.

use std::path::PathBuf;

use super::SpkiPin;

/// What makes a server's certificate acceptable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientTrust {
    /// The system's roots, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
    System,
    /// The certificates of one PEM file, and no others.
    CaFile(PathBuf),
    /// The public key itself. Name, dates and chain do not matter.
    Pin(SpkiPin),
    /// Any certificate: no protection against an active attacker.
    Anyone,
}
