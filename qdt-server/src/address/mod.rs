//! The inner addresses: which session has which, and for how long.
//!
//! The [`AddressPool`] knows which addresses are taken and which comes next; [`Leases`] know the
//! owner and state of each taken one; with a [`Ticket`] a client asks for its address again.
//!
//! Invariants: an address has at most one owner; between two owners it is held for
//! `session_timeout` and its conntrack entries are deleted.

mod leases;
mod pool;
mod ticket;

pub use leases::{Claim, Grant, Leases};
pub use pool::{AddressPool, Exhausted, PoolError};
pub use ticket::{
    MAX_TICKET_KEYS, TICKET_KEY_LEN, TICKET_LIFETIME, Ticket, TicketError, TicketSealer,
};
