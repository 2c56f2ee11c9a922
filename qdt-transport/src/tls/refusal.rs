//! Why a server's certificate is refused, in words that say what to do.
//!
//! Invariant: no name of a type of the TLS library reaches a user; what has no words here is told
//! as one text with a remedy that holds for every certificate.

use qdt_proto::http3::http_date;
use rustls::pki_types::UnixTime;
use rustls::{CertificateError, Error};

/// The remedy at the server, and at a client that has its pin.
pub(super) const NEW_CERTIFICATE: &str = "make a new one with scripts/gen-cert.sh on the server";
/// The remedy at any other client, whatever is wrong with a certificate.
pub(super) const NEW_CERTIFICATE_OR_PIN: &str = "make a new one with scripts/gen-cert.sh, or set server_pin here, for which only the key counts";

/// An error of a certificate in our words, with `remedy` where the error has none of its own; every
/// other one as it is.
pub(super) fn in_our_words(error: Error, remedy: &str) -> Error {
    match error {
        Error::InvalidCertificate(problem) => {
            let what = words(&problem, remedy);
            Error::General(format!("the server's certificate {what}"))
        }
        other => other,
    }
}

/// What is wrong with a certificate, as a predicate.
pub(super) fn words(problem: &CertificateError, remedy: &str) -> String {
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
        E::NotValidForName => format!("is not for the name in `server`: {NAME}"),
        E::NotValidForNameContext {
            expected,
            presented,
        } if presented.is_empty() => format!(
            "is not for {}: it names no server at all (no subjectAltName; a common name does not count): {NAME}",
            expected.to_str()
        ),
        E::NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "is not for {} but for {}: {NAME}",
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
        E::Other(other) => other_words(&other.to_string(), remedy),
        // Variants of a later library, and one that this one does not make any more.
        _ => format!("is not accepted here: {remedy}"),
    }
}

/// What to do about a name.
const NAME: &str =
    "write a name that it has into `server`, or set server_pin here, for which names do not count";

/// What the verifier of chains calls by names of its own.
fn other_words(name: &str, remedy: &str) -> String {
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

/// The first names of a certificate, which are its maker's choice: escaped, and not too many.
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

    /// An error whose name is all that is known of it.
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
    fn every_error_of_a_certificate_has_words_that_say_what_to_do() {
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
            let words = in_our_words(problem.clone().into(), NEW_CERTIFICATE).to_string();
            // `General` says so before its text.
            assert!(words.contains("the server's certificate "), "{words}");
            assert!(words.contains(expected), "{problem:?}: {words}");
            for foreign in ["invalid peer certificate", "OtherError", "Context", "\n"] {
                assert!(!words.contains(foreign), "{problem:?}: {words}");
            }
        }
    }
}
