//! server.yaml as it stands, and its defaults.
//!
//! A value of zero, an empty text and an absent key are the same: the default. Nothing is judged
//! here.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use qdt_program::{GoDuration, Token};
use serde::Deserialize;

/// The keys of server.yaml in the order in which a first start writes them; ours follow.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "each key is documented where it is used: ServerConfig"
)]
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

/// A limit as the file has it: 0 is the default, negative is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RateFile {
    /// Events per second.
    pub pps: i64,
    /// Events at once.
    pub burst: i64,
}

/// The limit per address as the file has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HandshakeIpRateFile {
    /// Requests per second.
    pub pps: i64,
    /// Requests at once.
    pub burst: i64,
    /// How long an address is remembered.
    pub ttl: GoDuration,
}

/// Masquerading as the file has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NatFile {
    /// Whether the pool is masqueraded.
    pub enabled: bool,
    /// The interface towards the internet.
    pub external_iface: String,
}

fn default_text(value: &mut String, default: &str) {
    if value.is_empty() {
        default.clone_into(value);
    }
}

fn default_number(value: &mut i64, default: i64) {
    if *value == 0 {
        *value = default;
    }
}

fn default_duration(value: &mut GoDuration, default: GoDuration) {
    if *value == GoDuration::ZERO {
        *value = default;
    }
}

/// The first host of a pool, nothing where the text is no IPv4 network.
fn first_host(pool_cidr: &str) -> String {
    pool_cidr
        .parse::<Ipv4Net>()
        .map(|pool| Ipv4Addr::from(u32::from(pool.network()).wrapping_add(1)).to_string())
        .unwrap_or_default()
}

impl ServerFile {
    /// The same with every default that the Go server fills in. The TLS paths depend on where the
    /// file lies and stay empty here.
    pub fn with_defaults(mut self, cpus: usize) -> Self {
        let cpus = i64::try_from(cpus).unwrap_or(i64::MAX / 4).max(1);
        default_text(&mut self.addr, ":443");
        default_number(&mut self.mtu, 1350);
        default_text(&mut self.tun_name, "qdt0");
        default_text(&mut self.pool_cidr, "10.8.0.0/24");
        let gateway = first_host(&self.pool_cidr);
        default_text(&mut self.gateway_ip, &gateway);
        default_text(&mut self.metrics_addr, ":9100");
        default_text(&mut self.health_addr, ":9200");
        default_duration(&mut self.session_timeout, GoDuration::from_secs(120));
        default_number(&mut self.max_reassembly_bytes, 65535);
        default_number(&mut self.rate_limit.pps, 10_000);
        default_number(&mut self.rate_limit.burst, 20_000);
        default_number(&mut self.handshake_rate.pps, 100);
        default_number(&mut self.handshake_rate.burst, 200);
        default_number(&mut self.handshake_ip_rate.pps, 20);
        default_number(&mut self.handshake_ip_rate.burst, 40);
        default_duration(&mut self.handshake_ip_rate.ttl, GoDuration::from_secs(60));
        default_number(&mut self.send_workers, cpus);
        default_number(&mut self.send_queue, 4096);
        default_number(&mut self.send_batch, 4);
        default_number(&mut self.send_datagram_queue, self.send_queue);
        default_number(&mut self.session_shards, 4 * cpus);
        self
    }
}
