//! A server and clients in one process over loopback: real QUIC, with socket pairs instead of TUN
//! devices, so that no privilege is needed. The policy is minimal: it checks the token and assigns
//! addresses in order.

mod fixtures;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fixtures::{BAD_REQUEST, TOKEN, client_settings, grant, server_settings};
pub(crate) use fixtures::{GATEWAY, inner_address, new_certificate, packet};
use qdt_host::tun::{Offload, TunQueue};
use qdt_proto::datagram::SessionId;
use qdt_proto::handshake::{ConnectRequest, Ticket};
use qdt_proto::http3::RequestHead;
use qdt_transport::*;

/// The policy panics for a client of this name.
pub(crate) const PANICS: &str = "panics";
/// A client of this name is assigned the server's own address.
pub(crate) const AT_THE_GATEWAY: &str = "at the gateway";
const PATIENCE: Duration = Duration::from_secs(10);

/// Grants a session to every client with the token.
pub(crate) struct Policy {
    next: AtomicU32,
    session: AtomicU64,
    ended: Mutex<Sender<(SessionId, String)>>,
    /// The sessions by inner address.
    granted: Mutex<HashMap<Ipv4Addr, (SessionId, Arc<SessionCounters>)>>,
}

impl Admission for Policy {
    type Reservation = ();

    fn head(
        &self,
        head: &RequestHead,
        _request: &RequestContext,
        has_session: bool,
    ) -> Result<(), Refusal> {
        if head.path != b"/connect" {
            return Err(Refusal {
                status: 404,
                body: "404 page not found",
            });
        }
        if head.header(b"x-qdt-token") != Some(TOKEN) {
            return Err(Refusal {
                status: 401,
                body: "unauthorized",
            });
        }
        if has_session {
            return Err(Refusal {
                status: 503,
                body: "server busy",
            });
        }
        Ok(())
    }

    fn body(&self, _reservation: (), body: Option<&[u8]>, _request: &RequestContext) -> Decision {
        self.decide(body).into()
    }

    fn ended(&self, session: SessionId, reason: &str, _silent_for: Duration) {
        let _ = self
            .ended
            .lock()
            .expect("no holder panics")
            .send((session, reason.into()));
    }
}

impl Policy {
    fn decide(&self, body: Option<&[u8]>) -> Result<Grant, Refusal> {
        let request = ConnectRequest::decode(body.ok_or(BAD_REQUEST)?).map_err(|_| BAD_REQUEST)?;
        assert_ne!(request.client_id, PANICS, "as the test asked");
        let id = SessionId(self.session.fetch_add(1, Ordering::Relaxed));
        let inner = Ipv4Addr::from_bits(self.next.fetch_add(1, Ordering::Relaxed));
        let inner = match &*request.client_id {
            AT_THE_GATEWAY => GATEWAY,
            _ => inner,
        };
        let grant = grant(&request, id, inner, None)?;
        let mut granted = self.granted.lock().expect("no holder panics");
        granted.insert(inner, (id, Arc::clone(&grant.counters)));
        Ok(grant)
    }
}

/// Returns a TUN queue for the worker and the kernel's side of it for the test.
fn tun(offload: Offload) -> (TunQueue, UnixDatagram) {
    // A pair of datagram sockets holds ten packets and drops the rest; these hold as much as a
    // device.
    let kind = socket2::Type::SEQPACKET;
    let (ours, theirs) = socket2::Socket::pair(socket2::Domain::UNIX, kind, None).expect("pair");
    for end in [&ours, &theirs] {
        end.set_send_buffer_size(4 << 20).expect("room");
    }
    let theirs = UnixDatagram::from(OwnedFd::from(theirs));
    ours.set_nonblocking(true).expect("non-blocking");
    theirs.set_read_timeout(Some(PATIENCE)).expect("deadline");
    (TunQueue::from_fd(OwnedFd::from(ours), offload), theirs)
}

/// A running server and the kernel's side of its TUN queues.
pub(crate) struct Server {
    pub(crate) workers: Option<ServerWorkers>,
    policy: Arc<Policy>,
    pub(crate) tuns: Vec<UnixDatagram>,
    pub(crate) addr: SocketAddr,
    pub(crate) pin: SpkiPin,
    pub(crate) ended: Receiver<(SessionId, String)>,
    pub(crate) tls: ServerTls,
}

impl Server {
    pub(crate) fn start(workers: usize) -> Self {
        Self::start_with(workers, new_certificate())
    }

    /// Starts a server that lets its clients reach each other.
    pub(crate) fn start_open(workers: usize) -> Self {
        Self::launch(workers, new_certificate(), true, Offload::NONE)
    }

    pub(crate) fn start_with(workers: usize, tls: ServerTls) -> Self {
        Self::launch(workers, tls, false, Offload::NONE)
    }

    /// Starts a server whose TUN device has this `offload`.
    pub(crate) fn launch(
        workers: usize,
        tls: ServerTls,
        client_to_client: bool,
        offload: Offload,
    ) -> Self {
        let (queues, tuns) = (0..workers).map(|_| tun(offload)).unzip();
        let (report, ended) = channel();
        let policy = Arc::new(Policy {
            next: AtomicU32::new(Ipv4Addr::new(10, 8, 0, 2).to_bits()),
            session: AtomicU64::new(1),
            ended: Mutex::new(report),
            granted: Mutex::default(),
        });
        let addr = "127.0.0.1:0".parse().expect("address");
        let settings = ServerSettings {
            client_to_client,
            forward_link_local: vec![OPEN_LINK_LOCAL.into()],
            ..server_settings(addr, tls.clone(), queues)
        };
        let running = ServerWorkers::start(settings, policy.clone(), |_, _| {}).expect("start");
        running.open();
        Self {
            addr: running.local_addr(),
            pin: tls.pin().parse().expect("a pin"),
            workers: Some(running),
            policy,
            tuns,
            ended,
            tls,
        }
    }

    pub(crate) fn workers(&self) -> &ServerWorkers {
        self.workers.as_ref().expect("running")
    }

    /// Returns the session with this inner address, and its counters.
    pub(crate) fn session(&self, inner: Ipv4Addr) -> (SessionId, Arc<SessionCounters>) {
        let granted = self.policy.granted.lock().expect("no holder panics");
        granted
            .get(&inner)
            .expect("a session of this server")
            .clone()
    }

    /// Returns the current sum of the workers' counters.
    pub(crate) fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for counters in self.workers().counters() {
            counters.add_to(&mut sum);
        }
        sum
    }

    /// Returns the drops counted for a reason.
    pub(crate) fn drops(&self, reason: DropReason) -> u64 {
        self.counters().drops[reason as usize]
    }
}

/// A running client and the kernel's side of its TUN queue.
pub(crate) struct Client {
    pub(crate) worker: ClientWorker,
    pub(crate) events: Receiver<ClientEvent>,
    pub(crate) tun: Option<UnixDatagram>,
    pub(crate) inner: Ipv4Addr,
}

impl Client {
    pub(crate) fn settings(trust: &ClientTrust) -> ClientSettings {
        client_settings(trust)
    }

    pub(crate) fn start(settings: ClientSettings) -> Self {
        let (report, events) = channel();
        let report = move |event| {
            let _ = report.send(event);
        };
        Self {
            worker: ClientWorker::start(settings, report).expect("start"),
            events,
            tun: None,
            inner: Ipv4Addr::UNSPECIFIED,
        }
    }

    pub(crate) fn dial(&self, attempt: u64, address: SocketAddr, size: PacketSize) {
        self.dial_with(attempt, address, size, None);
    }

    /// Dials with a ticket, which the policy ignores.
    pub(crate) fn dial_with(
        &self,
        attempt: u64,
        address: SocketAddr,
        size: PacketSize,
        ticket: Option<&str>,
    ) {
        assert!(self.worker.send(ClientCommand::Dial(Dial {
            attempt: AttemptId(attempt),
            address,
            size,
            resume: ticket.map(Ticket::new),
        })));
    }

    /// Returns the next event.
    pub(crate) fn event(&self) -> ClientEvent {
        self.events
            .recv_timeout(PATIENCE)
            .expect("an event in time")
    }

    /// Returns a client with a session that carries its tunnel.
    pub(crate) fn connect(server: &Server) -> Self {
        Self::connect_with(server, Self::settings(&ClientTrust::Pin(server.pin)))
    }

    pub(crate) fn connect_with(server: &Server, settings: ClientSettings) -> Self {
        Self::connect_through(server.addr, settings)
    }

    pub(crate) fn connect_through(addr: SocketAddr, settings: ClientSettings) -> Self {
        let mut client = Self::start(settings);
        client.dial(1, addr, PacketSize::Full);
        match client.event() {
            ClientEvent::Established {
                attempt,
                assignment,
                ..
            } => {
                client.inner = inner_address(&assignment);
                client.tun = Some(client.attach());
                client.worker.send(ClientCommand::Adopt(attempt));
                client.wait_until_it_reads();
            }
            other => panic!("not established: {other:?}"),
        }
        client
    }

    /// Waits until the worker reads its TUN, by a packet with a foreign source, which it drops.
    fn wait_until_it_reads(&self) {
        let foreign = packet(Ipv4Addr::new(192, 0, 2, 1), GATEWAY, 64);
        self.tun().send(&foreign).expect("send");
        until("the worker reads its TUN", || {
            let mut sum = Counters::default();
            self.worker.counters().add_to(&mut sum);
            sum.drops[DropReason::SrcMismatch as usize] == 1
        });
    }

    /// Attaches a TUN queue and returns the kernel's side of it.
    pub(crate) fn attach(&self) -> UnixDatagram {
        self.attach_offloaded(Offload::NONE)
    }

    /// Attaches a TUN queue with this `offload` and returns the kernel's side of it.
    pub(crate) fn attach_offloaded(&self, offload: Offload) -> UnixDatagram {
        let (queue, kernel) = tun(offload);
        self.worker.send(ClientCommand::AttachTun(queue));
        kernel
    }

    pub(crate) fn tun(&self) -> &UnixDatagram {
        self.tun.as_ref().expect("connected")
    }
}

/// Returns the packet with DF set.
pub(crate) fn unfragmentable(mut packet: Vec<u8>) -> Vec<u8> {
    packet[6] |= 0x40;
    packet[10..12].fill(0);
    let sum = qdt_proto::packet::Sum::of(&packet[..20]).checksum();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// The link-local address that the servers of these tests open to their clients.
pub(crate) const OPEN_LINK_LOCAL: Ipv4Addr = Ipv4Addr::new(169, 254, 9, 9);

/// Returns the next packet that the worker wrote.
pub(crate) fn receive(tun: &UnixDatagram) -> Vec<u8> {
    let mut buffer = vec![0; 70_000];
    let len = tun.recv(&mut buffer).expect("a packet in time");
    buffer.truncate(len);
    buffer
}

/// Waits until `condition` holds.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::yield_now();
    }
}

/// A relay between one client and a server, which can switch to another server.
pub(crate) struct Relay {
    pub(crate) addr: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
}

impl Relay {
    pub(crate) fn to(target: SocketAddr) -> Self {
        let inside = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let outside = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let addr = inside.local_addr().expect("address");
        let target = Arc::new(Mutex::new(target));
        let client = Arc::new(Mutex::new(None));
        let (to, from) = (target.clone(), client.clone());
        let (inside_out, outside_out) = (
            inside.try_clone().expect("clone"),
            outside.try_clone().expect("clone"),
        );
        // Both threads block on packets and end with the process.
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((len, peer)) = inside.recv_from(&mut buffer) {
                *from.lock().expect("no holder panics") = Some(peer);
                let to = *to.lock().expect("no holder panics");
                let _ = outside_out.send_to(&buffer[..len], to);
            }
        });
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            loop {
                if let Ok((len, _)) = outside.recv_from(&mut buffer)
                    && let Some(peer) = *client.lock().expect("no holder panics")
                {
                    let _ = inside_out.send_to(&buffer[..len], peer);
                }
            }
        });
        Self { addr, target }
    }

    pub(crate) fn switch_to(&self, target: SocketAddr) {
        *self.target.lock().expect("no holder panics") = target;
    }
}
