//! NAT and forwarding of a server.
//!
//! Invariants: a plan becomes one table per address family, named after the TUN device, installed
//! and replaced in one transaction. The tables filter only packets from and to the device: they
//! accept flows that clients open through the external interface, drop and count everything else.
//! So clients reach the server's LAN only where it is on the external interface, and no host
//! outside opens a flow to a client, except through a port that the server's host forwards (DNAT).

use std::{fmt, future::Future, io};

use ipnet::IpNet;

use crate::SysctlError;

/// Network address translation for one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatPlan {
    /// The name of the TUN device that the clients are behind.
    pub tun: String,
    /// The clients' addresses, which are masqueraded.
    pub pool: IpNet,
    /// The interface to the outside. It need not exist yet, since rules match its name. `None`
    /// while it is unknown: the rules then drop all traffic from clients to the outside.
    pub external_interface: Option<String>,
    /// Whether the kernel may forward from client to client.
    pub client_to_client: bool,
}

/// A snapshot of our rules.
pub trait InstalledRules: fmt::Debug + Clone + PartialEq + Send + Sync + 'static {
    /// Returns whether the ruleset has not changed since, by the kernel's generation counter.
    /// False without such a counter.
    fn is_current(&self) -> bool;

    /// Returns whether our tables exist. After an installation they do, until another program
    /// flushes the ruleset.
    fn has_tables(&self) -> bool;

    /// Returns whether our rules are the same in `other`.
    fn has_same_rules(&self, other: &Self) -> bool;
}

/// Configures NAT and forwarding.
pub trait Firewall: Send + Sync {
    /// The snapshot that [`Firewall::installed`] takes.
    type Rules: InstalledRules;

    /// Installs `plan`. Replaces an earlier plan of the same device, of this run or a killed one.
    fn install(
        &self,
        plan: &NatPlan,
    ) -> impl Future<Output = Result<Vec<FirewallWarning>, FirewallError>> + Send;

    /// Removes everything that this run or an earlier one installed for the device `tun`. Succeeds
    /// where there is nothing to remove.
    fn remove(&self, tun: &str) -> impl Future<Output = Result<(), FirewallError>> + Send;

    /// Removes leftovers of killed runs: those of the device `tun` and of devices that no longer
    /// exist, but not those of a running server with another device. Must be called once the device
    /// is open: only then no other running server has that name.
    fn remove_leftovers(&self, tun: &str)
    -> impl Future<Output = Result<(), FirewallError>> + Send;

    /// Takes a snapshot of the rules of the device `tun`, to compare with the one taken right after
    /// [`Firewall::install`].
    ///
    /// # Errors
    /// [`FirewallError`] where a program cannot be run. Missing rules are not an error.
    fn installed(
        &self,
        tun: &str,
    ) -> impl Future<Output = Result<Self::Rules, FirewallError>> + Send;

    /// Returns foreign chains that drop traffic which `plan` accepts, except those that
    /// [`Firewall::install`] opens.
    ///
    /// # Errors
    /// [`FirewallError`] where the ruleset cannot be read.
    fn closed_chains(
        &self,
        plan: &NatPlan,
    ) -> impl Future<Output = Result<Vec<ClosedChain>, FirewallError>> + Send;

    /// Enables IPv4 forwarding. It stays on at stop, since other programs may rely on it by then.
    ///
    /// # Errors
    /// [`SysctlError`]. Where forwarding is on already this writes nothing and succeeds, also in a
    /// container without write access.
    fn enable_forwarding(&self) -> Result<(), SysctlError>;

    /// Returns whether IPv4 forwarding is on. An unreadable parameter counts as on.
    fn forwards(&self) -> bool;
}

/// A condition that the operator should know of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FirewallWarning {
    /// The external interface does not exist yet.
    #[error(
        "external_iface `{name}` does not exist: nothing leaves through it until it does (check \
         the name if that is not intended)"
    )]
    ExternalInterfaceMissing {
        /// Its name.
        name: String,
    },
}

/// A foreign chain that drops traffic which our rules accept: an accept in one table does not undo
/// a drop in another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClosedChain {
    /// The table's family, `ip` or `inet`.
    pub family: String,
    /// The table.
    pub table: String,
    /// The base chain of the hook `forward`.
    pub chain: String,
    /// Whether a rule of the chain drops; otherwise its policy does.
    pub by_rule: bool,
    /// The TUN device.
    pub tun: String,
    /// The interface to the outside.
    pub external_interface: String,
}

impl fmt::Display for ClosedChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            family,
            table,
            chain,
            by_rule,
            tun,
            external_interface: external,
        } = self;
        let what = if *by_rule { "a rule" } else { "its policy" };
        write!(
            f,
            "the chain `{chain}` of the nftables table `{family} {table}` drops what clients send to \
             the internet or what comes back ({what}): allow it there: \
             nft insert rule {family} {table} {chain} iifname {tun} oifname {external} accept; \
             nft insert rule {family} {table} {chain} iifname {external} oifname {tun} \
             ct state established,related accept"
        )
    }
}

/// Why the firewall could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// An interface name is not safe in a rule.
    #[error("nat: {0}")]
    Name(#[from] crate::InterfaceNameError),
    /// The program `nft` is missing.
    #[error(
        "nat: the program `nft` is missing: install the package nftables (`apt install nftables`)"
    )]
    NftMissing,
    /// The process lacks the permission.
    #[error(
        "nat: `{program}` was refused by the kernel: run as root or give the program CAP_NET_ADMIN \
         ({message})"
    )]
    Permission {
        /// The program.
        program: &'static str,
        /// The first line that it wrote to standard error.
        message: String,
    },
    /// The program failed for another reason.
    #[error("nat: `{program}` failed: {message}")]
    Refused {
        /// The program.
        program: &'static str,
        /// The first line that it wrote to standard error.
        message: String,
    },
    /// The program could not be run.
    #[error("nat: cannot run `{program}`: {source}")]
    Run {
        /// The program.
        program: &'static str,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
}
