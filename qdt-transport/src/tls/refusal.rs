//! Texts for refused server certificates, each with a remedy.
//!
//! Invariant: no type name of the TLS library reaches a user; an error without a text of its own
//! gets a general one with a remedy that fits every certificate.

use qdt_proto::http3::http_date;
use rustls::pki_types::UnixTime;
use rustls::{CertificateError, Error};

/// The remedy at the server, and at a client with its pin.
pub(super) const NEW_CERTIFICATE: &str = "make a new one with scripts/gen-cert.sh on the server";
/// The remedy at any other client.
pub(super) const NEW_CERTIFICATE_OR_PIN: &str = "make a new one with scripts/gen-cert.sh, or set server_pin here, for which only the key counts";

/// Replaces a certificate error by our text, with `remedy` where the text has none of its own.
/// Returns other errors unchanged.
pub(super) fn with_remedy(error: Error, remedy: &str) -> Error {
    match error {
        Error::InvalidCertificate(problem) => {
            let what = problem_text(&problem, remedy);
            Error::General(format!("the server's certificate {what}"))
        }
        other => other,
    }
}

/// Returns what is wrong with a certificate, as a predicate.
pub(super) fn problem_text(problem: &CertificateError, remedy: &str) -> String {
    use CertificateError as E;
    match problem {
        E::BadEncoding => format!("cannot be read: {remedy}"),
        E::Expired => format!("has expired: renew it on the server (and look at the clock here), or {remedy}"),
        E::ExpiredContext { time, not_after } => format!(
            "expired on {} (it is {} here): renew it on the server, or set server_pin here, for which dates do not count",
            date(*not_after),
            date(*time)
        ),
        E::NotValidYet => {
            "is not valid yet: look at the clocks of the server and of this machine".to_owned()
        }
        E::NotValidYetContext { time, not_before } => format!(
            "is not valid before {} (it is {} here): look at the clocks of the server and of this machine",
            date(*not_before),
            date(*time)
        ),
        E::NotValidForName => format!("is not for the name in `server`: {NAME_REMEDY}"),
        E::NotValidForNameContext {
            expected,
            presented,
        } if presented.is_empty() => format!(
            "is not for {}: it names no server at all (no subjectAltName; a common name does not count): {NAME_REMEDY}",
            expected.to_str()
        ),
        E::NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "is not for {} but for {}: {NAME_REMEDY}",
            expected.to_str(),
            listed(presented)
        ),
        E::UnknownIssuer => "is from an authority that is not trusted here: set server_pin to the server's pin (it prints it at its start), or ca_file to the file of its authority or to its certificate".to_owned(),
        E::Revoked => "was revoked by its authority: replace it on the server".to_owned(),
        E::UnknownRevocationStatus | E::ExpiredRevocationList | E::ExpiredRevocationListContext { .. } => {
            format!("may have been revoked, which cannot be told here: {remedy}")
        }
        E::InvalidOcspResponse => format!("came with a statement of its authority that cannot be used: {remedy}"),
        E::BadSignature => "has a signature that does not fit: either it was made anew under the same name (then put the new one into ca_file, or set server_pin), or this is not your server".to_owned(),
        E::UnsupportedSignatureAlgorithmContext { .. }
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            format!("is signed in a way that is not accepted (SHA-1, or a key of an unusual kind): {remedy}")
        }
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            format!("is not made for a server (its extendedKeyUsage lacks serverAuth): {remedy}")
        }
        E::UnhandledCriticalExtension => format!("asks for more than can be checked here (a critical extension): {remedy}"),
        E::ApplicationVerificationFailure => format!("is not accepted here: {remedy}"),
        E::Other(other) => webpki_problem_text(&other.to_string(), remedy),
        // Variants of a later library, and a deprecated one.
        _ => format!("is not accepted here: {remedy}"),
    }
}

/// The remedy for a name.
const NAME_REMEDY: &str =
    "write a name that it has into `server`, or set server_pin here, for which names do not count";

/// Returns the text for an error that webpki has under a name of its own.
fn webpki_problem_text(name: &str, remedy: &str) -> String {
    match name {
        "CaUsedAsEndEntity" => "is one of an authority (CA:TRUE, as `openssl req -x509` makes them without options): set server_pin to the server's pin (it prints it at its start), or ca_file to this certificate itself".to_owned(),
        "EndEntityUsedAsCa" | "PathLenConstraintViolated" => {
            format!("is signed by one that may not sign others: {remedy}")
        }
        "NameConstraintViolation" => format!("has a name that its authority may not give: {remedy}"),
        "UnsupportedCertVersion" => format!("is of an old kind (X.509 version 1, without names): {remedy}"),
        name if name.starts_with("Maximum") => format!("has too long a chain: {remedy}"),
        _ => format!("is malformed: {remedy}"),
    }
}

/// Returns the first names of a certificate, escaped and shortened, because its issuer chooses
/// them.
fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(4)
        .map(|name| name.chars().take(80).flat_map(char::escape_debug).collect())
        .collect();
    let more = if names.len() > shown.len() {
        ", ..."
    } else {
        ""
    };
    format!("{}{more}", shown.join(", "))
}

fn date(moment: UnixTime) -> String {
    String::from_utf8_lossy(http_date(moment.as_secs()).as_ref()).into_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rustls::OtherError;
    use rustls::pki_types::ServerName;

    use super::*;

    /// An error with a name only.
    #[derive(Debug)]
    struct Named(&'static str);

    impl std::fmt::Display for Named {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl std::error::Error for Named {}

    fn other(name: &'static str) -> CertificateError {
        CertificateError::Other(OtherError(Arc::new(Named(name))))
    }

    #[test]
    fn every_certificate_error_has_a_text_with_a_remedy() {
        use CertificateError as E;
        let at = |secs| UnixTime::since_unix_epoch(Duration::from_secs(secs));
        let name = || ServerName::try_from("vpn.example.org").expect("a name");
        let (time, day) = (at(1_780_000_000), at(1_700_000_000));
        let table = [
            (E::BadEncoding, "cannot be read"),
            (E::Expired, "has expired"),
            (
                E::ExpiredContext {
                    time,
                    not_after: day,
                },
                "expired on Tue, 14 Nov 2023",
            ),
            (E::NotValidYet, "clocks"),
            (
                E::NotValidYetContext {
                    time,
                    not_before: day,
                },
                "not valid before Tue, 14 Nov 2023",
            ),
            (E::NotValidForName, "server_pin"),
            (
                E::NotValidForNameContext {
                    expected: name(),
                    presented: vec![],
                },
                "not for vpn.example.org: it names no server",
            ),
            (
                E::NotValidForNameContext {
                    expected: name(),
                    presented: vec!["a\n.example".into(), "b.example".into()],
                },
                "not for vpn.example.org but for a\\n.example, b.example",
            ),
            (E::UnknownIssuer, "ca_file"),
            (E::Revoked, "revoked"),
            (E::UnknownRevocationStatus, "revoked"),
            (E::ExpiredRevocationList, "revoked"),
            (
                E::ExpiredRevocationListContext {
                    time,
                    next_update: day,
                },
                "revoked",
            ),
            (E::InvalidOcspResponse, "statement of its authority"),
            (E::BadSignature, "is not your server"),
            (
                E::UnsupportedSignatureAlgorithmContext {
                    signature_algorithm_id: vec![1],
                    supported_algorithms: vec![],
                },
                "SHA-1",
            ),
            (
                E::UnsupportedSignatureAlgorithmForPublicKeyContext {
                    signature_algorithm_id: vec![1],
                    public_key_algorithm_id: vec![2],
                },
                "SHA-1",
            ),
            (E::InvalidPurpose, "serverAuth"),
            (
                E::InvalidPurposeContext {
                    required: rustls::ExtendedKeyPurpose::ServerAuth,
                    presented: vec![],
                },
                "serverAuth",
            ),
            (E::UnhandledCriticalExtension, "critical extension"),
            (E::ApplicationVerificationFailure, "not accepted"),
            (other("CaUsedAsEndEntity"), "CA:TRUE"),
            (other("EndEntityUsedAsCa"), "may not sign"),
            (other("PathLenConstraintViolated"), "may not sign"),
            (other("NameConstraintViolation"), "may not give"),
            (other("UnsupportedCertVersion"), "version 1"),
            (other("MaximumPathDepthExceeded"), "chain"),
            (other("MaximumSignatureChecksExceeded"), "chain"),
            (other("ExtensionValueInvalid"), "malformed"),
            (other("something of tomorrow"), "malformed"),
        ];
        for (problem, expected) in table {
            let text = with_remedy(problem.clone().into(), NEW_CERTIFICATE).to_string();
            // `General` displays a prefix before its text.
            assert!(text.contains("the server's certificate "), "{text}");
            assert!(text.contains(expected), "{problem:?}: {text}");
            for foreign in ["invalid peer certificate", "OtherError", "Context", "\n"] {
                assert!(!text.contains(foreign), "{problem:?}: {text}");
            }
        }
    }
}
