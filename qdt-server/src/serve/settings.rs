//! The settings of the server's parts, from the configuration.

use std::net::SocketAddr;

use qdt_host::TunQueue;
use qdt_program::{HostPort, Protocol, ResolveError};
use qdt_transport::{Pool, ServerSettings, ServerTls, SessionLimits};
use rustix::net::{AddressFamily, SocketType};

use crate::admission::AdmissionSettings;
use crate::config::{ControlConfig, Rate, ServerConfig, TransportConfig};
use crate::control::{Role, RoleAddress};

/// The limit on wrong tokens where `handshake_ip_rate` is off: guessing is never unlimited.
const DEFAULT_GUESSES: Rate = Rate { pps: 20, burst: 40 };

/// Returns the UDP address to listen on: the first candidate whose family the kernel supports.
pub(super) fn listen_address(config: &TransportConfig) -> Result<SocketAddr, ResolveError> {
    let candidates = config.addr.listen_address(Protocol::Udp)?.candidates();
    let supported = |address: &SocketAddr| {
        let family = if address.is_ipv6() {
            AddressFamily::INET6
        } else {
            AddressFamily::INET
        };
        rustix::net::socket(family, SocketType::DGRAM, None).is_ok()
    };
    let found = candidates.iter().copied().find(supported);
    Ok(found.unwrap_or(candidates[0]))
}

/// Returns the TCP addresses of the control listeners; a failed look-up costs only its own pages.
pub(super) fn control_addresses(config: &ControlConfig) -> Vec<RoleAddress> {
    let look_up = |address: &HostPort| {
        address
            .listen_address(Protocol::Tcp)
            .map(|address| address.candidates())
            .map_err(|error| error.to_string())
    };
    let mut addresses = vec![
        (Role::Metrics, look_up(&config.metrics_addr)),
        (Role::Health, look_up(&config.health_addr)),
    ];
    if let Some(address) = &config.pprof_addr {
        addresses.push((Role::Pprof, look_up(address)));
    }
    addresses
}

pub(super) fn admission(config: &ServerConfig) -> AdmissionSettings {
    let ServerConfig {
        addresses,
        admission,
        transport,
        ..
    } = config;
    AdmissionSettings {
        cidr: addresses.pool_text.clone(),
        gateway: addresses.gateway,
        dns: addresses.dns.clone(),
        mtu: transport.mtu,
        max_sessions: admission.max_sessions.map(Into::into),
        handshakes: admission.handshake_rate,
        handshakes_per_address: admission.handshake_ip_rate,
        guesses_per_address: admission.handshake_ip_rate.unwrap_or(DEFAULT_GUESSES),
        limit_ttl: admission.handshake_ip_ttl,
        session_limits: admission
            .rate_limit
            .map_or(SessionLimits::OFF, |Rate { pps, burst }| SessionLimits {
                pps,
                burst,
            }),
        session_timeout: addresses.session_timeout,
        session_shards: admission.session_shards,
    }
}

pub(super) fn transport(
    config: &ServerConfig,
    listen: SocketAddr,
    tls: ServerTls,
    queues: Vec<TunQueue>,
    pool: Pool,
) -> ServerSettings {
    let ServerConfig {
        addresses,
        host,
        transport,
        ..
    } = config;
    ServerSettings {
        addr: listen,
        tls,
        queues,
        pool,
        gateway: addresses.gateway,
        client_to_client: host.client_to_client,
        forward_link_local: host.forward_link_local.clone(),
        max_reassembly_bytes: transport.max_reassembly_bytes,
        idle_timeout: addresses.session_timeout,
        datagram_queue: transport.send_datagram_queue,
        mtu: transport.mtu,
        handover_queue: transport.send_queue,
        tun_reads_per_turn: transport.send_batch,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The configuration from these lines of server.yaml and a token.
    fn config(lines: &str) -> ServerConfig {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.yaml");
        std::fs::write(&path, format!("token: 0123456789abcdef\n{lines}")).unwrap();
        ServerConfig::load(Path::new(&path), 2).unwrap().config
    }

    #[test]
    fn a_limit_that_is_off_is_none_but_guessing_stays_limited() {
        let off = config(
            "rate_limit: {pps: -1}\nhandshake_rate: {burst: -1}\nhandshake_ip_rate: {pps: -5}\n",
        );
        let settings = admission(&off);
        assert_eq!(settings.session_limits, SessionLimits::OFF);
        assert_eq!(
            (settings.handshakes, settings.handshakes_per_address),
            (None, None)
        );
        assert_eq!(settings.guesses_per_address, DEFAULT_GUESSES);
    }

    #[test]
    fn guesses_have_the_limit_of_handshakes_per_address() {
        let settings = admission(&config("handshake_ip_rate: {pps: 3, burst: 7, ttl: 9s}\n"));
        assert_eq!(settings.guesses_per_address, Rate { pps: 3, burst: 7 });
        assert_eq!(
            settings.handshakes_per_address,
            Some(Rate { pps: 3, burst: 7 })
        );
        assert_eq!(settings.limit_ttl.as_secs(), 9);
    }

    #[test]
    fn an_empty_host_listens_on_ipv4_and_ipv6() {
        let any = listen_address(&config("addr: ':4433'\n").transport).unwrap();
        assert_eq!(any.to_string(), "[::]:4433");
        let one = listen_address(&config("addr: 127.0.0.1:4433\n").transport).unwrap();
        assert_eq!(one.to_string(), "127.0.0.1:4433");
    }

    #[test]
    fn a_control_address_that_cannot_be_looked_up_costs_only_its_own_role() {
        let addresses = control_addresses(
            &config("metrics_addr: ':no-such-service'\npprof_addr: 127.0.0.1:6060\n").control,
        );
        let roles: Vec<_> = addresses
            .iter()
            .map(|(role, at)| (*role, at.is_ok()))
            .collect();
        assert_eq!(
            roles,
            [
                (Role::Metrics, false),
                (Role::Health, true),
                (Role::Pprof, true)
            ]
        );
    }
}
