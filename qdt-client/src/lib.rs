//! The QDT client: the life-cycle of one tunnel.
//!
//! A state machine without I/O ([`Tunnel`]) makes the decisions; a driver ([`drive`]) executes its
//! actions on the packet worker ([`WorkerHandle`]) and on the host ([`TunnelHost`]).
//!
//! Invariants: the host is unchanged before a server's answer has passed all checks
//! ([`Assignment`](qdt_proto::handshake::Assignment)), and every change is reverted before the
//! program exits, or at the next start after it was killed.

mod cause;
pub mod config;
mod dns;
mod driver;
mod failure;
mod host;
mod plan;
mod repair;
mod report;
mod resolver;
mod run;
mod tunnel;
mod worker;

pub use cause::Cause;
pub use config::RouteMode;
pub use driver::drive;
pub use failure::{ClientError, Failure, HostFailure};
pub use host::TunnelHost;
pub use plan::{HostPlan, HostSettings, TunPlan};
pub use resolver::Resolver;
pub use run::{run, run_announcing};
pub use tunnel::{Action, Event, Outcome, Report, Settings, Stage, Tunnel};
pub use worker::{WorkerGone, WorkerHandle};
