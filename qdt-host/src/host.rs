//! The bundle of everything that a program needs of its machine.
//!
//! Invariants: the parts of a [`Host`] and of its clones belong to one machine (on Linux: one
//! network namespace). Creating one changes nothing on it.

use std::fmt::Debug;

use crate::{
    Conntrack, Dns, Firewall, Links, Network, Outside, OwnerError, OwnerWarning, Routes, TunOpener,
    Watch,
};

/// The machine that a client or a server runs on.
pub trait Host: Debug + Clone + Send + Sync + 'static {
    /// Opens TUN devices.
    type Tun: TunOpener;
    /// Sets up interfaces.
    type Links: Links;
    /// Reads the host's own networks and routes.
    type Network: Network;
    /// Routes a client's traffic into its tunnel.
    type Routes: Routes;
    /// Configures the resolver.
    type Dns: Dns;
    /// Configures NAT and forwarding of a server.
    type Firewall: Firewall;
    /// Deletes flows of former clients.
    type Conntrack: Conntrack + 'static;
    /// Reports changes of the host.
    type Watch: Watch + 'static;
    /// Exclusive ownership of a client's tunnel of one name; released on drop.
    type Owner: Send;

    /// Returns the part that opens TUN devices.
    fn tun(&self) -> &Self::Tun;

    /// Returns the part that sets up interfaces.
    fn links(&self) -> &Self::Links;

    /// Returns the part that reads the host's own network.
    fn network(&self) -> &Self::Network;

    /// Returns the part that routes a client's traffic.
    fn routes(&self) -> &Self::Routes;

    /// Returns the part that configures the resolver.
    fn dns(&self) -> &Self::Dns;

    /// Returns the part that configures NAT and forwarding.
    fn firewall(&self) -> &Self::Firewall;

    /// Opens the connection tracking table. Never fails: each use retries what the system refused.
    fn conntrack(&self) -> Self::Conntrack;

    /// Subscribes to changes of the host. Must be called within a tokio runtime.
    fn watch(&self) -> Self::Watch;

    /// Returns what makes the transport's sockets bypass the tunnel of the device `tun`.
    fn outside(&self, tun: &str) -> Outside;

    /// Claims the tunnel of the device `tun`. The warning says why a second client with the same
    /// device could not be refused.
    ///
    /// # Errors
    /// [`OwnerError`] while another process owns the tunnel or its device; nothing changes then.
    fn claim(&self, tun: &str) -> Result<(Self::Owner, Option<OwnerWarning>), OwnerError>;
}
