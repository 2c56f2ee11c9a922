//! A host in memory, for tests of programs that use this crate's traits.
//!
//! [`MemoryHost`] implements every trait, records the installed state and the calls in order, and
//! fails on request. Its clones share one state. TUN queues are real descriptors (a pair of local
//! sockets that keep packet boundaries), so a packet worker can poll them; the test gets the far
//! ends.

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
    /// The warnings that every installation and repair of routes returns.
    pub route_warnings: Vec<RouteWarning>,
    /// Networks without a rule to exempt them until the next repair.
    pub missing_exemptions: Vec<IpNet>,
    /// Address translation by the name of its TUN device.
    pub nat: BTreeMap<String, NatPlan>,
    /// Whether the host forwards.
    pub forwards: bool,
    /// Foreign chains that drop traffic which any plan accepts.
    pub closed_chains: Vec<ClosedChain>,
    /// The networks that the host is connected to.
    pub connected: Vec<ConnectedNetwork>,
    /// The interface of the default route and its source address.
    pub default_route: Option<(String, IpAddr)>,
    /// Name servers by the name of the TUN device.
    pub dns: BTreeMap<String, Vec<IpAddr>>,
    /// The name servers that the host has without a tunnel.
    pub resolvers: HostResolvers,
}

/// The state of one interface of a [`MemoryHost`].
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
    /// Creates a host on which nothing is installed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a copy of the current state.
    #[must_use]
    pub fn state(&self) -> HostState {
        self.lock().state.clone()
    }

    /// Changes the state as an administrator or a killed run would. Every [`MemoryWatch`] reports
    /// it.
    pub fn change(&self, edit: impl FnOnce(&mut HostState)) {
        let mut inner = self.lock();
        edit(&mut inner.state);
        inner.announce(Changes::ALL);
    }

    /// Makes every [`MemoryWatch`] report `changes` without a change of the state.
    pub fn announce(&self, changes: Changes) {
        self.lock().announce(changes);
    }

    /// Returns the calls since the last `take_calls` in order, failed ones included.
    #[must_use]
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.lock().calls)
    }

    /// Makes the next call named `call` (see [`Call::name`]) fail with "operation not permitted".
    /// Called twice, it makes the next two fail.
    pub fn fail_next(&self, call: &'static str) {
        self.lock().failures.push(call);
    }

    /// Returns the far ends of the TUN queues opened since the last `take_far_ends`, in order. A
    /// packet written to a far end is read from its queue, and the reverse.
    #[must_use]
    pub fn take_far_ends(&self) -> Vec<TunQueue> {
        std::mem::take(&mut self.lock().far_ends)
    }

    /// Records the call; `Err` when it is to fail.
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
