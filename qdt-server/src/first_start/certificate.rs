//! The self-signed certificate of a new server: ECDSA on P-256, ten years, for serverAuth.
//!
//! Clients pin its SPKI. Its names (host name, localhost, addresses of the server) serve only
//! clients that trust the file itself.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType,
};
use zeroize::Zeroizing;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Ten years, leap days included.
const LIFETIME: Duration = Duration::from_secs(3653 * 24 * 3600);

/// The paths of certificate and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM certificate, 0644.
    pub certificate: PathBuf,
    /// PEM private key, 0600.
    pub key: PathBuf,
}

/// No certificate could be generated.
#[derive(Debug, thiserror::Error)]
#[error("cannot be made: {0}")]
pub struct SelfSignedError(#[from] rcgen::Error);

/// A certificate and its key.
pub struct SelfSigned {
    /// The certificate in PEM.
    pub certificate_pem: String,
    /// The private key in PEM, PKCS#8; wiped from memory when dropped.
    pub key_pem: Zeroizing<String>,
}

impl fmt::Debug for SelfSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelfSigned").finish_non_exhaustive()
    }
}

/// Generates a certificate for this host, `addresses` and localhost.
///
/// # Errors
/// [`SelfSignedError`] if the system gives no random bytes.
pub fn self_signed(addresses: &[IpAddr]) -> Result<SelfSigned, SelfSignedError> {
    let mut names = vec!["localhost".to_owned()];
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let host_is_name = !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    if host_is_name && host != "localhost" {
        names.push(host);
    }
    let mut params = CertificateParams::new(names)?;
    let loopback = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ];
    let addresses: BTreeSet<_> = loopback.iter().chain(addresses).copied().collect();
    params
        .subject_alt_names
        .extend(addresses.into_iter().map(SanType::IpAddress));
    params
        .distinguished_name
        .push(DnType::CommonName, "qdt-server");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // For clients whose clock is behind.
    let now = SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now + LIFETIME).into();
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(SelfSigned {
        certificate_pem: certificate.pem(),
        key_pem: Zeroizing::new(key.serialize_pem()),
    })
}
