//! client.yaml: what the user wants, from text to a configuration that can be acted upon.
//!
//! Two steps. [`ClientFile`] is the file as it stands, with the defaults filled in exactly as the
//! Go client fills them in. [`ClientConfig`] is made from it once every value has been checked:
//! whoever holds one need not check again.

mod checks;
mod file;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use qdt_program::{HostPort, Loaded, LogConfig, ReadError, Token, read_config_yaml};
use qdt_transport::SpkiPin;

pub use file::ClientFile;

/// Everything the client is told, valid and complete.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientConfig {
    /// `server`: the server's name or address and its UDP port. Required.
    pub server: HostPort,
    /// `token`: what the server asks for. Required, never a placeholder.
    pub token: Token,
    /// `mtu`: bytes of a sealed datagram at most, 576..=65535. Default 1350.
    pub mtu: u16,
    /// `tun_name`: the TUN device, a valid interface name. Default qdt0.
    pub tun_name: String,
    /// `route_mode`: what goes through the tunnel. Default: everything.
    pub route_mode: RouteMode,
    /// `dns`: resolvers to use instead of the server's. Default none: the server's.
    pub dns: Vec<IpAddr>,
    /// `log_level` and `log_json`.
    pub log: LogConfig,
    /// `insecure`: whether any certificate is accepted. Default false.
    pub insecure: bool,
    /// `timeout`: how long one attempt to connect may take. Default 10s.
    pub timeout: Duration,
    /// `client_id`: how the client names itself to the server. Default empty.
    pub client_id: String,
    /// `max_reassembly_bytes`: for packets that arrive in fragments; 0 takes none. Default 65535.
    pub max_reassembly_bytes: usize,
    /// `server_pin`: the one key the server may have; overrides name and CA checks. Default none.
    pub server_pin: Option<SpkiPin>,
    /// `ca_file`: PEM certificates to trust instead of the system's. Default none.
    pub ca_file: Option<PathBuf>,
    /// `probe_interval`: silence after which the server is asked whether it lives, at least 100ms.
    /// Default none: 5s, and up to 25s while nothing travels.
    pub probe_interval: Option<Duration>,
}

/// What goes through the tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteMode {
    /// Everything but the way to the server.
    #[default]
    Default,
    /// Only the server's pool.
    Cidr,
    /// Nothing: the user sets routes.
    None,
}

impl ClientConfig {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// What is wrong, with file, key and remedy.
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
