//! What every state of the life-cycle knows and may do.
//!
//! What always holds here: attempt ids are never reused, a plan that the host already follows is
//! not asked for twice, and the ticket belongs to the newest session.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::action::{Action, Report};
use super::backoff::Backoff;
use super::growth::Growth;
use super::imposture::Imposture;
use crate::assignment::Assignment;
use crate::cause::Cause;
use crate::plan::{HostPlan, HostWishes};
use qdt_transport::{AttemptId, ClientEvent, Dial, PacketSize, Ticket};

/// The part of the configuration that the life-cycle needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long one attempt may take from its first packet to the server's answer.
    pub timeout: Duration,
    /// The largest mtu to accept, in bytes.
    pub mtu: u16,
    /// What to do with the host.
    pub host: HostWishes,
}

/// What the server's answers have shown about its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    /// Nothing yet.
    Unknown,
    /// It confirms extensions: the session can move from connection to connection.
    Extended,
    /// It does not: each connection is a new session.
    Plain,
}

/// How long an attempt stays alone before a smaller one is dialled beside it, as long as nothing
/// is known about the server's distance.
const PATIENCE: Duration = Duration::from_millis(300);

/// An answer that took longer came of a repeated first packet (RFC 9002, section 6.2.2: the first
/// probe timeout is near one second) and says nothing about distance.
const LONGEST_TELLING_ANSWER: Duration = Duration::from_millis(900);

/// The state that outlives the states.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) settings: Settings,
    pub(super) actions: VecDeque<Action>,
    pub(super) rng: StdRng,
    pub(super) backoff: Backoff,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) server: Server,
    pub(super) growth: Growth,
    pub(super) imposture: Imposture,
    ticket: Option<Ticket>,
    host: Option<HostPlan>,
    next_attempt: u64,
    resolving: bool,
    usual_answer: Option<Duration>,
}

impl Core {
    pub(super) fn new(settings: Settings, seed: u64) -> Self {
        Self {
            settings,
            actions: VecDeque::new(),
            rng: StdRng::seed_from_u64(seed),
            backoff: Backoff::new(),
            addresses: Vec::new(),
            server: Server::Unknown,
            growth: Growth::new(),
            imposture: Imposture::default(),
            ticket: None,
            host: None,
            next_attempt: 1,
            resolving: false,
            usual_answer: None,
        }
    }

    pub(super) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(super) fn report(&mut self, report: Report) {
        self.act(Action::Report(report));
    }

    /// Asks for a look-up of the server's name, unless one is under way.
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

    /// Starts an attempt and gives its name.
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

    /// A connection that nobody waits for is not kept: it would hold a place at the server.
    pub(super) fn hang_up_stranger(&mut self, event: &ClientEvent) {
        if let ClientEvent::Established { attempt, .. } = event {
            self.act(Action::Hangup(*attempt));
        }
    }

    /// Whether a session can go from connection to connection with its address.
    pub(super) fn can_move(&self) -> bool {
        self.server == Server::Extended && self.ticket.is_some()
    }

    /// The packet size that a session with this server needs.
    pub(super) fn wanted_size(&self) -> PacketSize {
        match self.server {
            Server::Unknown | Server::Extended => PacketSize::Full,
            Server::Plain => PacketSize::Middle,
        }
    }

    /// How long to wait for an answer before something else is tried beside. Longer than the last
    /// answer took, so that a distant server is not asked twice every time.
    pub(super) fn patience(&self) -> Duration {
        self.usual_answer
            .map_or(PATIENCE, |usual| PATIENCE.max(usual * 3 / 2))
    }

    /// How long the last telling answer took.
    pub(super) fn usual_answer(&self) -> Option<Duration> {
        self.usual_answer
    }

    /// Whether no connection ever carried the tunnel.
    pub(super) fn is_first_success(&self) -> bool {
        self.host.is_none()
    }

    /// Lets a new connection carry the tunnel: the host follows its answer, then it is adopted.
    pub(super) fn move_to(&mut self, attempt: AttemptId, assignment: &Assignment, took: Duration) {
        if took <= LONGEST_TELLING_ANSWER {
            self.usual_answer = Some(took);
        }
        self.server = if assignment.extensions {
            Server::Extended
        } else {
            Server::Plain
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
        // Adopted between the device and its routes: no packet is sent into a tunnel that has no
        // connection, and the connection never delivers into a device without its address.
        self.act(Action::Adopt(attempt));
        if before.is_none_or(|before| before.routes != plan.routes) {
            self.act(Action::SetRoutes(plan.routes));
        }
        if before.map_or(plan.dns.is_some(), |before| before.dns != plan.dns) {
            self.act(Action::SetDns(plan.dns));
        }
    }

    /// Puts the host back, as far as it was changed.
    pub(super) fn restore_host(&mut self) {
        if let Some(plan) = self.host.take() {
            if plan.dns.is_some() {
                self.act(Action::SetDns(None));
            }
            self.act(Action::RemoveRoutes);
        }
    }
}
