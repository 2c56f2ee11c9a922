//! The parity probe: speaks HTTP/3 to any server, sends every recorded request and many more, and
//! compares what comes with the documented table.
//!
//! It knows host, port and token, and nothing else of the server: what it needs besides it learns
//! from the first session. `table` has the documented answers, `checks` the requests with their
//! expected ends, `compare` what may differ, `run` the order of events. The answers of a server are
//! judged to the byte, except for the value of `date`, the order of headers and `mtu` up to the
//! documented clamp.
//!
//! The probe is not wholly independent of the server: qdt-proto derives the keys of its sessions,
//! splits responses into events, and writes the heads that use the static table.

mod checks;
mod compare;
mod exchange;
mod extensions;
mod library;
mod living;
mod metrics;
mod report;
mod request;
mod run;
mod session;
mod table;

pub use report::{CheckStatus, Line, Report, remarks};
pub use run::{CannotProbe, Options, run};
pub use table::Dialect;
