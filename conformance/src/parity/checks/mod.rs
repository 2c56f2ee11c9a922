//! Every request that the probe sends, with what has to come of it; one file per topic.
//!
//! A check says what the suite's server does, and apart from that what the Go server does where
//! that is something else. Which facts are recorded and which generated shows in the group.

mod bodies;
mod faults;
mod heads;
mod order;
mod paths;
mod recorded;

use super::request::{Head, Request};
use super::table::{Dialect, Expect, KEY_DERIVATION};

/// The nonce of requests whose keys are not used.
pub(super) const NONCE: &str = "r1PcM/V/7a1PEpqZGM8NNQ";
/// As long as [`NONCE`] inside of JSON, and 15 bytes when decoded: accepted up to the derivation of
/// keys.
const SHORT_NONCE: &str = "r1PcM/V/7a1PEpqZGM8N\\n";
/// What an absent `mtu` means.
pub(super) const DEFAULT_MTU: i64 = 1350;

/// One request and its expected end.
#[derive(Debug, Clone)]
pub(super) struct Check {
    /// Where it stands in the report.
    pub(super) group: &'static str,
    /// What holds, as a sentence.
    pub(super) name: String,
    /// What is sent.
    pub(super) request: Request,
    /// What the suite's server does.
    expect: Expect,
    /// What a Go server does where that is something else.
    go: Option<Expect>,
    /// The `mtu` it asks for.
    pub(super) mtu: i64,
    /// Nothing comes before the server's deadline for bodies.
    pub(super) slow: bool,
}

impl Check {
    fn new(group: &'static str, name: impl Into<String>, request: Request, expect: Expect) -> Self {
        Self {
            group,
            name: name.into(),
            request,
            expect,
            go: None,
            mtu: DEFAULT_MTU,
            slow: false,
        }
    }

    /// A Go server does something else.
    fn go(mut self, expect: Expect) -> Self {
        self.go = Some(expect);
        self
    }

    fn mtu(mut self, mtu: i64) -> Self {
        self.mtu = mtu;
        self
    }

    fn slow(mut self) -> Self {
        self.slow = true;
        self
    }

    /// What has to come from this kind of server.
    pub(super) fn expected(&self, dialect: Dialect) -> Expect {
        match (dialect, self.go) {
            (Dialect::Go, Some(go)) => go,
            _ => self.expect,
        }
    }
}

/// What requests are made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Material<'a> {
    /// The server's token.
    token: &'a [u8],
    /// Requests make their point without a session, so that no address is used up: their nonce is
    /// too short, and the refusal that follows comes after everything that they are about.
    spares_addresses: bool,
}

impl<'a> Material<'a> {
    /// Requests with this token.
    pub(super) fn new(token: &'a [u8]) -> Self {
        Self {
            token,
            spares_addresses: false,
        }
    }

    /// Requests that open no sessions.
    pub(super) fn spare_addresses(&mut self) {
        self.spares_addresses = true;
    }

    /// A good head.
    fn head(&self) -> Head {
        Head::connect(self.token)
    }

    /// A good body.
    fn body(&self) -> Vec<u8> {
        self.spare(format!(r#"{{"version":1,"client_nonce":"{NONCE}"}}"#).into_bytes())
    }

    /// A good body with blanks in front, so that it is `len` bytes long.
    fn padded(&self, len: usize) -> Vec<u8> {
        let body = self.body();
        let mut padded = vec![b' '; len - body.len()];
        padded.extend(body);
        padded
    }

    /// What a request is answered whose body is good.
    fn accepted(&self) -> Expect {
        if self.spares_addresses {
            Expect::Refused(KEY_DERIVATION)
        } else {
            Expect::Session
        }
    }

    /// A body with its nonce made too short where addresses are to be spared; its length stays.
    fn spare(&self, mut body: Vec<u8>) -> Vec<u8> {
        let place = |body: &[u8]| {
            let mut windows = body.windows(NONCE.len());
            windows.position(|window| window == NONCE.as_bytes())
        };
        while self.spares_addresses
            && let Some(at) = place(&body)
        {
            body[at..at + NONCE.len()].copy_from_slice(SHORT_NONCE.as_bytes());
        }
        body
    }
}

/// Everything that is sent on connections of its own, in order.
pub(super) fn all(material: &Material<'_>) -> Vec<Check> {
    let mut checks = recorded::checks(material);
    checks.extend(paths::checks(material));
    checks.extend(heads::checks(material));
    checks.extend(order::checks(material));
    checks.extend(bodies::checks(material));
    checks.extend(faults::checks(material));
    checks
}

/// `head` with a `content-length` and `body` in one frame.
fn post(head: &Head, body: &[u8]) -> Request {
    Request::new(&head.clone().add("content-length", body.len().to_string())).data(body)
}
