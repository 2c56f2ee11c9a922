//! The part of the life-cycle that all states share.
//!
//! Invariants: attempt ids are never reused, a plan that is in place is not applied again, and the
//! ticket is that of the newest session.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use qdt_proto::handshake::{Assignment, Ticket};
use qdt_transport::{AttemptId, ClientEvent, Dial, PacketSize};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::action::{Action, Report};
use super::backoff::Backoff;
use super::certificate_failures::CertificateFailures;
use super::size_upgrade::SizeUpgrade;
use crate::cause::Cause;
use crate::plan::{HostPlan, HostSettings};

/// The configuration of the life-cycle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The limit for one attempt, from its first packet to the server's answer.
    pub timeout: Duration,
    /// The settings of the host.
    pub host: HostSettings,
}

/// The kind of server, as its answers have shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServerKind {
    /// No answer yet.
    Unknown,
    /// Supports our extensions: a session moves from connection to connection.
    Extended,
    /// Supports none: each connection is a new session.
    Plain,
}

/// The delay between a full-size attempt and one at the smallest size in parallel, while the round
/// trip time is unknown.
const DEFAULT_ATTEMPT_DELAY: Duration = Duration::from_millis(300);

/// A longer answer time includes the first probe timeout (RFC 9002, section 6.2.2: near one second)
/// and says nothing about the round trip time.
const MAX_ANSWER_TIME: Duration = Duration::from_millis(900);

/// The data that outlives a state.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) settings: Settings,
    pub(super) actions: VecDeque<Action>,
    pub(super) rng: StdRng,
    pub(super) backoff: Backoff,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) server: ServerKind,
    pub(super) size_upgrade: SizeUpgrade,
    pub(super) certificate_failures: CertificateFailures,
    ticket: Option<Ticket>,
    host: Option<HostPlan>,
    next_attempt: u64,
    resolving: bool,
    answer_time: Option<Duration>,
}

impl Core {
    pub(super) fn new(settings: Settings, seed: u64) -> Self {
        Self {
            settings,
            actions: VecDeque::new(),
            rng: StdRng::seed_from_u64(seed),
            backoff: Backoff::new(),
            addresses: Vec::new(),
            server: ServerKind::Unknown,
            size_upgrade: SizeUpgrade::new(),
            certificate_failures: CertificateFailures::default(),
            ticket: None,
            host: None,
            next_attempt: 1,
            resolving: false,
            answer_time: None,
        }
    }

    pub(super) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(super) fn report(&mut self, report: Report) {
        self.act(Action::Report(report));
    }

    /// Starts a look-up of the server's name, unless one is running.
    pub(super) fn resolve(&mut self) {
        if !self.resolving {
            self.resolving = true;
            self.act(Action::Resolve);
        }
    }

    /// Takes the result of a look-up. The addresses of an earlier one stay where it found none.
    pub(super) fn resolved(&mut self, result: Result<Vec<SocketAddr>, Cause>) -> Result<(), Cause> {
        self.resolving = false;
        let addresses = result?;
        if addresses.is_empty() {
            return Err(Cause::new("the server's name has no address"));
        }
        if addresses != self.addresses {
            self.report(Report::Resolved(
                addresses.iter().map(SocketAddr::ip).collect(),
            ));
            self.addresses = addresses;
        }
        Ok(())
    }

    /// Starts an attempt and returns its id.
    pub(super) fn dial(&mut self, address: SocketAddr, size: PacketSize) -> AttemptId {
        let attempt = AttemptId(self.next_attempt);
        self.next_attempt += 1;
        let resume = self.ticket.clone();
        self.act(Action::Dial(Dial {
            attempt,
            address,
            size,
            resume,
        }));
        attempt
    }

    /// Closes a connection that no race waits for: it would hold a session at the server.
    pub(super) fn close_unexpected(&mut self, event: &ClientEvent) {
        if let ClientEvent::Established { attempt, .. } = event {
            self.act(Action::Close(*attempt));
        }
    }

    /// Returns whether the session can move to another connection and keep its address.
    pub(super) fn can_move(&self) -> bool {
        self.server == ServerKind::Extended && self.ticket.is_some()
    }

    /// Returns the packet size that a session with this server needs.
    pub(super) fn wanted_size(&self) -> PacketSize {
        match self.server {
            ServerKind::Unknown | ServerKind::Extended => PacketSize::Full,
            ServerKind::Plain => PacketSize::Middle,
        }
    }

    /// Returns the delay before an attempt at another size starts in parallel. Longer than the last
    /// answer took, so that a distant server does not get two requests every time.
    pub(super) fn attempt_delay(&self) -> Duration {
        let delay = self.answer_time.unwrap_or_default() * 3 / 2;
        delay.max(DEFAULT_ATTEMPT_DELAY)
    }

    /// Returns the time that the last answer took, where it says something about the round trip
    /// time.
    pub(super) fn answer_time(&self) -> Option<Duration> {
        self.answer_time
    }

    /// Returns whether no connection has carried the tunnel yet.
    pub(super) fn is_first_success(&self) -> bool {
        self.host.is_none()
    }

    /// Moves the tunnel to a new connection and applies its answer to the host.
    pub(super) fn move_to(&mut self, attempt: AttemptId, assignment: &Assignment, took: Duration) {
        if took <= MAX_ANSWER_TIME {
            self.answer_time = Some(took);
        }
        self.server = if assignment.caps.is_some() {
            ServerKind::Extended
        } else {
            ServerKind::Plain
        };
        self.ticket.clone_from(&assignment.resume);
        self.backoff.reset();
        for entry in &assignment.refused_dns {
            self.report(Report::DnsEntryRefused(entry.clone()));
        }
        let plan = HostPlan::new(&self.settings.host, assignment);
        let before = self.host.replace(plan.clone());
        let before = before.as_ref();
        if before.is_none_or(|before| before.tun != plan.tun) {
            self.act(Action::SetTun(plan.tun));
        }
        // After the device and before its routes: no packet is routed into a tunnel without a
        // connection, and no packet arrives at a device without an address.
        self.act(Action::Adopt(attempt));
        if before.is_none_or(|before| before.routes != plan.routes) {
            self.act(Action::SetRoutes(plan.routes));
        }
        if before.map_or(plan.dns.is_some(), |before| before.dns != plan.dns) {
            self.act(Action::SetDns(plan.dns));
        }
    }

    /// Restores what was changed on the host.
    pub(super) fn restore_host(&mut self) {
        if let Some(plan) = self.host.take() {
            if plan.dns.is_some() {
                self.act(Action::SetDns(None));
            }
            self.act(Action::RemoveRoutes);
        }
    }
}
