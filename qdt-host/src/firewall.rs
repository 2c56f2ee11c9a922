//! What a server lets its clients reach beyond itself: masquerading and forwarding.
//!
//! A plan becomes one table of our own for each address family, named after the TUN device; they
//! are put in place and replaced in one transaction. They decide only about packets that come from
//! or go to the device: out to the external interface and back is open, everything else is dropped
//! and counted. So the server's LAN is reachable only where it is the external interface, and
//! nobody outside reaches a client that did not ask first, except through a port that the host
//! itself forwards (DNAT).

use std::{fmt, future::Future, io};

use ipnet::IpNet;

use crate::SysctlError;

/// Network address translation for one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatPlan {
    /// The name of the TUN device that the clients are behind.
    pub tun: String,
    /// The clients' addresses; they are masqueraded.
    pub pool: IpNet,
    /// The interface to the outside. It need not exist yet: the rules go by name. `None` while it
    /// is not known: nothing leaves then, and what keeps clients and networks apart is in place.
    pub external_interface: Option<String>,
    /// Whether the kernel may forward from the device back into it, from client to client.
    pub client_to_client: bool,
}

/// Our rules as they were read at one moment.
pub trait InstalledRules: fmt::Debug + Clone + PartialEq + Send + Sync + 'static {
    /// Whether nothing has changed in the ruleset since, by the system's own count of changes.
    /// False where nothing is counted.
    fn is_current(&self) -> bool;

    /// Whether our tables are there. They are after an installation, unless another program has
    /// flushed the ruleset since.
    fn has_tables(&self) -> bool;

    /// Whether `other` has the same rules of ours.
    fn has_same_rules(&self, other: &Self) -> bool;
}

/// Installs and removes network address translation, and lets the host forward.
pub trait Firewall: Send + Sync {
    /// What [`Firewall::installed`] reads.
    type Rules: InstalledRules;

    /// Puts `plan` in place of whatever an earlier plan for the same device, of this run or of a
    /// killed one, installed.
    fn install(
        &self,
        plan: &NatPlan,
    ) -> impl Future<Output = Result<Vec<FirewallWarning>, FirewallError>> + Send;

    /// Removes everything that a plan for the device `tun` installed, now or in an earlier run.
    /// Nothing to remove is no error.
    fn remove(&self, tun: &str) -> impl Future<Output = Result<(), FirewallError>> + Send;

    /// Removes what killed runs left behind: what was installed for the device `tun`, and for
    /// devices of other names that do not exist any more; a running server with another device is
    /// left alone. Call it once the device is open: only then is it certain that no other running
    /// server has that name.
    fn remove_leftovers(&self, tun: &str)
    -> impl Future<Output = Result<(), FirewallError>> + Send;

    /// Reads what is in place for the device `tun` now. To be compared with what was read right
    /// after [`Firewall::install`].
    ///
    /// # Errors
    /// [`FirewallError`] where a program cannot be asked. Rules that are not there are no error.
    fn installed(
        &self,
        tun: &str,
    ) -> impl Future<Output = Result<Self::Rules, FirewallError>> + Send;

    /// Finds chains of others that drop what `plan` lets through, unless [`Firewall::install`]
    /// deals with them.
    ///
    /// # Errors
    /// [`FirewallError`] where the ruleset cannot be read.
    fn closed_chains(
        &self,
        plan: &NatPlan,
    ) -> impl Future<Output = Result<Vec<ClosedChain>, FirewallError>> + Send;

    /// Lets the host forward IPv4 packets between interfaces. It is left on: others on this host
    /// may rely on it by the time we stop.
    ///
    /// # Errors
    /// [`SysctlError`]; where the switch is on already nothing is written and there is no error,
    /// also in a container that may not write there.
    fn enable_forwarding(&self) -> Result<(), SysctlError>;

    /// Whether the host forwards IPv4 packets between interfaces. A switch that cannot be read
    /// counts as on.
    fn forwards(&self) -> bool;
}

/// Something that is worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FirewallWarning {
    /// The rules name an interface that does not exist yet.
    #[error(
        "external_iface `{name}` does not exist: nothing leaves through it until it does (check \
         the name if that is not intended)"
    )]
    ExternalInterfaceMissing {
        /// Its name.
        name: String,
    },
}

/// A chain of somebody else that drops what our rules let through: an accept in one table does not
/// undo a drop in another.
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
    /// An interface name cannot stand in a rule.
    #[error("nat: {0}")]
    Name(#[from] crate::InterfaceNameError),
    /// There is no `nft` to call.
    #[error(
        "nat: the program `nft` is missing: install the package nftables (`apt install nftables`)"
    )]
    NftMissing,
    /// The process may not do this.
    #[error(
        "nat: `{program}` was refused by the kernel: run as root or give the program CAP_NET_ADMIN \
         ({message})"
    )]
    Permission {
        /// The program that was called.
        program: &'static str,
        /// The first line of its complaint.
        message: String,
    },
    /// The program refused for another reason.
    #[error("nat: `{program}` failed: {message}")]
    Refused {
        /// The program that was called.
        program: &'static str,
        /// The first line of its complaint.
        message: String,
    },
    /// The program could not be run.
    #[error("nat: cannot run `{program}`: {source}")]
    Run {
        /// The program that was called.
        program: &'static str,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}
