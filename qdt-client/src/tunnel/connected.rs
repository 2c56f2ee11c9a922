//! A connection carries the tunnel.
//!
//! What may leave the machine: our own QUIC packets to the server, carrying what the routes send
//! into the tunnel; and what the routes never sent there (in mode `default` the local networks,
//! in mode `cidr` all but the network of inner addresses, in mode `none` whatever the operator
//! did not route). Names are looked up through the tunnel where the resolvers are ours to set.
//!
//! What always holds here: one connection carries; another may be tried beside it, to find a
//! better packet size, and the tunnel moves only once that one has answered.

use std::net::SocketAddr;
use std::time::Instant;

use super::State;
use super::action::Report;
use super::core::Core;
use super::event::{Event, attempt_of};
use super::race::{Race, Sizes, Step, Won};
use super::reconnecting::Reconnecting;
use crate::assignment::Assignment;
use qdt_transport::{AttemptId, ClientEvent, PacketSize};

/// The connection that carries, and what is tried beside it.
#[derive(Debug)]
pub(super) struct Connected {
    attempt: AttemptId,
    address: SocketAddr,
    size: PacketSize,
    since: Instant,
    /// The path does not carry packets of this size any more.
    too_small: bool,
    beside: Option<Race>,
    grow_at: Option<Instant>,
}

impl Connected {
    /// The first success, and every move to another connection. The host follows the answer as
    /// far as it differs from the one before.
    pub(super) fn enter(core: &mut Core, now: Instant, won: Won) -> State {
        let Won {
            attempt,
            address: server,
            size,
            assignment,
            took,
            after_silence,
        } = won;
        let first = core.is_first_success();
        core.move_to(attempt, &assignment, took);
        let Assignment {
            session_id,
            address,
            tun_mtu,
            extensions,
            ..
        } = assignment;
        core.report(if first {
            Report::Connected {
                session_id,
                address,
                tun_mtu,
                size,
                extensions,
            }
        } else {
            Report::Moved {
                session_id,
                address,
                size,
            }
        });
        let grow_at = (size < core.wanted_size() && core.can_move()).then(|| {
            if after_silence {
                now
            } else {
                now + core.growth.wait()
            }
        });
        State::Connected(Self {
            attempt,
            address: server,
            size,
            since: now,
            too_small: false,
            beside: None,
            grow_at,
        })
    }

    /// The connection that was in doubt carries on.
    pub(super) fn carry_on(self, core: &mut Core, now: Instant) -> State {
        if self.too_small {
            return self.shrink(core, now);
        }
        State::Connected(self)
    }

    /// While it was in doubt, its size was found to be too large.
    pub(super) fn note_too_small(&mut self) {
        self.too_small |= self.size > PacketSize::Base;
    }

    pub(super) fn attempt(&self) -> AttemptId {
        self.attempt
    }

    pub(super) fn handle_event(mut self, core: &mut Core, now: Instant, event: Event) -> State {
        match event {
            Event::Resolved(result) => {
                // Only the next reconnect needs it; a failure now is of no consequence.
                let _ = core.resolved(result);
                State::Connected(self)
            }
            Event::Link(event) if attempt_of(&event) == Some(self.attempt) => {
                self.handle_own(core, now, event)
            }
            Event::Link(event) => {
                let attempt = attempt_of(&event);
                match self.beside.take() {
                    Some(race) if attempt.is_some_and(|id| race.has(id)) => {
                        self.handle_beside(core, now, event, race)
                    }
                    beside => {
                        core.hang_up_stranger(&event);
                        State::Connected(Self { beside, ..self })
                    }
                }
            }
            _ => State::Connected(self),
        }
    }

    fn handle_own(mut self, core: &mut Core, now: Instant, event: ClientEvent) -> State {
        match event {
            ClientEvent::Closed { reason, .. } => {
                let beside = self.beside.take();
                // A server ends the old connection when it moves the session to the new one.
                if beside.is_none() {
                    core.report(Report::Lost { reason });
                }
                Reconnecting::enter(core, now, None, beside)
            }
            ClientEvent::Suspect { .. } => {
                core.report(Report::Doubted);
                let beside = self.beside.take();
                Reconnecting::enter(core, now, Some(self), beside)
            }
            ClientEvent::PathTooSmall { .. } if self.size > PacketSize::Base => {
                self.shrink(core, now)
            }
            _ => State::Connected(self),
        }
    }

    /// Dials the smallest size beside; the tunnel moves when that answers.
    fn shrink(mut self, core: &mut Core, now: Instant) -> State {
        core.report(Report::PathTooSmall);
        self.too_small = true;
        core.growth.ended(self.since, now);
        if let Some(race) = self.beside.take() {
            race.abandon(core);
        }
        self.grow_at = None;
        let ends = now + core.settings.timeout;
        let sizes = Sizes::Descending(PacketSize::Base);
        self.beside = Some(Race::start(
            core,
            now,
            vec![self.address],
            sizes,
            Some(ends),
        ));
        State::Connected(self)
    }

    fn handle_beside(
        mut self,
        core: &mut Core,
        now: Instant,
        event: ClientEvent,
        race: Race,
    ) -> State {
        match race.handle_event(core, now, event) {
            Step::Won(mut won) => {
                // What was beside a living connection was no silence of the server.
                won.after_silence = false;
                return Self::enter(core, now, won);
            }
            Step::Failed(race, _) | Step::GoesOn(race) => self.beside = Some(race),
        }
        self.settle(core, now)
    }

    pub(super) fn handle_timeout(mut self, core: &mut Core, now: Instant) -> State {
        if let Some(race) = &mut self.beside {
            race.handle_timeout(core, now);
        }
        if self.grow_at.is_some_and(|at| at <= now) {
            self.grow_at = None;
            let sizes = Sizes::Once(core.wanted_size());
            self.beside = Some(Race::start(core, now, vec![self.address], sizes, None));
        }
        self.settle(core, now)
    }

    /// A race beside that cannot be won any more: growing is tried again later, but a path that
    /// is too small and a server that does not answer small packets either is a lost connection.
    fn settle(mut self, core: &mut Core, now: Instant) -> State {
        match self.beside.take() {
            Some(race) if race.is_over(now) => {
                race.abandon(core);
                if !self.too_small {
                    self.grow_at = Some(now + core.growth.wait());
                    return State::Connected(self);
                }
                core.report(Report::Doubted);
                Reconnecting::enter(core, now, Some(self), None)
            }
            beside => State::Connected(Self { beside, ..self }),
        }
    }

    pub(super) fn poll_timeout(&self, core: &Core) -> Option<Instant> {
        let race = self
            .beside
            .as_ref()
            .and_then(|race| race.poll_timeout(core));
        race.into_iter().chain(self.grow_at).min()
    }
}
