//! The configuration in server.yaml, from text to checked values.
//!
//! [`ServerFile`] is the file with the Go server's defaults filled in; [`ServerConfig`] is made
//! from it.
//!
//! Invariants: every value of a [`ServerConfig`] is valid; no existing file is written.

mod checks;
mod file;
mod first_start;
mod keys;
mod values;

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use qdt_program::{HostPort, Loaded, LogConfig, ReadError, Token, read_config_yaml};

pub use file::{HandshakeIpRateFile, NatFile, RateFile, ServerFile};
pub use first_start::first_start_yaml;
pub use keys::{FirstStartValue, KEYS, Key, KeyDefault};

/// The valid configuration, by the part of the server that uses it. Fields have the names of their
/// keys; [`KEYS`] has the defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// Token and certificate; can be reloaded.
    pub credentials: Credentials,
    /// Inner addresses.
    pub addresses: AddressConfig,
    /// The TUN device and the networks that clients reach.
    pub host: HostConfig,
    /// `log_level`, which can be reloaded, and `log_json`.
    pub log: LogConfig,
    /// The listeners for metrics, health and profiles.
    pub control: ControlConfig,
    /// Packet workers.
    pub transport: TransportConfig,
    /// Limits on sessions.
    pub admission: AdmissionConfig,
}

/// Token and certificate, by which client and server authenticate each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Credentials {
    /// The secret of all clients. Never empty, never a placeholder.
    pub token: Token,
    /// PEM chain, relative to the working directory.
    pub tls_cert: PathBuf,
    /// PEM key (PKCS#1, SEC1 or PKCS#8), as above.
    pub tls_key: PathBuf,
}

/// The inner addresses.
#[derive(Clone, Debug, PartialEq)]
pub struct AddressConfig {
    /// `pool_cidr`: the network of inner addresses, prefix at most 30; host bits as written.
    pub pool: IpNet,
    /// `pool_cidr` as the file spells it, for clients.
    pub pool_text: String,
    /// `gateway_ip`: the server's own inner address, a host of the pool.
    pub gateway: IpAddr,
    /// Resolvers for clients, as written.
    pub dns: Vec<String>,
    /// How long the address of a session whose connection is gone is held.
    pub session_timeout: Duration,
}

/// The TUN device and the networks that clients reach.
#[derive(Clone, Debug, PartialEq)]
pub struct HostConfig {
    /// The TUN device's name.
    pub tun_name: String,
    /// Masquerading of the pool; `None` if disabled.
    pub nat: Option<Nat>,
    /// Whether clients may reach each other.
    pub client_to_client: bool,
    /// Link-local addresses (169.254.0.0/16) that clients may reach.
    pub forward_link_local: Vec<IpAddr>,
}

/// The listeners for metrics, health and profiles (TCP).
#[derive(Clone, Debug, PartialEq)]
pub struct ControlConfig {
    /// `/metrics` and `/healthz`.
    pub metrics_addr: HostPort,
    /// `/healthz`; the same text as `metrics_addr` is one listener.
    pub health_addr: HostPort,
    /// Profiles; `None` if disabled.
    pub pprof_addr: Option<HostPort>,
}

/// The packet workers.
#[derive(Clone, Debug, PartialEq)]
pub struct TransportConfig {
    /// UDP address of the tunnel.
    pub addr: HostPort,
    /// Most bytes of a sealed datagram, 576..=65535.
    pub mtu: u16,
    /// Packet workers, 1..=128.
    pub send_workers: u16,
    /// Packets queued for a worker, 1..=2^20.
    pub send_queue: usize,
    /// Packets taken at once, 1..=2^20.
    pub send_batch: usize,
    /// Datagrams queued for a session, 1..=2^20.
    pub send_datagram_queue: usize,
    /// Most bytes of one session's fragments; 0 accepts none.
    pub max_reassembly_bytes: usize,
}

/// Limits on sessions and on their packets.
#[derive(Clone, Debug, PartialEq)]
pub struct AdmissionConfig {
    /// Most sessions; `None` for no limit.
    pub max_sessions: Option<NonZeroUsize>,
    /// Inner packets of one session in one direction.
    pub rate_limit: Option<Rate>,
    /// Requests of all addresses.
    pub handshake_rate: Option<Rate>,
    /// Requests of one address (/32, /64).
    pub handshake_ip_rate: Option<Rate>,
    /// `handshake_ip_rate.ttl`: how long an idle address is remembered.
    pub handshake_ip_ttl: Duration,
    /// Shards of the session table, 1..=65536.
    pub session_shards: usize,
}

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Events per second, at least 1.
    pub pps: u32,
    /// Events at once, at least 1.
    pub burst: u32,
}

/// Masquerading of the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat {
    /// `nat.external_iface`; `None` for the interface of the default route.
    pub external_iface: Option<String>,
}

impl ServerConfig {
    /// Reads and checks the file at `path`; some defaults depend on `cpus`, the number of CPUs.
    ///
    /// # Errors
    /// [`ReadError::NotFound`] for a missing file, which the caller may create; else the fault.
    pub fn load(path: &Path, cpus: usize) -> Result<Loaded<Self>, ReadError> {
        let Loaded {
            config: file,
            mut warnings,
        } = read_config_yaml::<ServerFile>(path)?;
        let directory = path.parent().unwrap_or(Path::new(""));
        let config = checks::check(file, directory, cpus, &mut warnings)
            .map_err(|problem| problem.in_file(path))?;
        Ok(Loaded { config, warnings })
    }
}
