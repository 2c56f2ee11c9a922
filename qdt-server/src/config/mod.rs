//! server.yaml: what the operator wants, from text to a configuration that can be acted upon.
//!
//! Two steps. [`ServerFile`] is the file as it stands, with the defaults filled in exactly as the
//! Go server fills them in. [`ServerConfig`] is made from it once every value has been checked:
//! whoever holds one need not check again. Nothing here writes to an existing file.

mod checks;
mod file;
mod first_start;
mod keys;

use std::net::Ipv4Addr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::Ipv4Net;
use qdt_program::{HostPort, Loaded, LogConfig, ReadError, Token, read_config_yaml};

pub use file::{HandshakeIpRateFile, NatFile, RateFile, ServerFile};
pub use first_start::first_start_yaml;
pub use keys::{FirstStart, KEYS, Key, KeyDefault};

/// Everything the server is told, valid and complete.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// `addr`: where the tunnel listens (UDP). Default `:443`, every address.
    pub addr: HostPort,
    /// `tls_cert`: PEM chain, relative to the working directory. Default: cert.pem beside the
    /// configuration.
    pub tls_cert: PathBuf,
    /// `tls_key`: PEM key (PKCS#1, SEC1 or PKCS#8), as above. Default: key.pem beside the
    /// configuration.
    pub tls_key: PathBuf,
    /// `token`: what clients must present. Never empty, never a placeholder.
    pub token: Token,
    /// `mtu`: bytes of a sealed datagram at most, 576..=65535. Default 1350.
    pub mtu: u16,
    /// `tun_name`: the TUN device, a valid interface name. Default qdt0.
    pub tun_name: String,
    /// `pool_cidr`: where inner addresses come from, prefix at most 30; host bits as written.
    /// Default 10.8.0.0/24.
    pub pool: Ipv4Net,
    /// `pool_cidr` as the file spells it: what clients are told.
    pub pool_text: String,
    /// `gateway_ip`: the server's own inner address, a host of the pool. Default: its first host.
    pub gateway: Ipv4Addr,
    /// `dns`: resolvers that clients are told, as written. Default none.
    pub dns: Vec<String>,
    /// `metrics_addr`: TCP, `/metrics` and `/healthz`. Default `:9100`.
    pub metrics_addr: HostPort,
    /// `health_addr`: TCP, `/healthz`; the same text as `metrics_addr` is one listener. Default
    /// `:9200`.
    pub health_addr: HostPort,
    /// `pprof_addr`: TCP, profiling. Default off.
    pub pprof_addr: Option<HostPort>,
    /// `log_level` and `log_json`.
    pub log: LogConfig,
    /// `session_timeout`: how long a session whose connection is gone keeps its address. Default
    /// 2m.
    pub session_timeout: Duration,
    /// `max_reassembly_bytes`: per session, for packets that arrive in fragments; 0 takes none.
    /// Default 65535.
    pub max_reassembly_bytes: usize,
    /// `max_sessions`: none is no limit, the default.
    pub max_sessions: Option<NonZeroUsize>,
    /// `rate_limit`: inner packets per second of one session in one direction. Default 10000, burst
    /// 20000.
    pub rate_limit: Option<Rate>,
    /// `handshake_rate`: requests per second in all. Default 100, burst 200.
    pub handshake_rate: Option<Rate>,
    /// `handshake_ip_rate`: requests per second of one address (/32, /64). Default 20, burst 40.
    pub handshake_ip_rate: Option<Rate>,
    /// `handshake_ip_rate.ttl`: how long an address is remembered. Default 1m.
    pub handshake_ip_ttl: Duration,
    /// `send_workers`: packet workers, 1..=256. Default: CPUs.
    pub send_workers: usize,
    /// `send_queue`: packets queued for a worker, 1..=2^20. Default 4096.
    pub send_queue: usize,
    /// `send_batch`: packets taken at once, 1..=2^20. Default 4.
    pub send_batch: usize,
    /// `send_datagram_queue`: datagrams queued for a session, 1..=2^20. Default: `send_queue`.
    pub send_datagram_queue: usize,
    /// `session_shards`: shards of the session table, 1..=65536. Default: 4 x CPUs.
    pub session_shards: usize,
    /// `nat`: masquerading of the pool; none when it is not enabled, the default.
    pub nat: Option<Nat>,
    /// `client_to_client`: whether clients may reach each other. Default false.
    pub client_to_client: bool,
    /// `forward_link_local`: link-local addresses (169.254.0.0/16) that clients may reach. Default
    /// none.
    pub forward_link_local: Vec<Ipv4Addr>,
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
