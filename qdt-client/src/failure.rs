//! The errors of connection attempts and of the host.
//!
//! Invariants: their texts are those in the log under `err`; [`Failure::is_final`] alone decides
//! what ends the first connect.

use qdt_transport::DialError;

use crate::cause::Cause;

/// The reason why an attempt, or a round of attempts, failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The server answered with a status other than 200.
    #[error("{status}{} ({body})", reason_phrase(*status))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The body, line feed included.
        body: String,
    },
    /// There was no valid answer.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The server's name was not resolved.
    #[error(transparent)]
    Resolve(Cause),
}

impl Failure {
    /// Returns whether the first connect ends: the token or the kind of server is wrong. 429, 503
    /// and network errors are temporary. A wrong certificate is not final, because an attacker who
    /// sees our first packet can answer it before the server does.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Refused { status, .. } => !matches!(status, 429 | 503),
            Self::Dial(error) => error.is_answer(),
            Self::Resolve(_) => false,
        }
    }

    /// Returns whether the server answered. The sender of a wrong certificate may be another host.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        match self {
            Self::Refused { .. } => true,
            Self::Dial(error) => error.is_answer(),
            Self::Resolve(_) => false,
        }
    }

    /// Returns whether the answer came with a certificate that is not the server's.
    #[must_use]
    pub fn is_wrong_certificate(&self) -> bool {
        matches!(self, Self::Dial(DialError::Certificate(_)))
    }

    /// Returns whether the server is not ready: it is starting or stopping.
    #[must_use]
    pub fn is_not_ready(&self) -> bool {
        matches!(self, Self::Refused { status: 503, body } if body.trim_end() == "not ready")
    }

    /// Returns whether the server refused the token.
    #[must_use]
    pub fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Refused { status: 401, .. })
    }
}

/// Returns the reason phrase of a status (RFC 9110, section 15) after a space; HTTP/3 carries none.
fn reason_phrase(status: u16) -> &'static str {
    match status {
        400 => " Bad Request",
        401 => " Unauthorized",
        403 => " Forbidden",
        404 => " Not Found",
        405 => " Method Not Allowed",
        429 => " Too Many Requests",
        500 => " Internal Server Error",
        502 => " Bad Gateway",
        503 => " Service Unavailable",
        504 => " Gateway Timeout",
        _ => "",
    }
}

/// An error of this host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostFailure {
    /// The TUN device was not created or changed, or another program removed it.
    #[error(transparent)]
    Tun(Cause),
    /// The routes were not set.
    #[error(transparent)]
    Routes(Cause),
    /// The packet worker is gone.
    #[error(transparent)]
    Worker(Cause),
}

/// What ends the client with exit code 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The first connect failed for good.
    #[error("connect failed: {0}")]
    Connect(Failure),
    /// This host refused.
    #[error(transparent)]
    Host(#[from] HostFailure),
}
