//! The table of the keys of server.yaml, with default and meaning of each.
//!
//! Invariants: it has exactly the keys of `ServerFile`, in the order of a first start's file;
//! docs/configuration.md says the same.

use std::fmt;

use qdt_program::GoDuration;
use qdt_proto::handshake::DEFAULT_MTU;

use KeyDefault::{Beside, Empty, FirstHost, Number, PerCpu, Required, SameAs, Seconds, Text};

/// A key of server.yaml.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The name; `outer.inner` in a nested mapping.
    pub name: &'static str,
    /// The meaning of an absent key, an empty text and a zero.
    pub default: KeyDefault,
    /// The purpose, which begins its description in the documentation.
    pub meaning: &'static str,
    /// The value that a first start writes.
    pub first_start: FirstStartValue,
}

/// The default of a key; displays as in the documentation.
#[derive(Clone, Copy, Debug)]
pub enum KeyDefault {
    /// None: the key is required.
    Required,
    /// The empty value: its YAML, and its meaning.
    Empty(&'static str, &'static str),
    /// A text.
    Text(&'static str),
    /// A number.
    Number(i64),
    /// A duration in seconds.
    Seconds(i64),
    /// A number per CPU.
    PerCpu(i64),
    /// The value of another key.
    SameAs(&'static str),
    /// A file of this name next to server.yaml.
    Beside(&'static str),
    /// The first host of `pool_cidr`.
    FirstHost,
}

/// The value that a first start writes for a key.
#[derive(Clone, Copy, Debug)]
pub enum FirstStartValue {
    /// The default.
    Default,
    /// A number other than the default.
    Number(i64),
    /// None: the Go server does not know the key.
    Absent,
}

/// All keys of server.yaml.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("addr", Text(":443"), "UDP address of the tunnel"),
    key("tls_cert", Beside("cert.pem"), "PEM file of the certificate chain"),
    key("tls_key", Beside("key.pem"), "PEM file of the key"),
    key("token", Required, "what clients must present"),
    key("mtu", Number(DEFAULT_MTU), "largest QDT datagram in bytes, 576 to 65535"),
    key("tun_name", Text("qdt0"), "the TUN device"),
    key("pool_cidr", Text("10.8.0.0/24"), "inner IPv4 addresses, at least a /30"),
    key("gateway_ip", FirstHost, "the server's own inner address"),
    key("dns", Empty("[]", "none"), "resolvers that clients get"),
    key("metrics_addr", Text(":9100"), "TCP; `/metrics` and `/healthz`"),
    key("health_addr", Text(":9200"), "TCP; `/healthz`"),
    key("pprof_addr", Empty("\"\"", "off"), "TCP; `/debug/pprof/`"),
    key("log_level", Empty("\"\"", "`info`"), "`debug`, `info`, `warn` (`warning`) or `error`"),
    key("log_json", Empty("false", "`false`"), "log lines as JSON objects"),
    key("session_timeout", Seconds(120), "how long the address of a lost session is kept"),
    key("max_reassembly_bytes", Number(65_535), "fragments of one session that may wait"),
    key("max_sessions", Empty("0", "0, no limit"), "sessions at most"),
    key("rate_limit.pps", Number(10_000), "inner packets per second of one session").written_as(-1),
    key("rate_limit.burst", Number(20_000), "inner packets of one session at once"),
    key("handshake_rate.pps", Number(100), "requests per second, of all clients together"),
    key("handshake_rate.burst", Number(200), "requests at once, of all clients together"),
    key("handshake_ip_rate.pps", Number(20), "requests per second of one address"),
    key("handshake_ip_rate.burst", Number(40), "requests at once of one address"),
    key("handshake_ip_rate.ttl", Seconds(60), "how long an address is remembered"),
    key("send_workers", PerCpu(1), "packet workers, at most 128"),
    key("send_queue", Number(4096), "packets that may wait for a worker"),
    key("send_batch", Number(4), "TUN reads of a worker between two looks at its socket"),
    key("send_datagram_queue", SameAs("send_queue"), "datagrams that may wait for one session"),
    key("session_shards", PerCpu(4), "shards of the session table of the control side"),
    key("nat.enabled", Empty("false", "`false`"), "masquerade the pool"),
    key("nat.external_iface", Empty("\"\"", "the default route's"), "the interface to the internet"),
    key("client_to_client", Empty("", "`false`"), "whether clients may reach each other").extension(),
    key("forward_link_local", Empty("", "none"), "addresses of 169.254.0.0/16 that clients may reach").extension(),
];

/// Returns a key whose default a first start writes.
const fn key(name: &'static str, default: KeyDefault, meaning: &'static str) -> Key {
    Key {
        name,
        default,
        meaning,
        first_start: FirstStartValue::Default,
    }
}

impl Key {
    const fn written_as(self, value: i64) -> Self {
        Self {
            first_start: FirstStartValue::Number(value),
            ..self
        }
    }

    const fn extension(self) -> Self {
        Self {
            first_start: FirstStartValue::Absent,
            ..self
        }
    }
}

/// Returns the default of `name`, a key of the table.
pub(super) fn default_of(name: &str) -> KeyDefault {
    let key = KEYS.iter().find(|key| key.name == name);
    key.expect("a key of the table").default
}

impl KeyDefault {
    /// Returns a default text; empty for other defaults.
    pub(super) fn text(self) -> &'static str {
        match self {
            Text(text) => text,
            _ => "",
        }
    }

    /// Returns a default number on a host with `cpus` CPUs; 0 for other defaults.
    pub(super) fn number(self, cpus: usize) -> i64 {
        let cpus = i64::try_from(cpus).unwrap_or(i64::MAX / 4).max(1);
        match self {
            Number(number) => number,
            PerCpu(number) => number * cpus,
            _ => 0,
        }
    }

    /// Returns a default duration; zero for other defaults.
    pub(super) fn duration(self) -> GoDuration {
        match self {
            Seconds(seconds) => GoDuration::from_secs(seconds),
            _ => GoDuration::ZERO,
        }
    }
}

impl fmt::Display for KeyDefault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Required => f.write_str("required"),
            Empty(_, meaning) => f.write_str(meaning),
            Text(text) => write!(f, "`{text}`"),
            Number(number) => write!(f, "{number}"),
            Seconds(_) => write!(f, "`{}`", self.duration()),
            PerCpu(1) => f.write_str("CPUs"),
            PerCpu(number) => write!(f, "{number} x CPUs"),
            SameAs(key) => write!(f, "`{key}`"),
            Beside(name) => write!(f, "`{name}` next to server.yaml"),
            FirstHost => f.write_str("first host of the pool"),
        }
    }
}
