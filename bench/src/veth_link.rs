//! Two machines and the veth pair between them, shaped on request.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use conformance::{Machine, ping, wait_until};
use tempfile::TempDir;

/// The server's end of the link.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The client's end of the link.
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The device's name at both ends.
pub(crate) const DEVICE: &str = "eth0";

/// Both machines, for the life of the value.
#[derive(Debug)]
pub(crate) struct VethLink {
    /// Where the clients and senders of uploads run.
    pub(crate) client: Machine,
    /// Where the servers run.
    pub(crate) server: Machine,
    _folder: TempDir,
}

impl VethLink {
    /// Makes the machines and connects them by a veth pair.
    ///
    /// # Errors
    /// When there is no folder for their files.
    ///
    /// # Panics
    /// When the kernel refuses a namespace or a veth pair.
    pub(crate) fn lay() -> Result<Self> {
        let (veth, ()) = Self::lay_with(|client, server| {
            client.ip(&format!(
                "link add {DEVICE} type veth peer name {DEVICE} netns {}",
                server.namespace_path()
            ));
            Ok(())
        })?;
        Ok(veth)
    }

    /// Puts a token bucket (tc-tbf(8)) of `mbit` Mbit/s at both ends' egress: so many bytes at
    /// once, and so long a wait in its queue at most, both in tc's own words.
    ///
    /// # Panics
    /// When tc is missing or refuses.
    pub(crate) fn shape(&self, mbit: u32, burst: &str, latency: &str) {
        let rate = format!("{mbit}mbit");
        for machine in [&self.client, &self.server] {
            machine.run(
                "tc",
                &[
                    "qdisc", "replace", "dev", DEVICE, "root", "tbf", "rate", &rate, "burst",
                    burst, "latency", latency,
                ],
            );
        }
    }

    /// Takes away what [`Self::shape`] put there.
    ///
    /// # Panics
    /// When nothing is there.
    pub(crate) fn unshape(&self) {
        for machine in [&self.client, &self.server] {
            machine.run("tc", &["qdisc", "delete", "dev", DEVICE, "root"]);
        }
    }

    /// Makes the machines and has them connected by `connect`, which gives each a device with the
    /// name [`DEVICE`].
    ///
    /// # Errors
    /// When there is no folder for their files, and those of `connect`.
    ///
    /// # Panics
    /// When the kernel refuses a namespace, or nothing passes between the devices.
    pub(crate) fn lay_with<T>(
        connect: impl FnOnce(&Machine, &Machine) -> Result<T>,
    ) -> Result<(Self, T)> {
        let folder = tempfile::Builder::new()
            .prefix("qdt-bench-")
            .tempdir()
            .context("no folder for the machines' files")?;
        let client = Machine::new("client", folder.path());
        let server = Machine::new("server", folder.path());
        let connected = connect(&client, &server)?;
        for (machine, address) in [(&client, CLIENT), (&server, SERVER)] {
            machine.ip(&format!("address add {address}/24 dev {DEVICE}"));
            machine.ip(&format!("link set {DEVICE} up"));
        }
        wait_until_answered(&client, SERVER);
        let veth = Self {
            client,
            server,
            _folder: folder,
        };
        Ok((veth, connected))
    }
}

/// Waits until `address` answers a ping from `machine`.
pub(crate) fn wait_until_answered(machine: &Machine, address: Ipv4Addr) {
    wait_until(
        &format!("an answer of {address} to the {}", machine.name()),
        Duration::from_secs(15),
        || ping(machine, IpAddr::V4(address), 56, Duration::from_millis(200)).is_some(),
    );
}
