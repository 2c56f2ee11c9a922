//! The HTTP listeners of the control side: metrics, health, profiles.
//!
//! What always holds: a listener that cannot be opened costs its own pages and nothing else - the
//! tunnel runs; peers from inside the tunnel are turned away at accept, whatever address of the
//! server they chose; and the number of connections is bounded, so that nobody can use these ports
//! to take the file descriptors that the tunnel needs, nor keep others from their pages by holding
//! connections open.

mod connections;
mod guard;
mod listener;
mod pages;
mod profile;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinSet;
use tracing::{error, info};

pub use connections::MAX_CONNECTIONS;
pub use guard::Guard;
pub use listener::bind;
pub use pages::{Pages, Roles, router};

/// One of the listeners that the configuration names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `metrics_addr`: `/metrics` and `/healthz`.
    Metrics,
    /// `health_addr`: `/healthz`.
    Health,
    /// `pprof_addr`: `/debug/pprof/`.
    Pprof,
}

/// Where a role shall listen: the addresses its configuration text stands for, the first that can
/// be bound is used; or why the text stands for none.
pub type RoleAddress = (Role, Result<Vec<SocketAddr>, String>);

/// The listeners that are open, and their tasks; dropping it closes them.
#[derive(Debug, Default)]
pub struct ControlServer {
    tasks: JoinSet<Roles>,
    open: Vec<(Roles, SocketAddr)>,
}

impl ControlServer {
    /// Opens the listeners. Roles with the same addresses share one. A failure is logged under the
    /// role's name (`metrics server error` and so on) and leaves the others alone.
    #[must_use]
    pub fn start(addresses: Vec<RoleAddress>, pages: &Pages, guard: &Arc<Guard>) -> Self {
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
                    let (guard, pages) = (Arc::clone(guard), router(roles, pages));
                    server.tasks.spawn(async move {
                        listener::serve(socket, guard, pages).await;
                        roles
                    });
                    server.open.push((roles, address));
                }
                Err(reason) => roles.log_failure(&reason),
            }
        }
        server
    }

    /// The roles of a listener that has ended, which none does by itself; waits for ever otherwise.
    pub async fn ended(&mut self) -> Roles {
        match self.tasks.join_next().await {
            Some(ended) => ended.unwrap_or_default(),
            None => std::future::pending().await,
        }
    }

    /// What listens where.
    #[must_use]
    pub fn listening(&self) -> &[(Roles, SocketAddr)] {
        &self.open
    }
}

impl Roles {
    /// One line per role, with the messages that log pipelines match on.
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
