//! The contents of server.yaml, unchecked, and their defaults.
//!
//! Zero, an empty text and an absent key all mean the default.

use ipnet::Ipv4Net;
use qdt_program::{GoDuration, Token};
use serde::Deserialize;

use super::keys::default_of;

/// The keys of server.yaml, those of [`KEYS`](super::KEYS).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the table of keys describes each")]
pub struct ServerFile {
    pub addr: String,
    pub tls_cert: String,
    pub tls_key: String,
    pub token: Token,
    pub mtu: i64,
    pub tun_name: String,
    pub pool_cidr: String,
    pub gateway_ip: String,
    pub dns: Vec<String>,
    pub metrics_addr: String,
    pub health_addr: String,
    pub pprof_addr: String,
    pub log_level: String,
    pub log_json: bool,
    pub session_timeout: GoDuration,
    pub max_reassembly_bytes: i64,
    pub max_sessions: i64,
    pub rate_limit: RateFile,
    pub handshake_rate: RateFile,
    pub handshake_ip_rate: HandshakeIpRateFile,
    pub send_workers: i64,
    pub send_queue: i64,
    pub send_batch: i64,
    pub send_datagram_queue: i64,
    pub session_shards: i64,
    pub nat: NatFile,
    pub client_to_client: bool,
    pub forward_link_local: Vec<String>,
}

/// A rate limit in the file: 0 is the default, a negative value is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RateFile {
    /// Events per second.
    pub pps: i64,
    /// Events at once.
    pub burst: i64,
}

/// The limit per address in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HandshakeIpRateFile {
    /// Requests per second.
    pub pps: i64,
    /// Requests at once.
    pub burst: i64,
    /// How long an idle address is remembered.
    pub ttl: GoDuration,
}

/// Masquerading in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NatFile {
    /// Whether the pool is masqueraded.
    pub enabled: bool,
    /// The interface to the internet.
    pub external_iface: String,
}

/// Returns the first host of a pool; empty if the text is not an IPv4 network.
fn first_host(pool_cidr: &str) -> String {
    pool_cidr
        .parse::<Ipv4Net>()
        .ok()
        .and_then(|pool| pool.hosts().next())
        .map_or_else(String::new, |host| host.to_string())
}

impl ServerFile {
    /// Fills in the Go server's defaults, except the TLS paths, which depend on the file's folder.
    pub fn with_defaults(mut self, cpus: usize) -> Self {
        let text = |value: &mut String, key| {
            if value.is_empty() {
                default_of(key).text().clone_into(value);
            }
        };
        let number = |value: &mut i64, key| {
            if *value == 0 {
                *value = default_of(key).number(cpus);
            }
        };
        let duration = |value: &mut GoDuration, key| {
            if *value == GoDuration::ZERO {
                *value = default_of(key).duration();
            }
        };
        text(&mut self.addr, "addr");
        number(&mut self.mtu, "mtu");
        text(&mut self.tun_name, "tun_name");
        text(&mut self.pool_cidr, "pool_cidr");
        if self.gateway_ip.is_empty() {
            self.gateway_ip = first_host(&self.pool_cidr);
        }
        text(&mut self.metrics_addr, "metrics_addr");
        text(&mut self.health_addr, "health_addr");
        duration(&mut self.session_timeout, "session_timeout");
        number(&mut self.max_reassembly_bytes, "max_reassembly_bytes");
        number(&mut self.rate_limit.pps, "rate_limit.pps");
        number(&mut self.rate_limit.burst, "rate_limit.burst");
        number(&mut self.handshake_rate.pps, "handshake_rate.pps");
        number(&mut self.handshake_rate.burst, "handshake_rate.burst");
        let per_address = &mut self.handshake_ip_rate;
        number(&mut per_address.pps, "handshake_ip_rate.pps");
        number(&mut per_address.burst, "handshake_ip_rate.burst");
        duration(&mut per_address.ttl, "handshake_ip_rate.ttl");
        number(&mut self.send_workers, "send_workers");
        number(&mut self.send_queue, "send_queue");
        number(&mut self.send_batch, "send_batch");
        if self.send_datagram_queue == 0 {
            self.send_datagram_queue = self.send_queue;
        }
        number(&mut self.session_shards, "session_shards");
        self
    }
}
