//! The HTTP listeners of the control side: metrics, health, profiles.
//!
//! Invariants: a listener that cannot be opened costs its own pages only; peers from inside the
//! tunnel are refused at accept on every address of the server; the number of connections is
//! bounded, so that no peer takes the descriptors that the tunnel needs or blocks the pages by
//! holding connections open.

mod connection_slots;
mod listener;
mod pages;
mod peer_filter;
mod profile;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinSet;
use tracing::{error, info};

pub use connection_slots::MAX_CONNECTIONS;
pub use listener::bind;
pub use pages::{Pages, Roles, router};
pub use peer_filter::PeerFilter;

/// The purpose of a listener, one per configuration key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `metrics_addr`: `/metrics` and `/healthz`.
    Metrics,
    /// `health_addr`: `/healthz`.
    Health,
    /// `pprof_addr`: `/debug/pprof/`.
    Pprof,
}

/// A role and its candidate addresses, of which the first that can be bound is used; or why they
/// could not be resolved.
pub type RoleAddress = (Role, Result<Vec<SocketAddr>, String>);

/// The open listeners; dropping it closes them.
#[derive(Debug, Default)]
pub struct ControlServer {
    tasks: JoinSet<Roles>,
    open: Vec<(Roles, SocketAddr)>,
}

impl ControlServer {
    /// Opens the listeners; roles with the same addresses share one. A failure is logged and
    /// leaves the others alone.
    #[must_use]
    pub fn start(addresses: Vec<RoleAddress>, pages: &Pages, filter: &Arc<PeerFilter>) -> Self {
        let mut groups: Vec<(Roles, Result<Vec<SocketAddr>, String>)> = Vec::new();
        for (role, at) in addresses {
            match groups
                .iter_mut()
                .find(|(_, other)| at.is_ok() && *other == at)
            {
                Some((roles, _)) => *roles = roles.with(role),
                None => groups.push((Roles::default().with(role), at)),
            }
        }
        let mut server = Self::default();
        for (roles, addresses) in groups {
            let opened = addresses.and_then(|addresses| {
                bind(&addresses).map_err(|error| match addresses.as_slice() {
                    [address] => format!("listen tcp {address}: {error}"),
                    _ => format!("listen tcp: {error}"),
                })
            });
            match opened {
                Ok((socket, address)) => {
                    info!(addr = %address, serves = %roles, "control listener");
                    let (filter, pages) = (Arc::clone(filter), router(roles, pages));
                    server.tasks.spawn(async move {
                        listener::serve(socket, filter, pages).await;
                        roles
                    });
                    server.open.push((roles, address));
                }
                Err(reason) => roles.log_failure(&reason),
            }
        }
        server
    }

    /// Waits until the task of a listener ends unasked, which is a bug, and returns its roles.
    pub async fn ended(&mut self) -> Roles {
        match self.tasks.join_next().await {
            Some(ended) => ended.unwrap_or_default(),
            None => std::future::pending().await,
        }
    }

    /// Returns the open listeners with their roles.
    #[must_use]
    pub fn listening(&self) -> &[(Roles, SocketAddr)] {
        &self.open
    }
}

impl Roles {
    /// Logs one line per role; log pipelines match on the messages.
    fn log_failure(self, reason: &str) {
        for role in self.iter() {
            match role {
                Role::Metrics => error!(err = reason, "metrics server error"),
                Role::Health => error!(err = reason, "health server error"),
                Role::Pprof => error!(err = reason, "pprof server error"),
            }
        }
    }
}
