//! server.yaml: what the operator wants, from text to a configuration that can be acted upon.
//!
//! Two steps. [`ServerFile`] is the file as it stands, with the defaults filled in exactly as the
//! Go server fills them in. [`ServerConfig`] is made from it once every value has been checked:
//! whoever holds one need not check again. Nothing here writes to an existing file.

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
pub use keys::{FirstStart, KEYS, Key, KeyDefault};

/// Everything the server is told, valid and complete, by who uses it. The fields have the names of
/// the keys; [`KEYS`] has their defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// What proves client and server to each other. Can be reloaded.
    pub credentials: Credentials,
    /// The inner addresses.
    pub addresses: AddressConfig,
    /// The device, and what clients reach behind it.
    pub host: HostConfig,
    /// `log_level`, which can be reloaded, and `log_json`.
    pub log: LogConfig,
    /// The listeners for metrics, health and profiles.
    pub control: ControlConfig,
    /// The packet workers.
    pub transport: TransportConfig,
    /// Who gets a session.
    pub admission: AdmissionConfig,
}

/// What proves client and server to each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Credentials {
    /// What clients must present. Never empty, never a placeholder.
    pub token: Token,
    /// PEM chain, relative to the working directory.
    pub tls_cert: PathBuf,
    /// PEM key (PKCS#1, SEC1 or PKCS#8), as above.
    pub tls_key: PathBuf,
}

/// The inner addresses.
#[derive(Clone, Debug, PartialEq)]
pub struct AddressConfig {
    /// `pool_cidr`: where inner addresses come from, prefix at most 30; host bits as written.
    pub pool: IpNet,
    /// `pool_cidr` as the file spells it: what clients are told.
    pub pool_text: String,
    /// `gateway_ip`: the server's own inner address, a host of the pool.
    pub gateway: IpAddr,
    /// Resolvers that clients are told, as written.
    pub dns: Vec<String>,
    /// How long a session whose connection is gone keeps its address.
    pub session_timeout: Duration,
}

/// The device, and what clients reach behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct HostConfig {
    /// The TUN device, a valid interface name.
    pub tun_name: String,
    /// Masquerading of the pool; none when it is not enabled.
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
    /// Profiling; none is off.
    pub pprof_addr: Option<HostPort>,
}

/// The packet workers.
#[derive(Clone, Debug, PartialEq)]
pub struct TransportConfig {
    /// Where the tunnel listens (UDP).
    pub addr: HostPort,
    /// Bytes of a sealed datagram at most, 576..=65535.
    pub mtu: u16,
    /// Packet workers, 1..=128.
    pub send_workers: u16,
    /// Packets queued for a worker, 1..=2^20.
    pub send_queue: usize,
    /// Packets taken at once, 1..=2^20.
    pub send_batch: usize,
    /// Datagrams queued for a session, 1..=2^20.
    pub send_datagram_queue: usize,
    /// Bytes per session for packets that arrive in fragments; 0 takes none.
    pub max_reassembly_bytes: usize,
}

/// Who gets a session, and what it may send.
#[derive(Clone, Debug, PartialEq)]
pub struct AdmissionConfig {
    /// Sessions at most; none is no limit.
    pub max_sessions: Option<NonZeroUsize>,
    /// Inner packets per second of one session in one direction.
    pub rate_limit: Option<Rate>,
    /// Requests per second in all.
    pub handshake_rate: Option<Rate>,
    /// Requests per second of one address (/32, /64).
    pub handshake_ip_rate: Option<Rate>,
    /// `handshake_ip_rate.ttl`: how long an address is remembered.
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

/// How the pool's traffic leaves the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat {
    /// `nat.external_iface`; none is the interface of the default route.
    pub external_iface: Option<String>,
}

impl ServerConfig {
    /// Reads and checks the file at `path`. `cpus` is the number of CPUs, for the defaults that
    /// depend on it.
    ///
    /// # Errors
    /// [`ReadError::NotFound`] when there is no file: the caller makes one then. Otherwise what is
    /// wrong with it.
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
