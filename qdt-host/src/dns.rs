//! Name servers of a client's host while the tunnel is up.
//!
//! Invariants: a name server is an address, never text, so nothing that a server sends becomes an
//! option of a command or a line of a file.
//!
//! The client calls [`Dns::check_and_repair`] after every change of the host and every few seconds,
//! because DHCP clients and network managers write the same settings.

use std::{fmt, future::Future, io, net::IpAddr, path::PathBuf, time::Duration};

use crate::HostResolvers;

/// The name servers of one tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsPlan {
    /// The name of the TUN device.
    pub tun: String,
    /// The servers in order of preference; at least one.
    pub servers: Vec<IpAddr>,
}

/// Configures the host's resolver.
pub trait Dns: Send + Sync {
    /// Makes the host query the servers of `plan`. Replaces an earlier plan of the same device.
    fn install(&self, plan: &DnsPlan) -> impl Future<Output = Result<(), DnsError>> + Send;

    /// Restores the configuration from before the first `install` for the device `tun`. Succeeds
    /// where there is nothing to restore.
    fn remove(&self, tun: &str) -> impl Future<Output = Result<(), DnsError>> + Send;

    /// Restores what a killed run changed for the device `tun` or for a device that no longer
    /// exists. Succeeds where there is nothing to restore.
    fn restore_leftovers(&self, tun: &str) -> impl Future<Output = Result<(), DnsError>> + Send;

    /// Checks that the host queries the servers of `plan`, which `install` took before, and
    /// reinstalls them where another program changed that. `remove` will restore what that program
    /// wrote. Returns `None` where nothing was repaired.
    ///
    /// # Errors
    /// Why the host does not query these servers. A reason that was returned already gives `None`.
    fn check_and_repair(
        &self,
        plan: &DnsPlan,
    ) -> impl Future<Output = Result<Option<DnsRepair>, DnsError>> + Send;

    /// Returns the name servers that the host has without the tunnel, also while a plan is
    /// installed; empty where none are known. They can be queried outside the tunnel.
    fn host_resolvers(&self) -> HostResolvers;
}

/// A repair by [`Dns::check_and_repair`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsRepair {
    /// Another program had changed this file; it names the tunnel's servers again.
    PutBack {
        /// The file.
        path: PathBuf,
    },
    /// An earlier attempt had failed, or the host had switched to another resolver; it queries the
    /// tunnel's servers now.
    Installed,
}

impl fmt::Display for DnsRepair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PutBack { path } => write!(f, "{}", path.display()),
            Self::Installed => f.write_str("the tunnel's name servers"),
        }
    }
}

/// Why the host's name servers could not be changed or restored.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// The device's name is not safe in a command.
    #[error("dns: {0}")]
    Name(#[from] crate::InterfaceNameError),
    /// The plan has no server.
    #[error("dns: no name server is given")]
    Empty,
    /// Another tunnel that is still up has changed the file.
    #[error(
        "dns: {path} is in use by the tunnel `{tun}`: stop that client or leave out `dns` here"
    )]
    Held {
        /// The file.
        path: PathBuf,
        /// The other tunnel's device.
        tun: String,
    },
    /// The process may not write the file; nothing was changed.
    #[error(
        "dns: cannot write {path}: {source}: the host keeps its own resolvers; make the file \
         writable (`lsattr`, `chattr -i`, `mount -o remount,rw`) or set `dns` of the host yourself"
    )]
    NotWritable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// Another program keeps rewriting the file.
    #[error(
        "dns: {path} was put back {times} times within {seconds} s and another program writes it \
         again: names may be looked up outside the tunnel; stop that program (a DHCP client, \
         NetworkManager) from writing it"
    )]
    Contested {
        /// The file.
        path: PathBuf,
        /// The number of repairs.
        times: usize,
        /// The time in which they were made, in seconds.
        seconds: u64,
    },
    /// A file could not be read or written.
    #[error("dns: cannot {step} {path}: {source}")]
    File {
        /// The operation that failed.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// `resolvectl` could not be run.
    #[error("dns: cannot run `resolvectl`: {source}")]
    Run {
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// systemd-resolved did not answer in time.
    #[error(
        "dns: systemd-resolved has not answered `resolvectl` within {limit:?}: see `systemctl \
         status systemd-resolved`"
    )]
    NoAnswer {
        /// The timeout.
        limit: Duration,
    },
    /// `resolvectl` failed.
    #[error("dns: `resolvectl {verb}` failed: {message}")]
    Resolved {
        /// Its subcommand.
        verb: &'static str,
        /// The first line that it wrote to standard error.
        message: String,
    },
}
