//! The link as a program: a TUN device in each machine, and between the two what [`Path`] does to
//! packets. It forwards whole IP packets, so that the run without a tunnel passes it like every
//! other.
//!
//! Invariants: each direction has a thread of its own, which reads as soon as something is
//! there, so no queue stands in front of the one that [`Shape`] bounds; every packet that was read
//! is counted once.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use conformance::Machine;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::path::{Fate, Path, Shape};
use super::tun;

/// Larger than every packet that the devices' MTU allows.
const PACKET: usize = 2048;
/// Packets read before those that have arrived are written.
const BATCH: usize = 32;
/// How soon a direction without packets finds out that it has to end.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// What one direction did, in packets.
#[derive(Debug, Default)]
struct Counters {
    passed: AtomicU64,
    lost: AtomicU64,
    queue_full: AtomicU64,
    refused: AtomicU64,
}

/// The counters of one direction at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Packets that were handed over or are on their way.
    pub(crate) passed: u64,
    /// Packets lost at random.
    pub(crate) lost: u64,
    /// Packets dropped because the queue was full.
    pub(crate) queue_full: u64,
    /// Packets that the receiving kernel did not take.
    pub(crate) refused: u64,
}

/// Both directions, until it is dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    up: Arc<Counters>,
    down: Arc<Counters>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Makes `device` on both machines and begins to forward between them.
    ///
    /// # Errors
    /// When the kernel refuses a device.
    pub(crate) fn start(
        client: &Machine,
        server: &Machine,
        device: &str,
        shape: Shape,
        seed: u64,
    ) -> Result<Self> {
        let at_client = client
            .enter(|| tun::create(device))
            .context("the client's end")?;
        let at_server = server
            .enter(|| tun::create(device))
            .context("the server's end")?;
        let mut relay = Self {
            up: Arc::default(),
            down: Arc::default(),
            stop: Arc::default(),
            threads: Vec::new(),
        };
        let up = (at_client.try_clone()?, at_server.try_clone()?);
        // Each direction loses other packets.
        let ways = [
            (up, &relay.up, seed * 2),
            ((at_server, at_client), &relay.down, seed * 2 + 1),
        ];
        for ((from, to), counters, seed) in ways {
            let counters = counters.clone();
            let stop = relay.stop.clone();
            let path = Path::new(shape, seed);
            relay.threads.push(std::thread::spawn(move || {
                carry(&from, &to, path, &counters, &stop)
            }));
        }
        Ok(relay)
    }

    /// What was done so far, from client to server and from server to client.
    pub(crate) fn counted(&self) -> [Counted; 2] {
        [&self.up, &self.down].map(|counters| Counted {
            passed: counters.passed.load(Ordering::Relaxed),
            lost: counters.lost.load(Ordering::Relaxed),
            queue_full: counters.queue_full.load(Ordering::Relaxed),
            refused: counters.refused.load(Ordering::Relaxed),
        })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// One direction, until it is told to stop or a device is gone.
fn carry(from: &File, to: &File, mut path: Path<Vec<u8>>, counters: &Counters, stop: &AtomicBool) {
    be_punctual();
    let mut spare: Vec<Vec<u8>> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let mut is_empty = false;
        for _ in 0..BATCH {
            let mut packet = spare.pop().unwrap_or_default();
            packet.resize(PACKET, 0);
            match (&mut &*from).read(&mut packet) {
                Ok(len) => {
                    packet.truncate(len);
                    let counter = match path.offer(Instant::now(), packet, len) {
                        Fate::Passes => &counters.passed,
                        Fate::Lost => &counters.lost,
                        Fate::QueueFull => &counters.queue_full,
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    is_empty = true;
                    spare.push(packet);
                    break;
                }
                Err(_) => return,
            }
        }
        let now = Instant::now();
        while let Some(packet) = path.arrived(now) {
            if (&mut &*to).write(&packet).is_err() {
                counters.refused.fetch_add(1, Ordering::Relaxed);
            }
            spare.push(packet);
        }
        if is_empty {
            wait(from, path.next_arrival());
        }
    }
}

/// Waits until a packet comes or `until`.
fn wait(from: &File, until: Option<Instant>) {
    let time = until.map_or(POLL_INTERVAL, |until| {
        until
            .saturating_duration_since(Instant::now())
            .min(POLL_INTERVAL)
    });
    let time = Timespec::try_from(time).expect("a twentieth of a second fits");
    // What wakes it early is found out by trying again.
    let _ = poll(&mut [PollFd::new(from, PollFlags::IN)], Some(&time));
}

/// A link does not become slower because programs compute: its threads wake to the microsecond and
/// come first.
fn be_punctual() {
    // SAFETY: plain system calls on the calling thread; without the privilege they change nothing.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1);
        libc::setpriority(libc::PRIO_PROCESS, 0, -15);
    }
}

#[cfg(test)]
mod tests {
    use conformance::{check_requirements, ping, wait_until};

    use super::*;
    use crate::veth_link::{CLIENT, DEVICE, SERVER, VethLink};

    const DELAYED: Shape = Shape {
        rate: Some(100_000_000),
        queue: 100_000,
        delay: Duration::from_millis(5),
        loss_per_mille: 0,
        late_per_mille: 0,
        late_by: Duration::ZERO,
    };

    fn live_link(shape: Shape) -> (Relay, VethLink) {
        check_requirements();
        let start =
            |client: &Machine, server: &Machine| Relay::start(client, server, DEVICE, shape, 1);
        let (veth, relay) = VethLink::lay_with(start).expect("namespaces and TUN devices");
        (relay, veth)
    }

    #[test]
    fn packets_pass_both_ways_not_before_their_delay_and_are_counted() {
        let (relay, veth) = live_link(DELAYED);
        for (machine, to) in [(&veth.client, SERVER), (&veth.server, CLIENT)] {
            let second = Duration::from_secs(1);
            let took = ping(machine, to.into(), 1400, second).expect("an answer");
            assert!(took >= 2 * DELAYED.delay, "{took:?}");
        }
        for counted in relay.counted() {
            assert!(counted.passed >= 3, "{counted:?}");
            // Before a device is up the kernel takes nothing for it, so one may have been refused.
            assert_eq!((counted.lost, counted.queue_full), (0, 0));
        }
    }

    #[test]
    fn a_link_that_loses_half_of_the_packets_counts_them() {
        let (relay, veth) = live_link(Shape {
            loss_per_mille: 500,
            ..DELAYED
        });
        let within = Duration::from_millis(20);
        wait_until("losses each way", Duration::from_secs(10), || {
            let _ = ping(&veth.client, SERVER.into(), 56, within);
            relay
                .counted()
                .iter()
                .all(|counted| counted.lost > 0 && counted.passed > 0)
        });
    }
}
