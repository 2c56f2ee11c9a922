//! DNS queries over sockets whose packets stay outside the tunnel.
//!
//! Invariants: every query has a random id and its own socket, hence a random port, and accepts
//! answers from its server only; no call outlasts its deadline.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use qdt_host::Outside;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Socket, Type};

use super::message::{Kind, Reply, question, reply};

/// The time without an answer after which the next server is queried too; the first follows the
/// last.
const NEXT_SERVER: Duration = Duration::from_millis(700);
/// The time to wait for the second family's answer after the first one's.
const OTHER_FAMILY: Duration = Duration::from_secs(1);
/// The limit for one exchange over TCP.
const TCP_TIMEOUT: Duration = Duration::from_secs(2);
/// The most bytes read of one answer. Without EDNS 512 is the limit; longer ones are read as well.
const MAX_ANSWER: usize = 4096;

/// No server gave an answer.
#[derive(Debug, thiserror::Error)]
#[error("none of {servers} name server(s) knows it: {source}")]
struct Unanswered {
    servers: usize,
    source: io::Error,
}

/// The name servers, and how to reach them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Servers<'a> {
    /// The servers in order of preference; at least one.
    pub(super) addresses: &'a [SocketAddr],
    /// What keeps the sockets outside the tunnel.
    pub(super) outside: Option<Outside>,
}

struct Exchange {
    socket: UdpSocket,
    question: Vec<u8>,
    kind: Kind,
    server: usize,
}

/// The state of one address family.
struct Family {
    kind: Kind,
    found: Option<Vec<IpAddr>>,
    /// Why each server failed to answer; `None` for one that may still answer.
    failures: Vec<Option<io::Error>>,
}

impl Family {
    fn is_over(&self) -> bool {
        self.found.is_some() || self.failures.iter().all(Option::is_some)
    }
}

impl Servers<'_> {
    /// Queries both families of `name` until `deadline`. Returns no address where the name does not
    /// exist or has none.
    pub(super) fn query(self, name: &str, deadline: Instant) -> io::Result<Vec<IpAddr>> {
        let mut families = [Kind::A, Kind::Aaaa].map(|kind| Family {
            kind,
            found: None,
            failures: self.addresses.iter().map(|_| None).collect(),
        });
        let (mut deadline, mut exchanges) = (deadline, Vec::new());
        let (mut round, mut next) = (0, Instant::now());
        loop {
            let now = Instant::now();
            if now >= deadline || families.iter().all(Family::is_over) {
                break;
            }
            if now >= next {
                let server = round % self.addresses.len();
                for family in families.iter_mut().filter(|family| !family.is_over()) {
                    if family.failures[server].is_none() {
                        match self.send(name, family.kind, server) {
                            Ok(Some(exchange)) => exchanges.push(exchange),
                            Ok(None) => return Ok(Vec::new()),
                            Err(error) => family.failures[server] = Some(error),
                        }
                    }
                }
                (round, next) = (round + 1, now + NEXT_SERVER);
                continue;
            }
            for (index, result) in received(&exchanges, next.min(deadline)) {
                let exchange: &Exchange = &exchanges[index];
                let family = &mut families[usize::from(exchange.kind == Kind::Aaaa)];
                let result = match result {
                    Ok(Some(Reply::Truncated)) => self.over_tcp(exchange, deadline),
                    result => result,
                };
                let failure = match result {
                    Ok(Some(Reply::Addresses(found))) => {
                        if !found.is_empty() {
                            deadline = deadline.min(Instant::now() + OTHER_FAMILY);
                        }
                        family.found.get_or_insert(found);
                        None
                    }
                    // Of this family: some name servers deny AAAA records of a name that has A
                    // records (RFC 4074 section 4.2).
                    Ok(Some(Reply::NoName)) => {
                        deadline = deadline.min(Instant::now() + OTHER_FAMILY);
                        family.found.get_or_insert_default();
                        None
                    }
                    Ok(Some(Reply::Failed(code))) => Some(refusal(code)),
                    Ok(Some(Reply::Truncated)) => Some(io::Error::other("no complete answer")),
                    Ok(None) => None,
                    Err(error) => Some(error),
                };
                if failure.is_some() {
                    family.failures[exchange.server] = failure;
                    next = now;
                }
            }
            exchanges.retain(|exchange| {
                let family = &families[usize::from(exchange.kind == Kind::Aaaa)];
                family.found.is_none() && family.failures[exchange.server].is_none()
            });
        }
        conclude(families)
    }

    /// Sends one query; `None` where `name` cannot be queried.
    fn send(self, name: &str, kind: Kind, server: usize) -> io::Result<Option<Exchange>> {
        let Some(question) = question(rand::random(), name, kind) else {
            return Ok(None);
        };
        let socket = self.socket(server, Type::DGRAM)?;
        // From here on the socket receives this server's datagrams and ICMP errors only.
        socket.connect(&self.addresses[server].into())?;
        socket.set_nonblocking(true)?;
        socket.send(&question)?;
        Ok(Some(Exchange {
            socket: socket.into(),
            question,
            kind,
            server,
        }))
    }

    fn socket(self, server: usize, kind: Type) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(self.addresses[server]), kind, None)?;
        if let Some(outside) = self.outside {
            outside.apply(&socket)?;
        }
        Ok(socket)
    }

    fn over_tcp(self, exchange: &Exchange, deadline: Instant) -> io::Result<Option<Reply>> {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = TCP_TIMEOUT.min(left).max(Duration::from_millis(1));
        let socket = self.socket(exchange.server, Type::STREAM)?;
        socket.connect_timeout(&self.addresses[exchange.server].into(), timeout)?;
        let mut stream: TcpStream = socket.into();
        stream.set_write_timeout(Some(timeout))?;
        stream.set_read_timeout(Some(timeout))?;
        let length = u16::try_from(exchange.question.len()).unwrap_or(u16::MAX);
        stream.write_all(&[&length.to_be_bytes()[..], &exchange.question].concat())?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut message)?;
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        reply(&message, &exchange.question)
            .ok_or_else(invalid)
            .map(Some)
    }
}

/// Waits for answers until `until`; returns each with the index of its exchange.
fn received(exchanges: &[Exchange], until: Instant) -> Vec<(usize, io::Result<Option<Reply>>)> {
    let left = until.saturating_duration_since(Instant::now());
    let timeout = Timespec::try_from(left).ok();
    let mut fds: Vec<_> = exchanges
        .iter()
        .map(|exchange| PollFd::new(&exchange.socket, PollFlags::IN))
        .collect();
    // An interrupted wait ends early.
    let _ = poll(&mut fds, timeout.as_ref());
    let ready = (0..).zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
    ready
        .map(|(index, _)| (index, receive(&exchanges[index])))
        .collect()
}

/// Receives one datagram; `None` where it is not an answer.
fn receive(exchange: &Exchange) -> io::Result<Option<Reply>> {
    let mut buffer = [0; MAX_ANSWER];
    match exchange.socket.recv(&mut buffer) {
        Ok(length) => Ok(reply(&buffer[..length], &exchange.question)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

fn conclude(families: [Family; 2]) -> io::Result<Vec<IpAddr>> {
    let found = families.iter().flat_map(|family| &family.found);
    let addresses: Vec<IpAddr> = found.flatten().copied().collect();
    if !addresses.is_empty() || families.iter().all(|family| family.found.is_some()) {
        return Ok(addresses);
    }
    let servers = families[0].failures.len();
    let source = families
        .into_iter()
        .filter(|family| family.found.is_none())
        .find_map(|family| family.failures.into_iter().flatten().next())
        .unwrap_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "no answer"));
    Err(io::Error::other(Unanswered { servers, source }))
}

/// Returns the error for a response code (RFC 1035, section 4.1.1).
fn refusal(code: u8) -> io::Error {
    match code {
        2 => io::Error::other("the server failed"),
        5 => io::Error::other("the server refused"),
        code => io::Error::other(format!("response code {code}")),
    }
}
