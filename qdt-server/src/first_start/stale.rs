//! The check for a stale client.yaml, whose token or pin is no longer the server's.

use std::path::{Path, PathBuf};

use qdt_program::{Loaded, Token, read_config_yaml};
use serde::Deserialize;

use super::client_config::GENERATED_MARK;

/// The part of client.yaml that depends on the server.
#[derive(Deserialize)]
struct ClientFile {
    #[serde(default)]
    token: Token,
    #[serde(default)]
    server_pin: String,
}

/// Returns the path of the client.yaml next to the configuration at `path`.
#[must_use]
pub fn client_config_path(path: &Path) -> PathBuf {
    path.with_file_name("client.yaml")
}

/// Returns the client.yaml next to the configuration at `path` if a first start created it and it
/// does not match `token` and `pin`.
#[must_use]
pub fn stale_client_config(path: &Path, token: &Token, pin: &str) -> Option<PathBuf> {
    let client = client_config_path(path);
    (is_generated(&client) && !matches(&client, token, pin)).then_some(client)
}

/// Returns whether a first start created the configuration `client`.
#[must_use]
pub fn is_generated(client: &Path) -> bool {
    std::fs::read_to_string(client).is_ok_and(|text| text.contains(GENERATED_MARK))
}

/// Returns whether a server with `token` and `pin` accepts clients with the configuration `client`.
pub(super) fn matches(client: &Path, token: &Token, pin: &str) -> bool {
    read_config_yaml::<ClientFile>(client).is_ok_and(|Loaded { config, .. }| {
        config.token == *token && (config.server_pin.is_empty() || config.server_pin == pin)
    })
}
