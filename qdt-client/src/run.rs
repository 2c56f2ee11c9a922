//! One client from its configuration to its end: the parts are made, put together and driven.
//!
//! What always holds here: the tunnel's name is owned from before the first look at the host to
//! after the last; what can fail without touching the host (trust, socket, mark) comes first.

use qdt_host::Host;
use qdt_proto::handshake::Capabilities;
use tracing::warn;

use crate::cause::Cause;
use crate::config::ClientConfig;
use crate::driver::drive;
use crate::failure::HostFailure;
use crate::host::TunnelHost;
use crate::link::WorkerLink;
use crate::plan::HostWishes;
use crate::resolver;
use crate::tunnel::{Outcome, Settings, Tunnel};

/// Runs the tunnel that `config` describes on `host` until `stop` completes or it cannot go on. The
/// host is as it was found when this returns.
pub async fn run<H: Host>(
    host: H,
    config: ClientConfig,
    stop: impl Future<Output = ()>,
) -> Outcome {
    run_announcing(host, Capabilities::all(), config, stop).await
}

/// As [`run`], announcing only `caps` to the server: what is not announced is not used, as towards
/// a server that does not know it.
pub async fn run_announcing<H: Host>(
    host: H,
    caps: Capabilities,
    config: ClientConfig,
    stop: impl Future<Output = ()>,
) -> Outcome {
    // Whatever is found of a tunnel of this name may be removed only while nobody else has it.
    let (owner, warning) = match host.claim(&config.tun_name) {
        Ok(claimed) => claimed,
        Err(error) => return Outcome::Failed(HostFailure::Tun(Cause::new(error)).into()),
    };
    if let Some(warning) = warning {
        warn!(err = %warning, "tun_name is not protected");
    }
    let host = TunnelHost::new(&*config.tun_name, host);
    let (link, events) = match WorkerLink::start(&config, caps, host.outside()) {
        Ok(started) => started,
        Err(error) => return Outcome::Failed(HostFailure::Worker(Cause::new(error)).into()),
    };
    let settings = Settings {
        timeout: config.timeout,
        mtu: config.mtu,
        host: HostWishes {
            tun: config.tun_name.clone(),
            route_mode: config.route_mode,
            dns: config.dns.clone(),
        },
    };
    let tunnel = Tunnel::new(settings, rand::random());
    let resolver = resolver::new(&config, host.outside());
    let outcome = drive(tunnel, link, events, host, resolver, stop).await;
    drop(owner);
    outcome
}
