//! A client.yaml beside server.yaml that no longer lets anybody in.

use std::path::{Path, PathBuf};

use qdt_program::{Loaded, Token, read_config_yaml};
use serde::Deserialize;

use super::client_config::MADE_BY;

/// What of a client.yaml depends on the server.
#[derive(Deserialize)]
struct ClientFile {
    #[serde(default)]
    token: Token,
    #[serde(default)]
    server_pin: String,
}

/// Where the client.yaml of the configuration at `path` is.
#[must_use]
pub fn client_config_path(path: &Path) -> PathBuf {
    path.with_file_name("client.yaml")
}

/// The client.yaml beside the configuration at `path`, if a first start of this program made it
/// and it has another token than the server now, or another pin than its certificate.
#[must_use]
pub fn stale_client_config(path: &Path, token: &Token, pin: &str) -> Option<PathBuf> {
    let client = client_config_path(path);
    (is_made_here(&client) && !fits(&client, token, pin)).then_some(client)
}

/// Whether a first start of this program made the configuration `client`.
#[must_use]
pub fn is_made_here(client: &Path) -> bool {
    std::fs::read_to_string(client).is_ok_and(|text| text.contains(MADE_BY))
}

/// Whether a client with the configuration `client` is let in by a server with `token` and `pin`.
pub(super) fn fits(client: &Path, token: &Token, pin: &str) -> bool {
    read_config_yaml::<ClientFile>(client).is_ok_and(|Loaded { config, .. }| {
        config.token == *token && (config.server_pin.is_empty() || config.server_pin == pin)
    })
}
