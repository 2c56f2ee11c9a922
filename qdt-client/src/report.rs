//! What the life-cycle tells, in the words and at the level of the log.
//!
//! What always holds here: addresses stay at level debug; the messages that pipelines match on are
//! spelled in this file and in `driver.rs` only.

use tracing::{debug, error, info, warn};

use crate::tunnel::Report;

/// Writes one report to the log.
pub(crate) fn log(report: &Report) {
    match report {
        Report::Retrying {
            failure: Some(failure),
            pause,
        } => {
            warn!(err = %failure, retry_in = ?pause, "connect failed");
        }
        Report::Retrying {
            failure: None,
            pause,
        } => {
            warn!(err = "no answer", retry_in = ?pause, "connect failed");
        }
        Report::WrongCertificate { failure, patience } => {
            error!(
                err = %failure,
                give_up_in = ?patience,
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
        Report::Doubted => info!("no answer from the server, trying another connection"),
        Report::Recovered => info!("the server answers again"),
        Report::PathTooSmall => info!("the path carries only small packets now"),
        Report::DnsEntryRefused(refused) => error!(err = %refused, "set dns failed"),
        Report::ResolveFailed(cause) => warn!(err = %cause, "look-up failed"),
        Report::Resolved(addresses) => debug!(addresses = ?addresses, "server found"),
    }
}
