//! The documented answers: one row for every way in which a handshake ends, and what a check may
//! expect besides.
//!
//! Read it as the table of the protocol's documentation: status, body, label of
//! `qdt_handshakes_total`. The rows hold for both kinds of server; where they differ for a request,
//! the check says so itself.

/// Which server is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The server of this suite.
    Qdt,
    /// The Go server it replaces.
    Go,
}

/// A refusal: what is answered, and what counts it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The HTTP status.
    pub(super) status: u16,
    /// The body without its line feed.
    pub(super) body: &'static str,
    /// The value of the `result` label; none where nothing counts it.
    pub(super) label: Option<&'static str>,
    /// What the row means.
    meaning: &'static str,
    /// Where it is known from.
    source: &'static str,
}

macro_rules! rows {
    ($($name:ident => $status:literal, $body:literal, $label:expr, $meaning:literal, $source:literal;)*) => {
        $(pub(super) const $name: &Row = &Row {
            status: $status, body: $body, label: $label, meaning: $meaning, source: $source,
        };)*

        /// The rows in the order in which a server comes to them.
        const ROWS: &[&Row] = &[$($name),*];
    };
}

rows! {
    NOT_FOUND => 404, "404 page not found", None,
        "another path than /connect", "Go's net/http, which answers before the server is asked";
    METHOD => 405, "method not allowed", Some("method"),
        "another method than POST, whatever the token", "the Go server, observed: no Allow header";
    UNAUTHORIZED => 401, "unauthorized", Some("unauthorized"),
        "a wrong token or none", "the Go server, observed; its client exits on it";
    BUSY => 503, "server busy", Some("busy"),
        "the connection has a session already", "this suite: the Go server opens 32 on one connection";
    BAD_REQUEST => 400, "bad request", Some("bad_request"),
        "no JSON of version 1 within 4096 bytes and the deadline", "vectors/connect_request_decode.json, recorded";
    BAD_NONCE => 400, "bad nonce", Some("bad_nonce"),
        "the nonce is not unpadded standard base64", "vectors/nonce_base64.json, recorded";
    KEY_DERIVATION => 500, "key derivation error", Some("key_derivation_error"),
        "the nonce is not 16 bytes", "vectors/nonce_base64.json, recorded, and the Go server, observed";
}

/// The rows as a table for the report.
pub(super) fn markdown() -> String {
    let mut text =
        "| status | body | label | meaning | source |\n|---|---|---|---|---|\n".to_owned();
    for row in ROWS {
        let label = row.label.unwrap_or("none");
        text += &format!(
            "| {} | {} | {label} | {} | {} |\n",
            row.status, row.body, row.meaning, row.source
        );
    }
    text + "| 200 | one JSON object | ok | a session | vectors/connect_response_encode.json, recorded |\n"
}

/// Answers that only say that a server cannot be probed now.
pub(super) const HINTS: &[(u16, &str, &str)] = &[
    (
        401,
        "unauthorized",
        "the token in the file is not the server's: compare it with `token` in server.yaml",
    ),
    (
        429,
        "rate limited",
        "the server's handshake limit is used up: wait a minute, or set a lower --rate",
    ),
    (
        503,
        "not ready",
        "the server is starting or stopping: try again when /healthz says ok",
    ),
    (
        503,
        "server busy",
        "the server has max_sessions sessions: probe it when it has fewer",
    ),
    (
        503,
        "address pool exhausted",
        "no inner address is free: addresses of ended sessions come back after session_timeout",
    ),
];

/// What a request has to end with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    /// A refusal of the table.
    Refused(&'static Row),
    /// 200 with `:status` and `date` alone and one JSON object; counted as `ok`.
    Session,
    /// A redirect of the HTTP library to `/connect`, with a body or without; counted as nothing.
    Redirect,
    /// The server resets the stream with this code and counts nothing.
    StreamError(u64),
    /// The server closes the connection with this code and counts nothing.
    ConnectionError(u64),
    /// There is nothing to compare, and why.
    NotAsked(&'static str),
}

/// A malformed request ends its stream with H3_MESSAGE_ERROR (RFC 9114 section 4.1.2).
pub(super) const MALFORMED: Expect = Expect::StreamError(0x10e);

impl Expect {
    /// The label that counts the request.
    pub(super) fn label(self) -> Option<&'static str> {
        match self {
            Self::Refused(row) => row.label,
            Self::Session => Some("ok"),
            _ => None,
        }
    }

    /// For the report.
    pub(super) fn text(self) -> String {
        match self {
            Self::Refused(row) => format!("{} {}", row.status, row.body),
            Self::Session => "200 and a session".into(),
            Self::Redirect => "301 or 307 to /connect".into(),
            Self::StreamError(code) => format!("stream reset with {code:#x}"),
            Self::ConnectionError(code) => format!("connection closed with {code:#x}"),
            Self::NotAsked(reason) => format!("not asked: {reason}"),
        }
    }
}
