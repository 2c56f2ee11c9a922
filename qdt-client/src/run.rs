//! The assembly of one client: from its configuration to its exit.
//!
//! Invariants: the tunnel's name is claimed before the first access to the host and released after
//! the last one; what can fail without a change to the host (trust, socket, mark) comes first.

use qdt_host::Host;
use qdt_proto::handshake::Capabilities;
use tracing::warn;

use crate::cause::Cause;
use crate::config::ClientConfig;
use crate::driver::drive;
use crate::failure::HostFailure;
use crate::host::TunnelHost;
use crate::plan::HostSettings;
use crate::resolver;
use crate::tunnel::{Outcome, Settings, Tunnel};
use crate::worker;

/// Runs the tunnel of `config` on `host` until `stop` completes or an error ends it. On return the
/// host is restored.
pub async fn run<H: Host>(
    host: H,
    config: ClientConfig,
    stop: impl Future<Output = ()>,
) -> Outcome {
    run_announcing(host, Capabilities::all(), config, stop).await
}

/// Runs like [`run`] with `caps` as the only capabilities that the client announces and uses.
pub async fn run_announcing<H: Host>(
    host: H,
    caps: Capabilities,
    config: ClientConfig,
    stop: impl Future<Output = ()>,
) -> Outcome {
    // The remains of a tunnel of this name may be removed only while no other process has the name.
    let (owner, warning) = match host.claim(&config.tun_name) {
        Ok(claimed) => claimed,
        Err(error) => return Outcome::Failed(HostFailure::Tun(Cause::new(error)).into()),
    };
    if let Some(warning) = warning {
        warn!(err = %warning, "tun_name is not protected");
    }
    let host = TunnelHost::new(&*config.tun_name, host);
    let (worker, events) = match worker::start(&config, caps, host.outside()) {
        Ok(started) => started,
        Err(error) => return Outcome::Failed(HostFailure::Worker(Cause::new(error)).into()),
    };
    let settings = Settings {
        timeout: config.timeout,
        host: HostSettings {
            tun: config.tun_name.clone(),
            route_mode: config.route_mode,
            dns: config.dns.clone(),
        },
    };
    let tunnel = Tunnel::new(settings, rand::random());
    let resolver = resolver::new(&config, host.outside());
    let outcome = drive(tunnel, worker, events, host, resolver, stop).await;
    drop(owner);
    outcome
}
