//! Who has which inner address, and for how long.
//!
//! Three parts, from the inside out: the [`AddressPool`] knows which addresses are taken and which
//! comes next; [`Leases`] knows for whom each taken address is held - a live session, a session
//! whose connection is gone, or nobody until the kernel has forgotten the previous owner; a
//! [`Ticket`] is what a client carries away, so that it can ask for its address again.
//!
//! What always holds: an address has at most one holder, and it never passes from one holder to
//! another without `session_timeout` and a conntrack clean-up in between.

mod leases;
mod pool;
mod ticket;

pub use leases::{Claim, Grant, Leases};
pub use pool::{AddressPool, Exhausted, PoolError};
pub use ticket::{TICKET_KEY_LEN, TICKET_KEYS, TICKET_LIFETIME, Ticket, TicketError, TicketSealer};
