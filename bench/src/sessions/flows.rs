//! TCP through the crowd's sessions: so many connections between the clients' inner addresses and the sink, one
//! thread that writes and one that reads, and what arrived on each.

use std::io::{self, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::event::{Timespec, epoll};
use socket2::{Domain, Socket, Type};

use super::crowd::Crowd;
use super::server::{SINK, Server};
use crate::cable::Cable;
use crate::cpu::CpuReading;
use crate::tcp::{Congestion, Direction};

/// The congestion control of every connection.
pub(super) const CONGESTION_CONTROL: Congestion = Congestion::Cubic;
/// How long connections may take, and how long they run before anything is counted.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const WARM_UP: Duration = Duration::from_secs(1);
/// Bytes of one read or write.
const CHUNK: usize = 256 << 10;
/// How often a pump looks whether it shall stop.
const LOOK: Duration = Duration::from_millis(50);

/// What was carried.
#[derive(Debug, Clone)]
pub(super) struct Carried {
    /// Payload that arrived per second, in Gbit/s.
    pub(super) gbit_per_second: f64,
    /// Processor seconds of the server per Gbit of payload.
    pub(super) server_seconds_per_gbit: f64,
    /// Packets that share a call at the server's TUN, in the direction of the payload.
    pub(super) packets_per_tun_call: f64,
    /// How evenly connections were served, 0 to 1 (Jain, Chiu, Hawe 1984).
    pub(super) jain_index: f64,
    /// Share of the machine that everybody else used, 0 to 1.
    pub(super) foreign: f64,
}

/// What is to be carried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load<'a> {
    /// The inner address of each connection, which may come again.
    pub(super) sources: &'a [Ipv4Addr],
    /// Which way the payload goes, seen from the clients.
    pub(super) direction: Direction,
    /// How long it is counted.
    pub(super) lasts: Duration,
}

/// Lets `crowd` carry `load`.
///
/// # Errors
/// When a connection does not come about or breaks, or the congestion control does not take.
pub(super) fn carry(
    crowd: &mut Crowd,
    cable: &Cable,
    server: &Server<'_>,
    load: Load<'_>,
) -> Result<Carried> {
    let over = AtomicBool::new(false);
    let (ran, carried) = std::thread::scope(|scope| {
        let conductor = scope.spawn(|| {
            let _over = SetAtEnd(&over);
            conduct(cable, server, load, &over)
        });
        let ran = crowd.run(|| over.load(Ordering::Relaxed));
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
    cable: &Cable,
    server: &Server<'_>,
    load: Load<'_>,
    over: &AtomicBool,
) -> Result<Carried> {
    let (clients, sinks) = connect(cable, load.sources)?;
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
        wait(&failures, WARM_UP)?;
        let before = Reading::take(server, &counts)?;
        wait(&failures, load.lasts)?;
        Reading::take(server, &counts)?.since(&before, load.direction)
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

/// Everything that is counted, at one moment.
struct Reading {
    at: Instant,
    processor: Duration,
    machine: CpuReading,
    packets: [f64; 2],
    calls: [f64; 2],
    bytes: Vec<u64>,
}

impl Reading {
    fn take(server: &Server<'_>, counts: &[AtomicU64]) -> Result<Self> {
        let counters = server.counters()?;
        let value = |series: &str, label: &str, values: [&str; 2]| {
            values.map(|value| counters.value(&format!("{series}{{{label}=\"{value}\"}}")))
        };
        Ok(Self {
            packets: value("qdt_packets_total", "direction", ["in", "out"]),
            calls: value("qdt_tun_calls_total", "call", ["write", "read"]),
            at: Instant::now(),
            processor: server.processor_time()?,
            machine: CpuReading::take(&[server.pid()])?,
            bytes: counts
                .iter()
                .map(|count| count.load(Ordering::Relaxed))
                .collect(),
        })
    }

    fn since(&self, earlier: &Self, direction: Direction) -> Result<Carried> {
        let bytes: Vec<f64> = self
            .bytes
            .iter()
            .zip(&earlier.bytes)
            .map(|(now, then)| (now - then) as f64)
            .collect();
        let gbit = bytes.iter().sum::<f64>() * 8e-9;
        ensure!(gbit > 0.0, "not a byte arrived");
        let way = match direction {
            Direction::Up => 0,
            Direction::Down => 1,
        };
        let calls = self.calls[way] - earlier.calls[way];
        Ok(Carried {
            gbit_per_second: gbit / (self.at - earlier.at).as_secs_f64(),
            server_seconds_per_gbit: (self.processor - earlier.processor).as_secs_f64() / gbit,
            packets_per_tun_call: (self.packets[way] - earlier.packets[way]) / calls.max(1.0),
            jain_index: jain_index(&bytes),
            foreign: self.machine.since(&earlier.machine).foreign,
        })
    }
}

/// (sum of x)^2 / (n * sum of x^2): 1 where all are equal, 1/n where one has everything.
fn jain_index(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    if squares == 0.0 {
        return 0.0;
    }
    sum * sum / (shares.len() as f64 * squares)
}

/// Connects each source with the sink; both ends of each.
fn connect(cable: &Cable, sources: &[Ipv4Addr]) -> Result<(Vec<TcpStream>, Vec<TcpStream>)> {
    let listener = cable
        .server
        .enter(|| TcpListener::bind((SINK, 0)))
        .context("the sink does not listen")?;
    let at = listener.local_addr().context("the sink's address")?;
    let mut clients = Vec::with_capacity(sources.len());
    let mut sinks = Vec::with_capacity(sources.len());
    for &source in sources {
        let client = cable
            .client
            .enter(|| dial(source, at))
            .with_context(|| format!("TCP from {source} through the tunnel"))?;
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
    let look = Timespec::try_from(LOOK).context("a moment is short")?;
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
                    return Err(error).context("a TCP connection through the tunnel");
                }
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jain_index_is_one_for_equals_and_one_in_n_for_a_greedy_one() {
        assert_eq!(jain_index(&[3.0; 7]), 1.0);
        assert_eq!(jain_index(&[5.0, 0.0, 0.0, 0.0]), 0.25);
        assert_eq!(jain_index(&[0.0; 3]), 0.0);
    }
}
