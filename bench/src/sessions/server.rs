//! The server under test: `qdt-server` as an operator of many clients configures it.
//!
//! Left at their defaults: workers, MTU, queues, log. Changed: a pool of 65,000 addresses, and no
//! limits on packets and handshakes, because the simulated clients all live at one host.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use conformance::{Config, Machine, Metrics, Process, wait_until};

use super::usage;
use crate::programs;
use crate::veth_link::{CLIENT, SERVER, VethLink};

/// Where clients' inner addresses come from.
pub(super) const POOL: &str = "10.8.0.0/16";
/// Where the simulated clients' sockets have their addresses.
pub(super) const OUTSIDE: &str = "10.99.0.0/16";
/// What the clients talk to through the tunnel: an address of the server's machine.
pub(super) const SINK: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// Its TUN device.
pub(super) const DEVICE: &str = "qdt0";
/// Where the tunnel listens.
pub(super) const LISTENS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(SERVER), 443);
const METRICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9100);
const START: Duration = Duration::from_secs(15);

/// A running server.
#[derive(Debug)]
pub(super) struct Server<'veth> {
    machine: &'veth Machine,
    process: Process,
}

impl<'veth> Server<'veth> {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When the program is missing or its files cannot be written.
    ///
    /// # Panics
    /// When it does not become ready.
    pub(super) fn start(veth: &'veth VethLink) -> Result<Self> {
        let machine = &veth.server;
        machine.ip(&format!("address add {SINK}/32 dev lo"));
        machine.ip(&format!("route add {OUTSIDE} via {CLIENT}"));
        let in_folder = |file: &str| {
            let path = machine.folder().join(file);
            path.to_string_lossy().into_owned()
        };
        let config = Config::server()
            .set("addr", "\":443\"")
            .set("pool_cidr", POOL)
            .set("tls_cert", &in_folder("cert.pem"))
            .set("tls_key", &in_folder("key.pem"))
            .set("metrics_addr", "\":9100\"")
            .set("health_addr", "\":9200\"")
            .set("rate_limit", "{pps: -1, burst: -1}")
            .set("handshake_rate", "{pps: -1, burst: -1}")
            .set("handshake_ip_rate", "{pps: -1, burst: -1}");
        let file = machine.folder().join("server.yaml");
        fs::write(&file, config.yaml()).with_context(|| file.display().to_string())?;
        // It holds the token.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))
            .with_context(|| file.display().to_string())?;
        let process = Process::start(
            machine,
            "qdt-server",
            &programs::ours("qdt-server")?,
            &["-config", &file.to_string_lossy()],
        );
        let server = Self { machine, process };
        wait_until("the server's /healthz says ok", START, || {
            matches!(conformance::get(machine, METRICS, "/healthz"), Ok((200, _)))
        });
        Ok(server)
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Processor time so far.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn processor_time(&self) -> Result<Duration> {
        usage::processor_time(self.pid()).context("the server")
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn resident_bytes(&self) -> Result<u64> {
        usage::resident_bytes(self.pid()).context("the server")
    }

    /// Its counters.
    ///
    /// # Errors
    /// When it does not answer.
    pub(super) fn counters(&self) -> Result<Metrics> {
        match conformance::get(self.machine, METRICS, "/metrics") {
            Ok((200, text)) => Ok(Metrics::parse(&text)),
            other => anyhow::bail!("/metrics of the server: {other:?}"),
        }
    }
}
