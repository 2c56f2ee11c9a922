//! TCP through the simulated clients' sessions, or past the tunnel: connections from the
//! clients' addresses to the sink, one thread that writes and one that reads, and the bytes that
//! arrived on each.

use std::io::{self, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::event::{Timespec, epoll};
use socket2::{Domain, Socket, Type};

use super::carried::{Carried, Reading};
use super::server::Server;
use super::sharing::Sharing;
use super::simulated::SimulatedClients;
use crate::tcp::{Congestion, Direction};
use crate::veth_link::VethLink;

/// The congestion control of every connection.
pub(super) const CONGESTION_CONTROL: Congestion = Congestion::Cubic;
/// How long connections may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of one read or write.
const CHUNK: usize = 256 << 10;
/// How often a pump looks whether it shall stop.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// What is to be carried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load<'a> {
    /// The connections.
    pub(super) set: &'a Sharing,
    /// Which way the payload goes, seen from the clients.
    pub(super) direction: Direction,
    /// How long it runs before anything is counted.
    pub(super) warm_up: Duration,
    /// How long it is counted.
    pub(super) lasts: Duration,
}

/// Sends `load` through the simulated clients.
///
/// # Errors
/// When a connection does not come about or breaks, or the congestion control does not take.
pub(super) fn carry(
    simulated: &mut SimulatedClients,
    veth: &VethLink,
    server: &Server<'_>,
    load: Load<'_>,
) -> Result<Carried> {
    let over = AtomicBool::new(false);
    let (ran, carried) = std::thread::scope(|scope| {
        let conductor = scope.spawn(|| {
            let _over = SetAtEnd(&over);
            conduct(veth, server, load, &over)
        });
        let ran = simulated.run(|| over.load(Ordering::Relaxed));
        over.store(true, Ordering::Relaxed);
        (ran, conductor.join().expect("the conductor does not panic"))
    });
    ran?;
    carried
}

/// Says that it is over, however the thread ends.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn conduct(
    veth: &VethLink,
    server: &Server<'_>,
    load: Load<'_>,
    over: &AtomicBool,
) -> Result<Carried> {
    let (clients, sinks) = connect(veth, load.set)?;
    let (senders, receivers) = match load.direction {
        Direction::Up => (clients, sinks),
        Direction::Down => (sinks, clients),
    };
    let counts: Vec<_> = receivers.iter().map(|_| AtomicU64::new(0)).collect();
    let (failed, failures) = channel();
    std::thread::scope(|scope| {
        let _over = SetAtEnd(over);
        let wrong = failed.clone();
        scope.spawn(|| report(write(&senders, over), wrong));
        scope.spawn(|| report(read(&receivers, &counts, over), failed));
        wait(&failures, load.warm_up)?;
        let before = Reading::take(veth, server, &counts)?;
        wait(&failures, load.lasts)?;
        Reading::take(veth, server, &counts)?.since(
            &before,
            load.direction,
            load.set.is_through_tunnel(),
        )
    })
}

fn report(outcome: Result<()>, failed: Sender<anyhow::Error>) {
    if let Err(error) = outcome {
        // Who would listen has given up already.
        let _ = failed.send(error);
    }
}

/// Waits for that time, or for a failure.
fn wait(failures: &std::sync::mpsc::Receiver<anyhow::Error>, time: Duration) -> Result<()> {
    match failures.recv_timeout(time) {
        Ok(error) => Err(error),
        Err(RecvTimeoutError::Timeout) => Ok(()),
        Err(RecvTimeoutError::Disconnected) => bail!("the connections ended"),
    }
}

/// Connects each source with the sink; both ends of each.
fn connect(veth: &VethLink, set: &Sharing) -> Result<(Vec<TcpStream>, Vec<TcpStream>)> {
    let listener = veth
        .server
        .enter(|| TcpListener::bind((set.sink, 0)))
        .context("the sink does not listen")?;
    let at = listener.local_addr().context("the sink's address")?;
    let mut clients = Vec::with_capacity(set.sources.len());
    let mut sinks = Vec::with_capacity(set.sources.len());
    for &source in &set.sources {
        let client = veth
            .client
            .enter(|| dial(source, at))
            .with_context(|| format!("TCP from {source} to the sink"))?;
        let (sink, _) = listener.accept().context("the sink")?;
        for end in [&client, &sink] {
            prepare(end).context("a TCP connection")?;
        }
        clients.push(client);
        sinks.push(sink);
    }
    Ok((clients, sinks))
}

fn dial(source: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.cloexec(), None)?;
    socket.bind(&SocketAddrV4::new(source, 0).into())?;
    socket.connect_timeout(&to.into(), CONNECT_WITHIN)?;
    Ok(socket.into())
}

/// Sets the congestion control, sees whether it took, and lets nothing wait.
fn prepare(end: &TcpStream) -> Result<()> {
    let socket = socket2::SockRef::from(end);
    socket.set_tcp_congestion(CONGESTION_CONTROL.name().as_bytes())?;
    let took = socket.tcp_congestion()?;
    let took = String::from_utf8_lossy(&took);
    let asked = CONGESTION_CONTROL.name();
    ensure!(
        took.trim_end_matches('\0') == asked,
        "the congestion control is {took} and not {asked}: is it in net.ipv4.tcp_available_congestion_control?"
    );
    end.set_nonblocking(true)?;
    Ok(())
}

fn write(senders: &[TcpStream], over: &AtomicBool) -> Result<()> {
    let zeros = vec![0; CHUNK];
    pump(senders, epoll::EventFlags::OUT, over, |_, mut sender| {
        sender.write(&zeros).map(drop)
    })
}

fn read(receivers: &[TcpStream], counts: &[AtomicU64], over: &AtomicBool) -> Result<()> {
    let mut buffer = vec![0; CHUNK];
    pump(
        receivers,
        epoll::EventFlags::IN,
        over,
        |index, mut receiver| {
            let len = receiver.read(&mut buffer)?;
            counts[index].fetch_add(len as u64, Ordering::Relaxed);
            Ok(())
        },
    )
}

/// Serves each connection that is ready once, in turn, until it is over.
fn pump(
    connections: &[TcpStream],
    ready_for: epoll::EventFlags,
    over: &AtomicBool,
    mut serve: impl FnMut(usize, &TcpStream) -> io::Result<()>,
) -> Result<()> {
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll")?;
    for (index, connection) in connections.iter().enumerate() {
        let token = epoll::EventData::new_u64(index as u64);
        epoll::add(&poller, connection, token, ready_for).context("epoll")?;
    }
    let look = Timespec::try_from(POLL_INTERVAL).context("a moment is short")?;
    let mut room = vec![MaybeUninit::uninit(); connections.len()];
    while !over.load(Ordering::Relaxed) {
        let (ready, _) = match epoll::wait(&poller, &mut room[..], Some(&look)) {
            Err(rustix::io::Errno::INTR) => continue,
            ready => ready.context("epoll")?,
        };
        for event in ready.iter() {
            let index = event.data.u64() as usize;
            match serve(index, &connections[index]) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Err(error).context("a TCP connection");
                }
                _ => {}
            }
        }
    }
    Ok(())
}
