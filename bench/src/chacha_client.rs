//! Our client as a server without `aes-256-gcm` leaves it: ChaCha20-Poly1305 inside, as between
//! one of our programs and a Go program. It is `qdt-client` in everything else.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use qdt_client::config::ClientConfig;
use qdt_client::{Outcome, run_announcing};
use qdt_host::LinuxHost;
use qdt_program::Loaded;
use qdt_proto::handshake::Capability;

/// Runs until it is killed or cannot go on.
///
/// # Errors
/// A wrong configuration, or the end of the tunnel.
pub(crate) fn run(config: &Path) -> Result<ExitCode> {
    let Loaded { config, .. } = ClientConfig::load(config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    let caps = [Capability::Ping, Capability::Close].into_iter().collect();
    match runtime.block_on(run_announcing(
        LinuxHost::default(),
        caps,
        config,
        std::future::pending(),
    )) {
        Outcome::Signal => Ok(ExitCode::SUCCESS),
        Outcome::Failed(error) => bail!("{error}"),
    }
}
