//! Which name servers the client's host asks while the tunnel is up.
//!
//! Name servers are addresses, never text, so that what a tunnel's server sends can become neither
//! an option of a command nor a line of a file.
//!
//! Whoever installed a plan calls [`Dns::check_and_repair`] whenever the host changed and every few
//! seconds, because other programs (DHCP clients, network managers) write the same settings.

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

/// Directs the host's name look-ups.
pub trait Dns: Send + Sync {
    /// Lets the host ask the servers of `plan`, in place of those of an earlier plan of the same
    /// device.
    fn install(&self, plan: &DnsPlan) -> impl Future<Output = Result<(), DnsError>> + Send;

    /// Gives back what was before the first `install` for the device `tun`. Nothing to give back
    /// is no error.
    fn remove(&self, tun: &str) -> impl Future<Output = Result<(), DnsError>> + Send;

    /// Gives back what a killed run for the device `tun`, or for a device that does not exist any
    /// more, left changed. Nothing to give back is no error.
    fn restore_leftovers(&self, tun: &str) -> impl Future<Output = Result<(), DnsError>> + Send;

    /// Checks that the host asks the servers of `plan`, which was given to `install` before, and
    /// makes it ask them again where another program changed that. What that program wrote is what
    /// `remove` will give back. `None` where there is nothing to do or nothing new to say.
    ///
    /// # Errors
    /// Why the host does not ask these servers, each reason once.
    fn check_and_repair(
        &self,
        plan: &DnsPlan,
    ) -> impl Future<Output = Result<Option<DnsRepair>, DnsError>> + Send;

    /// Returns the name servers that the host has without the tunnel, also while one is installed;
    /// none where none are known. Those are the ones that can be asked outside the tunnel.
    fn host_resolvers(&self) -> HostResolvers;
}

/// What [`Dns::check_and_repair`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsRepair {
    /// Another program had changed this file; it names the servers of the tunnel again.
    PutBack {
        /// The file.
        path: PathBuf,
    },
    /// An earlier attempt had failed, or the host asked another service; the servers of the tunnel
    /// are asked now.
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

/// Why the host's name servers could not be changed or given back.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// The device's name cannot stand in a command.
    #[error("dns: {0}")]
    Name(#[from] crate::InterfaceNameError),
    /// The plan has no server.
    #[error("dns: no name server is given")]
    Empty,
    /// Another tunnel has changed the file and is still up.
    #[error(
        "dns: {path} is in use by the tunnel `{tun}`: stop that client or leave out `dns` here"
    )]
    Held {
        /// The file.
        path: PathBuf,
        /// The other tunnel's device.
        tun: String,
    },
    /// The file may not be written; nothing was changed.
    #[error(
        "dns: cannot write {path}: {source}: the host keeps its own resolvers; make the file \
         writable (`lsattr`, `chattr -i`, `mount -o remount,rw`) or set `dns` of the host yourself"
    )]
    NotWritable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Another program writes the file again and again.
    #[error(
        "dns: {path} was put back {times} times within {seconds} s and another program writes it \
         again: names may be looked up outside the tunnel; stop that program (a DHCP client, \
         NetworkManager) from writing it"
    )]
    Contested {
        /// The file.
        path: PathBuf,
        /// How often it was put back.
        times: usize,
        /// In which time.
        seconds: u64,
    },
    /// A file could not be read or written.
    #[error("dns: cannot {step} {path}: {source}")]
    File {
        /// What was to be done.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// `resolvectl` could not be run.
    #[error("dns: cannot run `resolvectl`: {source}")]
    Run {
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// systemd-resolved hangs.
    #[error(
        "dns: systemd-resolved has not answered `resolvectl` within {limit:?}: see `systemctl \
         status systemd-resolved`"
    )]
    NoAnswer {
        /// How long it was waited for.
        limit: Duration,
    },
    /// `resolvectl` refused.
    #[error("dns: `resolvectl {verb}` failed: {message}")]
    Resolved {
        /// What it was asked to do.
        verb: &'static str,
        /// The first line of its complaint.
        message: String,
    },
}
