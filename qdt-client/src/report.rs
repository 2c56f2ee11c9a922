//! The log lines of the life-cycle.
//!
//! Invariants: addresses appear at level debug only; the messages that log pipelines match stand in
//! this file and in `driver.rs` only.

use tracing::{debug, error, info, warn};

use crate::tunnel::Report;

/// Logs one report.
pub(crate) fn log(report: &Report) {
    match report {
        Report::Retrying { failure, pause } => match failure {
            Some(failure) => warn!(err = %failure, retry_in = ?pause, "connect failed"),
            None => warn!(err = "no answer", retry_in = ?pause, "connect failed"),
        },
        Report::WrongCertificate {
            failure,
            give_up_in,
        } => {
            error!(
                err = %failure,
                ?give_up_in,
                "wrong certificate, trying on: the server's own answer may still come"
            );
        }
        Report::Connected {
            session_id,
            address,
            tun_mtu,
            size,
            extensions,
        } => {
            info!(
                id = *session_id,
                mtu = *tun_mtu,
                extensions = *extensions,
                "connected"
            );
            debug!(id = *session_id, ip = %address.addr(), packets = ?size, "session");
        }
        Report::Moved {
            session_id,
            address,
            size,
        } => {
            info!(id = *session_id, "connected again");
            debug!(id = *session_id, ip = %address.addr(), packets = ?size, "session");
        }
        Report::Lost { reason } => warn!(err = %reason, "connection lost"),
        Report::Suspect => info!("no answer from the server, trying another connection"),
        Report::Recovered => info!("the server answers again"),
        Report::PathTooSmall => info!("the path carries only small packets now"),
        Report::DnsEntryRefused(refused) => error!(err = %refused, "set dns failed"),
        Report::ResolveFailed(cause) => warn!(err = %cause, "look-up failed"),
        Report::Resolved(addresses) => debug!(addresses = ?addresses, "server found"),
    }
}
