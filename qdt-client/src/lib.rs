//! The QDT client: the life-cycle of one tunnel.
//!
//! The decisions are a state machine without I/O ([`Tunnel`]), fed by and feeding a thin driver
//! ([`drive`]) that carries actions out on the packet worker ([`Link`]) and on the host
//! ([`TunnelHost`]).
//! What always holds: nothing on the host is changed before a server has answered with something
//! sane ([`Assignment`]), and whatever was changed is put back before the program ends, or at its
//! next start where it was killed.

mod assignment;
mod cause;
pub mod config;
mod dns;
mod driver;
mod failure;
mod host;
mod link;
mod plan;
mod repair;
mod report;
mod resolver;
mod run;
mod tunnel;

pub use assignment::{Assignment, AssignmentError, DnsEntryError};
pub use cause::Cause;
pub use config::RouteMode;
pub use driver::drive;
pub use failure::{ClientError, Failure, HostFailure};
pub use host::TunnelHost;
pub use link::{Link, LinkGone, MemoryLink};
pub use plan::{HostPlan, HostWishes, TunPlan};
pub use resolver::Resolver;
pub use run::{run, run_announcing};
pub use tunnel::{Action, Event, Outcome, Report, Settings, Stage, Tunnel};
