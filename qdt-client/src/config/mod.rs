//! The client's configuration, from client.yaml to checked values.
//!
//! [`ClientFile`] is the file's content with the Go client's defaults. Invariants: a
//! [`ClientConfig`] holds checked values only.

mod checks;
mod file;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use qdt_program::{HostPort, Loaded, LogConfig, ReadError, Token, read_config_yaml};
use qdt_transport::SpkiPin;

pub use file::ClientFile;

/// The complete configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientConfig {
    /// `server`: the server's name or address and its UDP port. Required.
    pub server: HostPort,
    /// `token`: the server's token. Required, never a placeholder.
    pub token: Token,
    /// `mtu`: bytes of a sealed datagram at most, 576..=65535. Default 1350.
    pub mtu: u16,
    /// `tun_name`: the TUN device, a valid interface name. Default qdt0.
    pub tun_name: String,
    /// `route_mode`: what is routed into the tunnel. Default: everything.
    pub route_mode: RouteMode,
    /// `dns`: name servers that override the server's. Default none.
    pub dns: Vec<IpAddr>,
    /// `log_level` and `log_json`.
    pub log: LogConfig,
    /// `insecure`: whether any certificate is accepted. Default false.
    pub insecure: bool,
    /// `timeout`: the limit for one connection attempt. Default 10s.
    pub timeout: Duration,
    /// `client_id`: the client's name for the server. Default empty.
    pub client_id: String,
    /// `max_reassembly_bytes`: the limit for fragments; 0 drops all. Default 65535.
    pub max_reassembly_bytes: usize,
    /// `server_pin`: the server's key; overrides the checks of name and CA. Default none.
    pub server_pin: Option<SpkiPin>,
    /// `ca_file`: PEM certificates to trust instead of the system's. Default none.
    pub ca_file: Option<PathBuf>,
    /// `probe_interval`: the idle time before a keep-alive probe, at least 100ms. Default none: 5s,
    /// and up to 25s without traffic.
    pub probe_interval: Option<Duration>,
}

/// What is routed into the tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteMode {
    /// Everything but the tunnel's own packets and the local networks.
    #[default]
    Default,
    /// The server's pool only.
    Cidr,
    /// Nothing: the operator sets routes.
    None,
}

impl ClientConfig {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// [`ReadError`] names the file, the key and the remedy.
    pub fn load(path: &Path) -> Result<Loaded<Self>, ReadError> {
        let Loaded {
            config: file,
            mut warnings,
        } = read_config_yaml::<ClientFile>(path)?;
        let in_file = |problem: qdt_program::ConfigProblem| problem.in_file(path);
        let file = file.with_defaults().map_err(in_file)?;
        let config = checks::check(file, &mut warnings).map_err(in_file)?;
        Ok(Loaded { config, warnings })
    }
}
