//! The keys of client.yaml, and their defaults.
//!
//! Invariants: zero, an empty text and an absent key all mean the default, or an error for the two
//! keys without one. No other check happens here.

use qdt_program::{ConfigProblem, GoDuration, Token};
use qdt_proto::handshake::DEFAULT_MTU;

use serde::Deserialize;

/// The keys of client.yaml; ours follow those of the Go client.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "each key is documented where it is used: ClientConfig"
)]
pub struct ClientFile {
    pub server: String,
    pub token: Token,
    pub mtu: i64,
    pub tun_name: String,
    pub route_mode: String,
    pub dns: Vec<String>,
    pub log_level: String,
    pub log_json: bool,
    pub insecure: bool,
    pub timeout: GoDuration,
    pub client_id: String,
    pub max_reassembly_bytes: i64,
    pub server_pin: String,
    pub ca_file: String,
    pub probe_interval: GoDuration,
}

impl ClientFile {
    /// Fills in the Go client's defaults.
    ///
    /// # Errors
    /// `server` or `token` is missing.
    pub fn with_defaults(mut self) -> Result<Self, ConfigProblem> {
        if self.server.is_empty() {
            return Err(ConfigProblem::new(
                "server",
                "server is required; write the server's host:port, for example vpn.example.org:443",
            ));
        }
        if self.token.is_empty() {
            return Err(ConfigProblem::new(
                "token",
                "token is required; copy it from the server's server.yaml",
            ));
        }
        let text = |value: &mut String, default: &str| {
            if value.is_empty() {
                default.clone_into(value);
            }
        };
        let number = |value: &mut i64, default| *value = if *value == 0 { default } else { *value };
        let duration = |value: &mut GoDuration, default| {
            if *value == GoDuration::ZERO {
                *value = default;
            }
        };
        number(&mut self.mtu, DEFAULT_MTU);
        text(&mut self.tun_name, "qdt0");
        text(&mut self.route_mode, "default");
        duration(&mut self.timeout, GoDuration::from_secs(10));
        number(&mut self.max_reassembly_bytes, 65535);
        Ok(self)
    }
}
