//! One host as a tunnel sees it: every part that a program needs of its machine, in one type.
//!
//! Invariants: the parts of a [`Host`] belong to the same machine (on Linux: network namespace),
//! and so do those of its clones. Making one changes nothing.

use std::fmt::Debug;

use crate::{
    Conntrack, Dns, Firewall, Links, Network, Outside, OwnerError, OwnerWarning, Routes, TunOpener,
    Watch,
};

/// A machine that a client or a server runs on.
pub trait Host: Debug + Clone + Send + Sync + 'static {
    /// Opens TUN devices.
    type Tun: TunOpener;
    /// Sets up interfaces.
    type Links: Links;
    /// Reads the networks and routes that the host has without us.
    type Network: Network;
    /// Directs a client's traffic into its tunnel.
    type Routes: Routes;
    /// Directs name look-ups.
    type Dns: Dns;
    /// Translates and forwards for a server.
    type Firewall: Firewall;
    /// Deletes flows of former clients.
    type Conntrack: Conntrack + 'static;
    /// Reports changes of the host.
    type Watch: Watch + 'static;
    /// The right to a client's tunnel of one name; ends when dropped.
    type Owner: Send;

    /// The part that opens TUN devices.
    fn tun(&self) -> &Self::Tun;

    /// The part that sets up interfaces.
    fn links(&self) -> &Self::Links;

    /// The part that reads the host's own network.
    fn network(&self) -> &Self::Network;

    /// The part that directs a client's traffic.
    fn routes(&self) -> &Self::Routes;

    /// The part that directs name look-ups.
    fn dns(&self) -> &Self::Dns;

    /// The part that translates and forwards.
    fn firewall(&self) -> &Self::Firewall;

    /// Opens the table of flows. Never fails: where the system refuses, each use of it tries again.
    fn conntrack(&self) -> Self::Conntrack;

    /// Watches the host from now on. Must be called within a tokio runtime.
    fn watch(&self) -> Self::Watch;

    /// What the own sockets of the tunnel whose device is called `tun` are given.
    fn outside(&self, tun: &str) -> Outside;

    /// Claims the tunnel whose device is called `tun`. The warning says why a second start could
    /// not be refused.
    ///
    /// # Errors
    /// [`OwnerError`] while another process has the tunnel or its device; nothing is changed then.
    fn claim(&self, tun: &str) -> Result<(Self::Owner, Option<OwnerWarning>), OwnerError>;
}
