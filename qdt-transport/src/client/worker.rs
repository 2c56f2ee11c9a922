//! The client's part of a worker's turn: its commands.
//!
//! Invariant: the TUN is not read while no connection carries the tunnel; the kernel keeps the
//! packets of programs until it is back.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use quinn_proto::{Endpoint, EndpointConfig};

use super::app::{Attempt, ClientApp, Phase};
use super::{AttemptId, ClientCommand, ClientEvent};
use crate::clock;
use crate::engine::{Engine, Link};
use crate::inner::DataPath;
use crate::tun_port::TunPort;
use crate::udp::{DatagramPort, Steering};
use crate::wake::Waker;
use crate::worker::{Role, Stop, Worker};

/// TUN reads per turn: a super-packet has 50 segments, single packets have few bytes.
const TUN_BUDGET: usize = 32;

/// Runs a worker until a command stops it, then closes every connection without events.
pub(super) fn run(mut worker: Worker<ClientApp>) {
    match worker.run() {
        Stop::Commanded(reason) => {
            let Worker { engine, role, .. } = &mut worker;
            engine
                .links()
                .for_each(|link| link.app.phase = Phase::Closed);
            engine.drain(role, clock::now, reason);
        }
        Stop::Tun(error) | Stop::Poll(error) => {
            let error = format!("poll: {error}");
            worker.role.report(ClientEvent::Broken { error });
        }
    }
}

/// Returns a worker without a thread. QUIC's random numbers come from `seed` or, without one, from
/// the system.
pub(super) fn build<P: DatagramPort>(
    now: Instant,
    role: ClientApp,
    waker: Waker,
    port: P,
    seed: Option<[u8; 32]>,
) -> Worker<ClientApp, P> {
    let mut config = EndpointConfig::default();
    config.rng_seed(seed);
    let endpoint = Endpoint::new(Arc::new(config), None, true, None);
    let counters = role.path.counters.clone();
    let engine = Engine::new(now, endpoint, port, Steering::ALONE, counters);
    Worker::new(engine, role, waker)
}

impl<P: DatagramPort> Role<P> for ClientApp {
    fn path(&mut self) -> &mut DataPath {
        &mut self.path
    }

    fn tun_budget(&self) -> usize {
        if self.tunnels.has_active() {
            TUN_BUDGET
        } else {
            0
        }
    }

    fn send(&mut self, engine: &mut Engine<Self, P>, _now: Instant, read: &mut [u8]) {
        self.send_to_server(engine, read);
    }

    fn tun_failed(&mut self, error: io::Error) -> ControlFlow<Stop> {
        self.path.tun = None;
        let error = error.to_string();
        self.report(ClientEvent::TunFailed { error });
        ControlFlow::Continue(())
    }

    fn woken(&mut self, engine: &mut Engine<Self, P>, now: Instant) -> ControlFlow<Stop> {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                ClientCommand::Dial(dial) => {
                    let (endpoint, port) = engine.endpoint_and_port();
                    if let Some(accepted) = self.dial(now, endpoint, port, dial) {
                        engine.insert(now, accepted);
                    }
                }
                ClientCommand::Adopt(attempt) => self.adopt(engine, now, attempt),
                ClientCommand::Close(attempt) => {
                    if let Some(link) = find(engine, attempt) {
                        self.close(now, link);
                        let handle = link.handle;
                        engine.touch(handle);
                    }
                }
                ClientCommand::AttachTun(queue) => self.path.tun = Some(TunPort::new(queue)),
                ClientCommand::Stop => {
                    return ControlFlow::Break(Stop::Commanded("client stopped"));
                }
            }
        }
        ControlFlow::Continue(())
    }
}

impl ClientApp {
    /// Moves the tunnel to the connection of `attempt`.
    fn adopt(
        &mut self,
        engine: &mut Engine<Self, impl DatagramPort>,
        now: Instant,
        attempt: AttemptId,
    ) {
        let Some(link) = find(engine, attempt) else {
            return;
        };
        let Phase::Established(tunnel, _) = link.app.phase else {
            return;
        };
        link.wake_at(now);
        let handle = link.handle;
        engine.touch(handle);
        if let Some(before) = self.tunnels.activate(tunnel)
            && let Some(link) = before.link(engine)
        {
            self.close(now, link);
            before.touch(engine);
        }
    }
}

fn find<P: DatagramPort>(
    engine: &mut Engine<ClientApp, P>,
    attempt: AttemptId,
) -> Option<&mut Link<Attempt>> {
    engine.links().find(|link| link.app.id == attempt)
}
