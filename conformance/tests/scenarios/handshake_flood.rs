//! One host that begins thousands of handshakes a second, with its true address, and finishes none:
//! other clients are not slowed (promise U1).

use std::time::{Duration, Instant};

use conformance::probe::{Session, SessionOptions};
use conformance::{
    Client, FloodResult, HandshakeFlood, Lab, Machine, Pinger, Server, resident_bytes, wait_until,
};

use crate::{MIB, SECOND, SERVER, unlimited};

/// What a busy machine of two cores, which also runs the attacker, adds to a connect at times.
const BUSY_CONNECT: Duration = Duration::from_millis(100);
/// The same for a ping.
const BUSY_PING: Duration = Duration::from_millis(20);
/// Whatever else the machine does may spoil a comparison; a flood that harms others spoils each.
const ROUNDS: usize = 3;

#[test]
fn u1_a_flood_of_handshakes_from_one_address_does_not_slow_other_clients() {
    let lab = Lab::new(3);
    // Room for every session of every round: an address is kept for a while.
    let config = unlimited().set("pool_cidr", "10.8.0.0/22");
    let mut server = Server::start(&lab.server, config);
    let client = Client::start(&lab.clients[0], conformance::Config::client());
    assert!(crate::pings(&client));
    let before = resident_bytes(&server);
    let mut seen = Vec::new();
    let left_alone = (0..ROUNDS).any(|_| {
        let round = Round::run(&lab, &server, &client);
        let left_alone = round.left_alone();
        seen.push(round);
        left_alone
    });
    assert_eq!(server.ended(), None, "the server runs");
    assert!(left_alone, "the flood is felt: {seen:?}");
    for round in seen {
        let growth = round.resident.saturating_sub(before) / MIB;
        assert!(growth < 16, "memory grew by {growth} MiB: {round:?}");
        // Enough to take every place again and again where one address may have them all.
        assert!(round.rate > 3_000.0, "no flood: {round:?}");
        assert!(
            round.flood.proven >= 32,
            "no proof was asked for: {round:?}"
        );
    }
}

/// A look at the server without and with the flood.
#[derive(Debug)]
struct Round {
    quiet: Latencies,
    flooded: Latencies,
    flood: FloodResult,
    /// Handshakes a second.
    rate: f64,
    /// The server's memory under the flood, in bytes.
    resident: u64,
}

impl Round {
    #[track_caller]
    fn run(lab: &Lab, server: &Server<'_>, client: &Client<'_>) -> Self {
        let quiet = Latencies::measure(&lab.clients[1], client);
        let flood = HandshakeFlood::start(&lab.clients[2], SERVER, 10_000);
        wait_until("the flood has begun", 30 * SECOND, || {
            flood.begun() > 20_000
        });
        let flooded = Latencies::measure(&lab.clients[1], client);
        let resident = resident_bytes(server);
        let flood = flood.stop();
        Self {
            quiet,
            flooded,
            flood,
            rate: flood.begun as f64 / flood.lasted.as_secs_f64(),
            resident,
        }
    }

    fn left_alone(&self) -> bool {
        self.flooded.connect < 2 * self.quiet.connect + BUSY_CONNECT
            && self.flooded.ping < 2 * self.quiet.ping + BUSY_PING
    }
}

/// What others see of the server: the 99th percentiles of the times that a new client needs for a
/// session, and that a ping in an existing session needs.
#[derive(Debug)]
struct Latencies {
    connect: Duration,
    ping: Duration,
}

impl Latencies {
    const CONNECTS: usize = 50;
    const PINGS: usize = 300;

    #[track_caller]
    fn measure(new_client: &Machine, client: &Client<'_>) -> Self {
        let pinger = Pinger::start(
            client.machine(),
            Lab::GATEWAY.into(),
            Duration::from_millis(10),
        );
        let connects = (0..Self::CONNECTS).map(|_| {
            let start = Instant::now();
            let session = Session::open(new_client, SERVER, &SessionOptions::default());
            assert!(session.is_ok(), "a good request is refused");
            start.elapsed()
        });
        let connect = p99(connects.collect());
        wait_until("enough pings", 30 * SECOND, || {
            pinger.replies().len() >= Self::PINGS
        });
        let (sent, replies) = pinger.stop();
        let lost = sent.saturating_sub(replies.len());
        assert!(lost * 20 <= sent, "{lost} of {sent} pings were lost");
        Self {
            connect,
            ping: p99(replies.iter().map(|reply| reply.rtt).collect()),
        }
    }
}

/// The 99th percentile: one in a hundred is worse at most.
fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() - 1 - times.len() / 100]
}
