//! Why a server does not start, or ends.

use qdt_host::{FirewallError, LinkError, TunError};
use qdt_program::ResolveError;
use qdt_transport::{CertificateError, StartError};
use tokio::task::JoinError;

use super::overlap::Overlap;
use crate::address::PoolError;

/// One line that names the key, file or device, what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// `pool_cidr` is no pool.
    #[error("pool_cidr: {0}")]
    Pool(#[from] PoolError),
    /// `pool_cidr` is a network that the host uses itself.
    #[error("pool_cidr: {0}")]
    Overlap(Overlap),
    /// `addr` cannot be looked up.
    #[error("addr: {0}")]
    Listen(#[from] ResolveError),
    /// No TUN device.
    #[error(transparent)]
    Tun(#[from] TunError),
    /// The TUN device cannot be set up.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The packet workers do not start; most often `addr` is in use.
    #[error(transparent)]
    Workers(#[from] StartError),
    /// The firewall cannot be changed.
    #[error(transparent)]
    Firewall(#[from] FirewallError),
    /// A packet worker stopped by itself.
    #[error("packet worker {worker} stopped: {reason}")]
    Worker {
        /// Its number.
        worker: usize,
        /// Why.
        reason: String,
    },
    /// A task without which the server does only half its work stopped by itself.
    #[error("the task that {task} stopped, which is a bug in qdt-server: {error:?}")]
    Task {
        /// What the task does.
        task: &'static str,
        /// How it ended.
        error: Option<JoinError>,
    },
}

impl ServeError {
    /// The log message that goes with it, as the Go server words them: `server init error` for what
    /// is wrong before the server listens, `server error` from then on.
    #[must_use]
    pub fn message(&self) -> &'static str {
        match self {
            Self::Workers(_) | Self::Worker { .. } | Self::Task { .. } => "server error",
            _ => "server init error",
        }
    }
}
