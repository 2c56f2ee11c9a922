//! A host in memory, for tests of those who use this crate's traits.
//!
//! [`MemoryHost`] implements every trait, remembers what is installed and the order of the calls,
//! and can be told to fail. Its clones are the same host. TUN queues are real descriptors (a pair
//! of local sockets that keep packet boundaries), so that a packet worker can poll them; the far
//! end of each is given to the test.

mod calls;
mod host;
mod tun;
mod watch;

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard},
};

pub use calls::{Call, MemoryRules};
use ipnet::IpNet;
pub use watch::MemoryWatch;

use tokio::sync::mpsc::UnboundedSender;

use crate::{
    Changes, ClosedChain, ConnectedNetwork, HostResolvers, NatPlan, RoutePlan, RouteWarning,
    TunQueue,
};

/// A host that exists in memory only.
#[derive(Debug, Clone, Default)]
pub struct MemoryHost {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    state: HostState,
    calls: Vec<Call>,
    failures: Vec<&'static str>,
    far_ends: Vec<TunQueue>,
    watchers: Vec<UnboundedSender<Changes>>,
}

/// What is installed on a [`MemoryHost`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostState {
    /// The interfaces that were set up, by name.
    pub links: BTreeMap<String, LinkState>,
    /// Routes by the name of their TUN device.
    pub routes: BTreeMap<String, RoutePlan>,
    /// What the routes cannot help, told at every installation and repair.
    pub route_warnings: Vec<RouteWarning>,
    /// Networks that have no rule to spare them until the next repair.
    pub unspared: Vec<IpNet>,
    /// Address translation by the name of its TUN device.
    pub nat: BTreeMap<String, NatPlan>,
    /// Whether the host forwards.
    pub forwards: bool,
    /// Chains of others that drop what any plan lets through.
    pub closed_chains: Vec<ClosedChain>,
    /// The networks that the host is connected to.
    pub connected: Vec<ConnectedNetwork>,
    /// The interface of the default route, and the address that it gives.
    pub default_route: Option<(String, IpAddr)>,
    /// Name servers by the name of the TUN device.
    pub dns: BTreeMap<String, Vec<IpAddr>>,
    /// The name servers that the host has without a tunnel.
    pub resolvers: HostResolvers,
}

/// What is known of one interface of a [`MemoryHost`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkState {
    /// Its IPv4 address.
    pub address: Option<IpNet>,
    /// Its MTU in bytes.
    pub mtu: Option<u32>,
    /// Whether it is up.
    pub up: bool,
}

impl MemoryHost {
    /// A host on which nothing is installed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is installed at this moment.
    #[must_use]
    pub fn state(&self) -> HostState {
        self.lock().state.clone()
    }

    /// Changes what is installed, as an administrator or a killed run would; a [`MemoryWatch`]
    /// reports it.
    pub fn change(&self, edit: impl FnOnce(&mut HostState)) {
        let mut inner = self.lock();
        edit(&mut inner.state);
        inner.announce(Changes::ALL);
    }

    /// Lets every [`MemoryWatch`] report `changes` although nothing is different.
    pub fn announce(&self, changes: Changes) {
        self.lock().announce(changes);
    }

    /// Every call made since the last time this was asked, in their order, failed ones too.
    #[must_use]
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.lock().calls)
    }

    /// Lets the next call named `call` (see [`Call::name`]) fail with the kernel's "operation not
    /// permitted". Given twice, the next two fail.
    pub fn fail_next(&self, call: &'static str) {
        self.lock().failures.push(call);
    }

    /// The far ends of the TUN queues opened since the last time this was asked, in their order.
    /// What is written here is read from the queue as a packet of the kernel, and the other way.
    #[must_use]
    pub fn take_far_ends(&self) -> Vec<TunQueue> {
        std::mem::take(&mut self.lock().far_ends)
    }

    /// Remembers the call; `Err` when it shall fail.
    fn enter(&self, call: Call) -> Result<MutexGuard<'_, Inner>, io::Error> {
        let mut inner = self.lock();
        let name = call.name();
        inner.calls.push(call);
        match inner.failures.iter().position(|failure| *failure == name) {
            Some(at) => {
                inner.failures.remove(at);
                Err(io::ErrorKind::PermissionDenied.into())
            }
            None => Ok(inner),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .expect("no test panics while it holds the host")
    }
}
