//! A client's and a server's worker in one thread, over a network in memory and in simulated time:
//! real QUIC, TLS and sessions, reproducible by a seed.
//!
//! The seed does not determine TLS keys, signatures, nonces and connection ids. They change only
//! the contents of datagrams. A TUN is a pair of local sockets, which drop nothing while each
//! turn's packets fit.

#[path = "../../tests/support/fixtures.rs"]
mod fixtures;
mod lives;
mod network;
mod pending;
mod policy;
mod silence;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use qdt_host::tun::TunQueue;
use qdt_proto::handshake::Ticket;

use crate::client::VirtualClient;
use crate::server::VirtualServer;
use crate::wake::Ready;
use crate::worker::{Role, Worker};
use crate::*;
use fixtures::{GATEWAY, client_settings, inner_address, new_certificate, packet, server_settings};
pub(crate) use network::VirtualPort;
use network::{Conditions, Network, Random};
use policy::Policy;

const SERVER: SocketAddr = SocketAddr::V4(std::net::SocketAddrV4::new(Ipv4Addr::LOCALHOST, 443));

struct VirtualPair {
    now: Instant,
    random: Random,
    network: Rc<RefCell<Network>>,
    server: VirtualServer<Policy>,
    policy: Arc<Policy>,
    server_kernel: TunQueue,
    client: VirtualClient,
    client_address: Rc<Cell<SocketAddr>>,
    client_kernel: TunQueue,
    /// The client's events so far.
    events: Vec<ClientEvent>,
    attempts: u64,
    /// The size of the next attempt.
    size: PacketSize,
    /// The session's inner address, which is also its ticket.
    inner: Option<Ipv4Addr>,
    adopted: bool,
    packets: u32,
}

impl VirtualPair {
    fn new(seed: u64, conditions: Conditions) -> Self {
        let now = Instant::now();
        let mut random = Random::new(seed);
        let network = Rc::new(RefCell::new(Network::new(now, random.next(), conditions)));
        let first = Ipv4Addr::new(10, 8, 0, 2 + random.below(100) as u8);
        let (server, policy, server_kernel) = serve(now, &network, first, random.seed());
        let client_address = Rc::new(Cell::new((Ipv4Addr::new(192, 0, 2, 1), 40_000).into()));
        let port = VirtualPort {
            network: network.clone(),
            address: client_address.clone(),
        };
        let settings = client_settings(&ClientTrust::Anyone);
        let client = VirtualClient::new(now, settings, port, random.seed());
        let (queue, client_kernel) = TunQueue::pair().expect("descriptors");
        let attached = client.commands.send(ClientCommand::AttachTun(queue));
        attached.expect("it runs");
        Self {
            now,
            random,
            network,
            server,
            policy,
            server_kernel,
            client,
            client_address,
            client_kernel,
            events: Vec::new(),
            attempts: 0,
            size: PacketSize::Full,
            inner: None,
            adopted: false,
            packets: 0,
        }
    }

    /// Replaces the server by one without the sessions of the first.
    fn restart_server(&mut self) {
        self.network.borrow_mut().forget(SERVER);
        let first = Ipv4Addr::new(10, 8, 0, 200);
        let seed = self.random.seed();
        (self.server, self.policy, self.server_kernel) =
            serve(self.now, &self.network, first, seed);
    }

    /// Changes the client's source address, like a NAT that lost its mapping.
    fn rebind_client(&mut self) {
        let mut address = self.client_address.get();
        address.set_port(address.port() + 1);
        self.client_address.set(address);
    }

    /// Advances to the next event, at most to `limit`, and runs turns.
    fn step(&mut self, limit: Instant) {
        let next = [
            self.network.borrow().next_arrival(),
            self.client.next_deadline(),
            self.server.next_deadline(),
        ];
        let next = next.into_iter().flatten().min().unwrap_or(limit);
        self.now = next.clamp(self.now, limit);
        self.network.borrow_mut().advance(self.now);
        self.turn();
    }

    /// Runs turns at the current time.
    fn turn(&mut self) {
        self.client.turn(self.now);
        self.server.turn(self.now);
        while let Ok(event) = self.client.events.try_recv() {
            self.react(&event);
            self.events.push(event);
        }
    }

    /// Reacts to `event` like a client program: keeps the tunnel up, at a size that passes.
    fn react(&mut self, event: &ClientEvent) {
        match event {
            ClientEvent::Established {
                attempt,
                assignment,
                ..
            } => {
                let inner = inner_address(assignment);
                assert_eq!(*self.inner.get_or_insert(inner), inner, "the inner address");
                self.command(ClientCommand::Adopt(*attempt));
                self.adopted = true;
            }
            ClientEvent::Failed { .. } => {
                self.size = PacketSize::Base;
                self.dial();
            }
            ClientEvent::Closed { .. } => {
                self.adopted = false;
                self.dial();
            }
            ClientEvent::Suspect { .. } => self.dial(),
            ClientEvent::PathTooSmall { .. } => {
                self.size = PacketSize::Base;
                self.dial();
            }
            ClientEvent::Recovered { .. } | ClientEvent::Refused { .. } => {}
            other => panic!("unexpected: {other:?}"),
        }
    }

    fn dial(&mut self) {
        self.attempts += 1;
        self.command(ClientCommand::Dial(Dial {
            attempt: AttemptId(self.attempts),
            address: SERVER,
            size: self.size,
            resume: self.inner.map(|inner| Ticket::new(inner.to_string())),
        }));
    }

    fn command(&self, command: ClientCommand) {
        self.client.commands.send(command).expect("it runs");
    }

    /// Advances until `condition` holds, for a virtual minute at most.
    fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let limit = self.now + Duration::from_secs(60);
        self.turn();
        while !condition(self) {
            assert!(self.now < limit, "in vain: {what}; {:?}", self.events);
            self.step(limit);
        }
    }

    fn run_for(&mut self, span: Duration) {
        let limit = self.now + span;
        self.turn();
        while self.now < limit {
            self.step(limit);
        }
    }

    fn connect(&mut self) {
        self.dial();
        self.until("a session", |pair| pair.adopted);
        self.turn();
    }

    /// Sends `count` packets of random sizes each way, some milliseconds apart. Returns how many
    /// arrived; panics if one arrives altered or twice.
    fn exchange(&mut self, count: u32) -> [usize; 2] {
        let inner = self.inner.expect("a session");
        let (mut sent, mut received) = ([HashSet::new(), HashSet::new()], [0, 0]);
        let end = self.now + Duration::from_secs(2) + Duration::from_millis(5) * count;
        let mut left = count;
        while self.now < end {
            if left > 0 {
                left -= 1;
                self.packets += 1;
                let len = 64 + self.random.below(1240) as usize;
                let up = numbered_packet(inner, GATEWAY, len, self.packets);
                let down = numbered_packet(GATEWAY, inner, len, self.packets);
                self.client_kernel.write(&up).expect("room");
                self.server_kernel.write(&down).expect("room");
                sent[0].insert(up);
                sent[1].insert(down);
                self.run_for(Duration::from_millis(5));
            } else {
                self.step(end);
            }
            for (way, kernel) in [&self.server_kernel, &self.client_kernel]
                .iter()
                .enumerate()
            {
                let mut buffer = [0; 2048];
                while let Ok(len) = kernel.read(&mut buffer) {
                    let is_one_of_them = sent[way].remove(&buffer[..len]);
                    assert!(is_one_of_them, "altered or duplicated");
                    received[way] += 1;
                }
            }
        }
        received
    }
}

/// Runs turns at `now` until nothing is left to do.
pub(crate) fn run_turns<R: Role<VirtualPort>>(worker: &mut Worker<R, VirtualPort>, now: Instant) {
    loop {
        let ready = Ready {
            udp: true,
            waker: true,
            tun: worker.reads_tun(),
        };
        match worker.turn(now, ready) {
            ControlFlow::Continue(true) => {}
            ControlFlow::Continue(false) => return,
            ControlFlow::Break(_) => panic!("a command stopped it"),
        }
    }
}

/// Returns a server on the network, its policy and the kernel's side of its TUN.
fn serve(
    now: Instant,
    network: &Rc<RefCell<Network>>,
    first: Ipv4Addr,
    seed: [u8; 32],
) -> (VirtualServer<Policy>, Arc<Policy>, TunQueue) {
    let (queue, kernel) = TunQueue::pair().expect("descriptors");
    let settings = server_settings(SERVER, certificate().clone(), vec![queue]);
    let port = VirtualPort {
        network: network.clone(),
        address: Rc::new(Cell::new(SERVER)),
    };
    let policy = Arc::new(Policy::new(first));
    let server = VirtualServer::new(now, settings, policy.clone(), port, seed);
    (server, policy, kernel)
}

/// Returns the certificate of all servers of the process, so that a restarted one has its
/// predecessor's.
fn certificate() -> &'static ServerTls {
    static CERTIFICATE: OnceLock<ServerTls> = OnceLock::new();
    CERTIFICATE.get_or_init(new_certificate)
}

/// Returns a UDP packet of `len` bytes that is unique by its `number`.
fn numbered_packet(from: Ipv4Addr, to: Ipv4Addr, len: usize, number: u32) -> Vec<u8> {
    let mut packet = packet(from, to, len);
    packet[28..32].copy_from_slice(&number.to_be_bytes());
    packet
}
