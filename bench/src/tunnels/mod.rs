//! The contenders: the bare link, our pair with either cipher, and the other tunnels. All of them
//! are up for the whole run, and all but one idle at any moment.

mod go_peer;
mod ours;
pub(crate) mod path_counters;
mod quincy;
mod wireguard;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use conformance::{Machine, Metrics, Process};

use crate::arguments::Arguments;
use crate::veth_link::{self, VethLink};
pub(crate) use ours::Inner;

/// The bare link.
pub(crate) const BARE_LINK: &str = "cable";
/// Our pair with AES-256-GCM inside.
pub(crate) const QDT: &str = "qdt";
/// Our pair with ChaCha20-Poly1305 inside.
pub(crate) const QDT_CHACHA: &str = "qdt-chacha";
/// wireguard-go at both ends.
pub(crate) const WIREGUARD_GO: &str = "wireguard-go";
/// boringtun at both ends.
pub(crate) const BORINGTUN: &str = "boringtun";
/// quincy at both ends.
pub(crate) const QUINCY: &str = "quincy";
/// The stand-in for the deployed Go programs at both ends.
pub(crate) const GO_PEER: &str = "go-peer";

/// One way from the client machine to the server machine.
#[derive(Debug)]
pub(crate) struct Tunnel<'veth> {
    /// Its name in the report.
    pub(crate) name: &'static str,
    /// Which release it is.
    pub(crate) version: String,
    /// The server machine's address on this way.
    pub(crate) address: Ipv4Addr,
    /// The client machine's device on this way.
    pub(crate) device: &'static str,
    processes: Vec<Process>,
    metrics: Option<(&'veth Machine, SocketAddr)>,
}

/// Starts one of them.
type Start = for<'veth> fn(&'veth VethLink, &Arguments) -> Result<Tunnel<'veth>>;

const ALL: [(&str, Start); 7] = [
    (BARE_LINK, |_, _| Ok(Tunnel::bare_cable())),
    (QDT, |veth, arguments| {
        ours::start(veth, Inner::Aes, arguments.mtu)
    }),
    (QDT_CHACHA, |veth, arguments| {
        ours::start(veth, Inner::ChaCha, arguments.mtu)
    }),
    (WIREGUARD_GO, |veth, _| wireguard::start_go(veth)),
    (BORINGTUN, |veth, _| wireguard::start_boringtun(veth)),
    (QUINCY, |veth, _| quincy::start(veth)),
    (GO_PEER, |veth, _| go_peer::start(veth)),
];

impl<'veth> Tunnel<'veth> {
    /// Starts those that were asked for and waits until each carries packets.
    ///
    /// # Errors
    /// When one of them is unknown or missing.
    ///
    /// # Panics
    /// When one of them does not connect.
    pub(crate) fn start_all(veth: &'veth VethLink, arguments: &Arguments) -> Result<Vec<Self>> {
        for name in &arguments.only {
            ensure!(
                ALL.iter().any(|(known, _)| known == name),
                "--only {name}: there are {}",
                ALL.map(|(known, _)| known).join(", ")
            );
        }
        ALL.iter()
            .filter(|(name, _)| {
                arguments.only.is_empty() || arguments.only.iter().any(|only| only == name)
            })
            .map(|(name, start)| start(veth, arguments).with_context(|| (*name).to_owned()))
            .collect()
    }

    fn bare_cable() -> Self {
        Self {
            name: BARE_LINK,
            version: "veth".to_owned(),
            address: veth_link::SERVER,
            device: veth_link::DEVICE,
            processes: Vec::new(),
            metrics: None,
        }
    }

    /// The process ids of both ends, the client's first; the bare link has none.
    pub(crate) fn ends(&self) -> Vec<u32> {
        self.processes.iter().map(Process::pid).collect()
    }

    /// What the server's end wrote so far; nothing for the bare link.
    pub(crate) fn server_log(&self) -> String {
        self.processes
            .last()
            .map(|server| server.stdout() + &server.stderr())
            .unwrap_or_default()
    }

    /// Our server's counters; the other tunnels have none.
    ///
    /// # Panics
    /// When our server does not answer.
    pub(crate) fn counters(&self) -> Option<Metrics> {
        let (machine, address) = self.metrics?;
        match conformance::get(machine, address, "/metrics") {
            Ok((200, text)) => Some(Metrics::parse(&text)),
            other => panic!("/metrics at {address}: {other:?}"),
        }
    }
}

/// Waits until the far end answers through the tunnel.
fn wait_until_answered(veth: &VethLink, address: Ipv4Addr) {
    veth_link::wait_until_answered(&veth.client, address);
}

/// Writes a file into the machine's folder that only its owner may read, because it holds secrets.
fn write_private(machine: &Machine, name: &str, text: &str) -> Result<PathBuf> {
    let path = machine.folder().join(name);
    fs::write(&path, text)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o600)))
        .with_context(|| path.display().to_string())?;
    Ok(path)
}

/// An address of the machine itself.
fn on_loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}
