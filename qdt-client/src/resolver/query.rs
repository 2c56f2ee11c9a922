//! Questions to name servers over sockets whose packets stay outside the tunnel.
//!
//! Invariants: every question has a random id and a socket of its own, hence a random port, and
//! takes answers from its server only; nothing takes longer than the deadline that is given.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use qdt_host::Outside;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Socket, Type};

use super::message::{Kind, Reply, question, reply};

/// Without an answer for so long the next server is asked as well, after the last the first again.
const NEXT_SERVER: Duration = Duration::from_millis(700);
/// How long addresses of the other family are waited for once there are some of one.
const OTHER_FAMILY: Duration = Duration::from_secs(1);
/// What one exchange over TCP may take.
const TCP: Duration = Duration::from_secs(2);
/// The largest answer without EDNS is 512 bytes; a server that sends more is read as well.
const LARGEST: usize = 4096;

/// What the servers say of a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Its addresses; at least one.
    Found(Vec<IpAddr>),
    /// It does not exist or has no address.
    NoName,
    /// Why nothing is known.
    Failed(String),
}

/// Whom to ask and how.
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

/// The state of one family.
struct Family {
    kind: Kind,
    found: Option<Vec<IpAddr>>,
    /// Why each server gave no answer; `None` for one that may still give it.
    failures: Vec<Option<String>>,
}

impl Family {
    fn is_over(&self) -> bool {
        self.found.is_some() || self.failures.iter().all(Option::is_some)
    }
}

impl Servers<'_> {
    /// Asks for both families of `name` until `deadline`.
    pub(super) fn ask(self, name: &str, deadline: Instant) -> Answer {
        let mut families = [Kind::A, Kind::Aaaa].map(|kind| Family {
            kind,
            found: None,
            failures: vec![None; self.addresses.len()],
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
                        match self.start(name, family.kind, server) {
                            Ok(Some(exchange)) => exchanges.push(exchange),
                            Ok(None) => return Answer::NoName,
                            Err(error) => family.failures[server] = Some(error.to_string()),
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
                match result {
                    Ok(Some(Reply::Addresses(found))) => {
                        if !found.is_empty() {
                            deadline = deadline.min(Instant::now() + OTHER_FAMILY);
                        }
                        family.found.get_or_insert(found);
                    }
                    // Of this family: there are name servers that say so of AAAA where there is an
                    // A (RFC 4074 section 4.2).
                    Ok(Some(Reply::NoName)) => {
                        deadline = deadline.min(Instant::now() + OTHER_FAMILY);
                        family.found.get_or_insert_default();
                    }
                    Ok(Some(Reply::Failed(code))) => {
                        family.failures[exchange.server] = Some(words(code));
                        next = now;
                    }
                    Ok(Some(Reply::Truncated)) => {
                        family.failures[exchange.server] = Some("no complete answer".to_owned());
                        next = now;
                    }
                    Ok(None) => {}
                    Err(error) => {
                        family.failures[exchange.server] = Some(error.to_string());
                        next = now;
                    }
                }
            }
            exchanges.retain(|exchange| {
                let family = &families[usize::from(exchange.kind == Kind::Aaaa)];
                family.found.is_none() && family.failures[exchange.server].is_none()
            });
        }
        conclude(families)
    }

    /// `None` when the name cannot be asked for.
    fn start(self, name: &str, kind: Kind, server: usize) -> io::Result<Option<Exchange>> {
        let Some(question) = question(rand::random(), name, kind) else {
            return Ok(None);
        };
        let socket = self.socket(server, Type::DGRAM)?;
        // Only this server's datagrams are received from here on, and its refusals are heard.
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
        let patience = TCP.min(deadline.saturating_duration_since(Instant::now()));
        let patience = patience.max(Duration::from_millis(1));
        let socket = self.socket(exchange.server, Type::STREAM)?;
        socket.connect_timeout(&self.addresses[exchange.server].into(), patience)?;
        let mut stream: TcpStream = socket.into();
        stream.set_write_timeout(Some(patience))?;
        stream.set_read_timeout(Some(patience))?;
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

/// Waits until something is received or `until` is over; each result with its exchange's index.
fn received(exchanges: &[Exchange], until: Instant) -> Vec<(usize, io::Result<Option<Reply>>)> {
    let left = until.saturating_duration_since(Instant::now());
    let timeout = Timespec::try_from(left).ok();
    let mut fds: Vec<_> = exchanges
        .iter()
        .map(|exchange| PollFd::new(&exchange.socket, PollFlags::IN))
        .collect();
    // An interrupted wait is one that ends early.
    let _ = poll(&mut fds, timeout.as_ref());
    let ready = fds.iter().map(|fd| !fd.revents().is_empty());
    let ready: Vec<_> = (0..).zip(ready).filter(|(_, ready)| *ready).collect();
    ready
        .into_iter()
        .map(|(index, _)| (index, receive(&exchanges[index])))
        .collect()
}

/// `None` for what is not an answer.
fn receive(exchange: &Exchange) -> io::Result<Option<Reply>> {
    let mut buffer = [0; LARGEST];
    match exchange.socket.recv(&mut buffer) {
        Ok(length) => Ok(reply(&buffer[..length], &exchange.question)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

fn conclude(families: [Family; 2]) -> Answer {
    let addresses: Vec<IpAddr> = families
        .iter()
        .flat_map(|family| family.found.iter().flatten().copied())
        .collect();
    if !addresses.is_empty() {
        return Answer::Found(addresses);
    }
    if families.iter().all(|family| family.found.is_some()) {
        return Answer::NoName;
    }
    let servers = families[0].failures.len();
    let reason = families
        .into_iter()
        .filter(|family| family.found.is_none())
        .find_map(|family| family.failures.into_iter().flatten().next());
    let reason = reason.unwrap_or_else(|| "no answer".to_owned());
    Answer::Failed(format!(
        "none of {servers} name server(s) knows it: {reason}"
    ))
}

fn words(code: u8) -> String {
    match code {
        2 => "the server failed".to_owned(),
        5 => "the server refused".to_owned(),
        code => format!("response code {code}"),
    }
}
