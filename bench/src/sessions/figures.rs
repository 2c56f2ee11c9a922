//! What was found, and how it stands against the bars.

use serde::Serialize;

use super::carried::{Carried, ServerWork};
use super::sharing::Link;
use crate::statistics::Spread;

/// Idle sessions of one number.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Idle {
    /// How many there were.
    pub(super) sessions: usize,
    /// Sessions that were made for this step.
    pub(super) handshakes: usize,
    /// Full handshakes (QUIC, TLS, HTTP/3, `POST /connect`) per processor second of the server.
    pub(super) handshakes_per_server_second: f64,
    /// The same per second of the clock, with the simulated clients on the same machine.
    pub(super) handshakes_per_second: f64,
    /// Resident memory of the server in MiB.
    pub(super) resident_mib: f64,
    /// Above that of the server with one session, for each of the others, in KiB.
    pub(super) resident_kib_per_session: f64,
    /// Share of one core that the server used while nothing happened, in percent.
    pub(super) idle_percent_of_core: f64,
    /// The same for each session, in millionths of a core.
    pub(super) idle_millionths_per_session: f64,
    /// Share of the machine that other programs used meanwhile, 0 to 1.
    pub(super) foreign: f64,
}

/// TCP through some of the sessions, or outside the tunnel.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Traffic {
    /// What was measured.
    pub(super) name: String,
    /// The link that was shared.
    pub(super) link: String,
    /// Sessions that there were.
    pub(super) sessions: usize,
    /// `up` or `down`, seen from the clients.
    pub(super) way: &'static str,
    /// Payload that arrived, in Gbit/s.
    pub(super) gbit_per_second: Spread,
    /// Processor seconds of the whole machine per Gbit of payload.
    pub(super) machine_seconds_per_gbit: Spread,
    /// Processor seconds of the server per Gbit of payload. This and the next two: nothing without
    /// a tunnel.
    pub(super) server_seconds_per_gbit: Option<Spread>,
    /// Packets that share a call at the server's TUN.
    pub(super) packets_per_tun_call: Option<Spread>,
    /// Datagrams that share a call at the server's sockets.
    pub(super) datagrams_per_train: Option<Spread>,
    /// How evenly connections were served.
    pub(super) jain_index: Spread,
    /// What the connection that got least had of an equal share.
    pub(super) least: Spread,
    /// What the connection that got most had of an equal share.
    pub(super) most: Spread,
    /// Packets and super-packets that a full TUN device dropped, at either end.
    pub(super) dropped_by_devices: Spread,
    /// Segments that TCP sent again, of a million.
    pub(super) resent_per_million: Spread,
    /// Share of the machine that other programs used, 0 to 1, at worst.
    pub(super) foreign: f64,
}

impl Traffic {
    /// The figures of some rounds; nothing of none.
    pub(super) fn of(
        name: &str,
        link: Link,
        sessions: usize,
        way: &'static str,
        rounds: &[Carried],
    ) -> Option<Self> {
        let spread = |figure: fn(&Carried) -> f64| Spread::of(rounds.iter().map(figure));
        let server = |figure: fn(&ServerWork) -> f64| {
            Spread::of(
                rounds
                    .iter()
                    .filter_map(|round| round.server.as_ref().map(figure)),
            )
        };
        Some(Self {
            name: name.to_owned(),
            link: link.to_string(),
            sessions,
            way,
            gbit_per_second: spread(|round| round.gbit_per_second)?,
            machine_seconds_per_gbit: spread(|round| round.machine_seconds_per_gbit)?,
            server_seconds_per_gbit: server(|work| work.seconds_per_gbit),
            packets_per_tun_call: server(|work| work.packets_per_tun_call),
            datagrams_per_train: server(|work| work.datagrams_per_train),
            jain_index: spread(|round| round.jain_index)?,
            least: spread(|round| round.least_and_most[0])?,
            most: spread(|round| round.least_and_most[1])?,
            dropped_by_devices: spread(|round| round.dropped_by_devices)?,
            resent_per_million: spread(|round| round.resent_per_million)?,
            foreign: rounds.iter().map(|round| round.foreign).fold(0.0, f64::max),
        })
    }
}

/// A figure that has to reach something.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Bar {
    /// Which figure, and what it has to reach.
    pub(super) bar: String,
    /// What it is.
    pub(super) figure: f64,
    /// Whether that is enough.
    pub(super) reached: bool,
}

impl Bar {
    pub(super) fn at_most(bar: impl Into<String>, figure: f64, most: f64) -> Self {
        Self {
            bar: bar.into(),
            figure,
            reached: figure <= most,
        }
    }

    pub(super) fn at_least(bar: impl Into<String>, figure: f64, least: f64) -> Self {
        Self {
            bar: bar.into(),
            figure,
            reached: figure >= least,
        }
    }
}
