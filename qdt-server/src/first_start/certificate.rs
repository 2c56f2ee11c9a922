//! The self-signed certificate of a server that has none.
//!
//! ECDSA on P-256, ten years, for serverAuth. Clients know it by its SPKI pin; the names in it (the
//! host's name, localhost, the addresses the server is reached at) only help those that trust the
//! file itself.

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

/// Where certificate and key are, or shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM certificate, 0644.
    pub certificate: PathBuf,
    /// PEM private key, 0600.
    pub key: PathBuf,
}

/// No certificate could be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot be made: {0}")]
pub struct SelfSignedError(#[from] rcgen::Error);

/// A new certificate and its key.
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

/// Makes a certificate for this host, reachable at `addresses` and at localhost.
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
    // A client whose clock is behind shall not find the certificate in its future.
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
