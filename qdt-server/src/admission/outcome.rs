//! The outcomes of a handshake: status, body and metric label of each, in one table.
//!
//! They are the Go server's, so that clients, dashboards and alerts see no difference. Some cannot
//! happen here (`not_http3`: only HTTP/3 is spoken; `bad_ip` and `cipher_error`: the types exclude
//! them); their labels exist at 0.

use std::sync::atomic::{AtomicU64, Ordering};

use qdt_transport::Refusal;

macro_rules! outcomes {
    ($($(#[$doc:meta])* $name:ident => $status:literal, $body:literal, $label:literal;)*) => {
        /// How a handshake ended.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Outcome {
            $($(#[$doc])* $name,)*
        }

        impl Outcome {
            /// All outcomes.
            pub const COUNTED: &'static [Self] = &[$(Self::$name,)*];

            /// Returns the HTTP status.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// Returns the text of the response without its newline; empty for [`Outcome::Ok`],
            /// whose body is JSON.
            #[must_use]
            pub const fn body(self) -> &'static str {
                match self { $(Self::$name => $body,)* }
            }

            /// Returns the label `result` of `qdt_handshakes_total`.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

outcomes! {
    /// The server is starting or draining.
    NotReady => 503, "not ready", "not_ready";
    /// The method is not POST.
    Method => 405, "method not allowed", "method";
    /// The token is wrong or missing.
    Unauthorized => 401, "unauthorized", "unauthorized";
    /// Over the limit for wrong tokens or for handshakes.
    RateLimited => 429, "rate limited", "rate_limited";
    /// `max_sessions` is reached, or the connection already has a session.
    Busy => 503, "server busy", "busy";
    /// Not HTTP/3.
    NotHttp3 => 400, "not http3", "not_http3";
    /// No valid JSON arrived within the limits of size and time.
    BadRequest => 400, "bad request", "bad_request";
    /// The nonce is not unpadded standard base64.
    BadNonce => 400, "bad nonce", "bad_nonce";
    /// The system gave no random bytes for the server nonce.
    NonceError => 500, "nonce error", "nonce_error";
    /// The system gave no random bytes for a session id.
    SessionIdError => 500, "session id error", "session_id_error";
    /// No inner address is free.
    PoolExhausted => 503, "address pool exhausted", "pool_exhausted";
    /// The inner address is invalid.
    BadIp => 500, "invalid client ip", "bad_ip";
    /// The client's nonce is not 16 bytes.
    KeyDerivationError => 500, "key derivation error", "key_derivation_error";
    /// The cipher rejected the keys.
    CipherError => 500, "cipher error", "cipher_error";
    /// A session was granted.
    Ok => 200, "", "ok";
}

impl Outcome {
    /// Returns the response that the worker sends.
    #[must_use]
    pub fn refusal(self) -> Refusal {
        Refusal {
            status: self.status(),
            body: self.body(),
        }
    }
}

/// Counts each outcome since the start.
#[derive(Debug, Default)]
pub struct HandshakeCounters([AtomicU64; Outcome::COUNTED.len()]);

impl HandshakeCounters {
    /// Counts one handshake.
    pub fn count(&self, outcome: Outcome) {
        if let Some(index) = Outcome::COUNTED
            .iter()
            .position(|counted| *counted == outcome)
        {
            self.0[index].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns label and count of every outcome, those at 0 included.
    pub fn snapshot(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Outcome::COUNTED
            .iter()
            .zip(&self.0)
            .map(|(outcome, count)| (outcome.label(), count.load(Ordering::Relaxed)))
    }
}
