//! Why a tunnel is not up: one type for everything that can stand between a client and a session.
//!
//! What always holds here: the texts are those that reach the log under `err`, and what ends the
//! first connect is decided in [`Failure::is_final`] alone.

use crate::assignment::AssignmentError;
use crate::cause::Cause;
use qdt_transport::DialError;

/// Why an attempt, or a round of attempts, gave no session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The server answered, with another status than 200.
    #[error("{status}{} ({body})", reason_phrase(*status))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The body with its line feed.
        body: String,
    },
    /// There was no answer.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The answer was 200, but not one to act on.
    #[error(transparent)]
    Answer(#[from] AssignmentError),
    /// The server's name was not resolved.
    #[error(transparent)]
    Resolve(Cause),
}

impl Failure {
    /// Whether trying again is no use for somebody who never was connected: the token or the kind
    /// of server is wrong. 429 and 503 pass, so does the network. A wrong certificate is not final
    /// by itself: whoever sees our first packet can answer it before the server does.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Refused { status, .. } => !matches!(status, 429 | 503),
            Self::Dial(DialError::InvalidAnswer(_)) | Self::Answer(_) => true,
            Self::Dial(_) | Self::Resolve(_) => false,
        }
    }

    /// Whether the server was heard. What shows a wrong certificate is not known to be the server.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::Answer(_) => true,
            Self::Dial(error) => matches!(error, DialError::InvalidAnswer(_)),
            Self::Resolve(_) => false,
        }
    }

    /// Whether somebody answered who is not known to be the server.
    #[must_use]
    pub fn is_wrong_certificate(&self) -> bool {
        matches!(self, Self::Dial(DialError::Certificate(_)))
    }

    /// Whether the server is there and only not ready yet: it has just been started, or is about to
    /// end.
    #[must_use]
    pub fn is_not_ready(&self) -> bool {
        matches!(self, Self::Refused { status: 503, body } if body.trim_end() == "not ready")
    }

    /// Whether the server said that our token is wrong.
    #[must_use]
    pub fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Refused { status: 401, .. })
    }
}

/// The reason phrase of the statuses that a server of either kind sends (RFC 9110, section 15),
/// with a space before it; HTTP/3 itself carries none.
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

/// What this host refused to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostFailure {
    /// The TUN device could not be made or changed, or went away.
    #[error(transparent)]
    Tun(Cause),
    /// The routes could not be set.
    #[error(transparent)]
    Routes(Cause),
    /// The packet worker is gone.
    #[error(transparent)]
    Worker(Cause),
}

/// What ends the client with exit code 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// There never was a connection, and there will be none.
    #[error("connect failed: {0}")]
    Connect(Failure),
    /// This host does not allow the tunnel.
    #[error(transparent)]
    Host(#[from] HostFailure),
}
