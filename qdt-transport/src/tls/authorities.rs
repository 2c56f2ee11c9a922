//! The check of a server's certificate against authorities: chain, name, dates and purpose.
//!
//! Invariants: a certificate that is itself trusted needs no authority above it and may be one
//! (CA:TRUE, as `openssl req -x509` makes it); its name, dates and purpose are checked as well.

use std::sync::Arc;

use rustls::client::danger::{ServerCertVerified, ServerCertVerifier as _};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, VerifierBuilderError};
use rustls::{CertificateError, Error, RootCertStore};
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;

/// The SHA-256 of a certificate.
type Fingerprint = [u8; 32];

/// A verifier that accepts the trusted certificates and those that they issued.
#[derive(Debug)]
pub(super) struct Authorities {
    chain: Arc<WebPkiServerVerifier>,
    trusted: Vec<Fingerprint>,
}

impl Authorities {
    /// Trusts the parsable ones of `certificates`.
    ///
    /// # Errors
    /// None of them is parsable.
    pub(super) fn new(
        certificates: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let trusted = certificates.iter().map(fingerprint).collect();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates);
        let chain =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        Ok(Self { chain, trusted })
    }

    /// Checks the certificate of a server called `name` at `now`.
    pub(super) fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.trusted.contains(&fingerprint(end_entity)) {
            return verify_trusted(end_entity, name, now);
        }
        self.chain
            .verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
    }
}

fn fingerprint(certificate: &CertificateDer<'_>) -> Fingerprint {
    Sha256::digest(certificate).into()
}

/// Checks name, dates and purpose of a certificate that is itself trusted.
fn verify_trusted(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, Error> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|_| CertificateError::BadEncoding)?;
    check_dates(&parsed, now)?;
    let purpose = parsed
        .extended_key_usage()
        .map_err(|_| CertificateError::BadEncoding)?;
    if purpose.is_some_and(|usage| !usage.value.any && !usage.value.server_auth) {
        return Err(CertificateError::InvalidPurpose.into());
    }
    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
    Ok(ServerCertVerified::assertion())
}

fn check_dates(certificate: &X509Certificate<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let moment = |seconds: i64| {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(
            seconds.try_into().unwrap_or(0),
        ))
    };
    let validity = certificate.validity();
    let not_before = moment(validity.not_before.timestamp());
    let not_after = moment(validity.not_after.timestamp());
    if now < not_before {
        return Err(CertificateError::NotValidYetContext {
            time: now,
            not_before,
        });
    }
    if now > not_after {
        return Err(CertificateError::ExpiredContext {
            time: now,
            not_after,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair};

    use super::super::provider;
    use super::super::refusal::{NEW_CERTIFICATE_OR_PIN, with_remedy};
    use super::*;

    /// Returns a self-signed certificate for `vpn.example.org`, 2024 to 2034.
    fn made(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["vpn.example.org".into()]).expect("names");
        params.not_before = rcgen::date_time_ymd(2024, 1, 1);
        params.not_after = rcgen::date_time_ymd(2034, 1, 1);
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").into()
    }

    fn authority(params: &mut CertificateParams) {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }

    /// Checks `shown` by the name `name` in 2026, with `trusted` as the only trusted certificate.
    fn check(
        trusted: &CertificateDer<'static>,
        shown: &CertificateDer<'static>,
        name: &str,
    ) -> Result<(), String> {
        let authorities =
            Authorities::new(vec![trusted.clone()], provider()).expect("a certificate");
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_780_000_000));
        authorities
            .check(shown, &[], &name, &[], now)
            .map(|_| ())
            .map_err(|error| with_remedy(error, NEW_CERTIFICATE_OR_PIN).to_string())
    }

    #[test]
    fn a_trusted_certificate_is_accepted_even_if_it_is_an_authority() {
        for certificate in [made(|_| {}), made(authority)] {
            assert_eq!(check(&certificate, &certificate, "vpn.example.org"), Ok(()));
        }
    }

    #[test]
    fn name_dates_and_purpose_of_a_trusted_certificate_are_checked() {
        let refused = |certificate: &CertificateDer<'static>, name| {
            check(certificate, certificate, name).expect_err("refused")
        };
        let error = refused(&made(authority), "other.example.org");
        assert!(error.contains("is not for other.example.org"), "{error}");
        let expired = made(|params| {
            authority(params);
            params.not_after = rcgen::date_time_ymd(2025, 1, 1);
        });
        let error = refused(&expired, "vpn.example.org");
        assert!(error.contains("expired on Wed, 01 Jan 2025"), "{error}");
        let early = made(|params| {
            authority(params);
            params.not_before = rcgen::date_time_ymd(2033, 1, 1);
        });
        let error = refused(&early, "vpn.example.org");
        assert!(
            error.contains("is not valid before Sat, 01 Jan 2033"),
            "{error}"
        );
        let purpose = made(|params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        });
        let error = refused(&purpose, "vpn.example.org");
        assert!(error.contains("is not made for a server"), "{error}");
    }

    #[test]
    fn a_certificate_of_another_authority_is_refused_with_a_remedy() {
        let error = check(&made(authority), &made(authority), "vpn.example.org");
        let error = error.expect_err("refused");
        assert!(error.contains("CA:TRUE"), "{error}");
        assert!(error.contains("server_pin"), "{error}");
        let error = check(&made(authority), &made(|_| {}), "vpn.example.org");
        let error = error.expect_err("refused");
        assert!(error.contains("ca_file"), "{error}");
    }
}
