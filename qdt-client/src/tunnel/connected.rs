//! The state in which a connection carries the tunnel.
//!
//! What may leave the machine: our QUIC packets to the server, with what is routed into the tunnel;
//! and what is routed elsewhere (in mode `default` the local networks, in mode `cidr` all but the
//! network of inner addresses, in mode `none` whatever the operator did not route). Names are
//! resolved through the tunnel where the client sets the name servers.
//!
//! Invariants: one connection carries the tunnel; a race for another packet size may run in
//! parallel, and the tunnel moves only once that race is won.

use std::net::SocketAddr;
use std::time::Instant;

use qdt_transport::{AttemptId, ClientEvent, PacketSize};

use super::State;
use super::action::Report;
use super::core::Core;
use super::event::{Event, attempt_of};
use super::race::{Race, Sizes, Step, Winner};
use super::reconnecting::Reconnecting;

/// The connection that carries the tunnel, and the race for another one.
#[derive(Debug)]
pub(super) struct Connected {
    attempt: AttemptId,
    address: SocketAddr,
    size: PacketSize,
    since: Instant,
    /// The path no longer carries packets of this size.
    too_small: bool,
    race: Option<Race>,
    upgrade_at: Option<Instant>,
}

impl Connected {
    /// Enters the state, at the first success and with every move to another connection. The host
    /// changes where the answer differs from the previous one.
    pub(super) fn enter(core: &mut Core, now: Instant, winner: Winner) -> State {
        let Winner {
            attempt,
            address: server,
            size,
            assignment,
            took,
            after_silence,
        } = winner;
        let first = core.is_first_success();
        core.move_to(attempt, &assignment, took);
        let (session_id, address) = (assignment.session_id.0, assignment.address);
        core.report(if first {
            Report::Connected {
                session_id,
                address,
                tun_mtu: assignment.tun_mtu(),
                size,
                extensions: assignment.caps.is_some(),
            }
        } else {
            Report::Moved {
                session_id,
                address,
                size,
            }
        });
        let upgrade_at = (size < core.wanted_size() && core.can_move()).then(|| {
            if after_silence {
                now
            } else {
                now + core.size_upgrade.wait()
            }
        });
        State::Connected(Self {
            attempt,
            address: server,
            size,
            since: now,
            too_small: false,
            race: None,
            upgrade_at,
        })
    }

    /// Returns to this state after the suspect connection answered again.
    pub(super) fn recover(self, core: &mut Core, now: Instant) -> State {
        if self.too_small {
            return self.shrink(core, now);
        }
        State::Connected(self)
    }

    /// Records that the suspect connection's size is too large for the path.
    pub(super) fn note_too_small(&mut self) {
        self.too_small |= self.size > PacketSize::Base;
    }

    pub(super) fn attempt(&self) -> AttemptId {
        self.attempt
    }

    pub(super) fn handle_event(mut self, core: &mut Core, now: Instant, event: Event) -> State {
        match event {
            Event::Resolved(result) => {
                // Only the next reconnect needs the addresses, so a failure has no effect.
                let _ = core.resolved(result);
                State::Connected(self)
            }
            Event::Worker(event) if attempt_of(&event) == Some(self.attempt) => {
                self.handle_own(core, now, event)
            }
            Event::Worker(event) => match self.race.take() {
                Some(race) => self.handle_race(core, now, event, race),
                None => {
                    core.close_unexpected(&event);
                    State::Connected(self)
                }
            },
            _ => State::Connected(self),
        }
    }

    fn handle_own(mut self, core: &mut Core, now: Instant, event: ClientEvent) -> State {
        match event {
            ClientEvent::Closed { reason, .. } => {
                let race = self.race.take();
                // A server closes the old connection when it moves the session to the new one.
                if race.is_none() {
                    core.report(Report::Lost { reason });
                }
                Reconnecting::enter(core, now, None, race)
            }
            ClientEvent::Suspect { .. } => {
                core.report(Report::Suspect);
                let race = self.race.take();
                Reconnecting::enter(core, now, Some(self), race)
            }
            ClientEvent::PathTooSmall { .. } if self.size > PacketSize::Base => {
                self.shrink(core, now)
            }
            _ => State::Connected(self),
        }
    }

    /// Starts a race at the smallest size; the tunnel moves once it is won.
    fn shrink(mut self, core: &mut Core, now: Instant) -> State {
        core.report(Report::PathTooSmall);
        self.too_small = true;
        core.size_upgrade.ended(self.since, now);
        if let Some(race) = self.race.take() {
            race.abandon(core);
        }
        self.upgrade_at = None;
        let ends = now + core.settings.timeout;
        let sizes = Sizes::Descending(PacketSize::Base);
        let targets = vec![self.address];
        self.race = Some(Race::start(core, now, targets, sizes, Some(ends)));
        State::Connected(self)
    }

    fn handle_race(
        mut self,
        core: &mut Core,
        now: Instant,
        event: ClientEvent,
        race: Race,
    ) -> State {
        match race.handle_event(core, now, event) {
            Step::Won(mut winner) => {
                // The server answered on the current connection all the time.
                winner.after_silence = false;
                return Self::enter(core, now, winner);
            }
            Step::Failed(race, _) | Step::Running(race) => self.race = Some(race),
        }
        self.check_race(core, now)
    }

    pub(super) fn handle_timeout(mut self, core: &mut Core, now: Instant) -> State {
        if let Some(race) = &mut self.race {
            race.handle_timeout(core, now);
        }
        if self.upgrade_at.is_some_and(|at| at <= now) {
            self.upgrade_at = None;
            let sizes = Sizes::Once(core.wanted_size());
            self.race = Some(Race::start(core, now, vec![self.address], sizes, None));
        }
        self.check_race(core, now)
    }

    /// Ends a race that can no longer be won. An upgrade is tried again later; where the path is
    /// too small and the smallest size got no answer either, the connection is suspect.
    fn check_race(mut self, core: &mut Core, now: Instant) -> State {
        match self.race.take() {
            Some(race) if race.is_over(now) => {
                race.abandon(core);
                if !self.too_small {
                    self.upgrade_at = Some(now + core.size_upgrade.wait());
                    return State::Connected(self);
                }
                core.report(Report::Suspect);
                Reconnecting::enter(core, now, Some(self), None)
            }
            race => State::Connected(Self { race, ..self }),
        }
    }

    pub(super) fn poll_timeout(&self, core: &Core) -> Option<Instant> {
        let race = self.race.as_ref().and_then(|race| race.poll_timeout(core));
        race.into_iter().chain(self.upgrade_at).min()
    }
}
