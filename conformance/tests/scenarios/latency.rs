//! A17: what waits for what. Bulk transfers do not fill the buffers of the path.

use std::time::{Duration, Instant};

use conformance::{Bulk, Client, Lab, PingReply, Pinger, wait_until};

use crate::{SECOND, pair};

/// How much longer than on the idle link the slowest per cent of the pings may take.
const ADDED_AT_MOST: Duration = Duration::from_millis(60);
/// Megabits per second of the narrow link.
const MBIT: u32 = 20;
/// How often a machine may have been busy with something else while it was looked at.
const ATTEMPTS: usize = 3;

/// The round trip that 99 of 100 stay below.
fn slowest_per_cent(replies: &[PingReply]) -> Duration {
    let mut trips: Vec<_> = replies.iter().map(|reply| reply.rtt).collect();
    trips.sort_unstable();
    trips[trips.len() * 99 / 100]
}

/// The answers to so many pings of the gateway, one every 10 ms; most are answered.
#[track_caller]
fn answers_to(client: &Client<'_>, count: usize) -> Vec<PingReply> {
    let interval = Duration::from_millis(10);
    let pinger = Pinger::start(client.machine(), Lab::GATEWAY.into(), interval);
    wait_until("the pings are sent", 60 * SECOND, || pinger.sent() >= count);
    let (sent, replies) = pinger.stop();
    let answered = replies.len();
    assert!(answered > sent * 9 / 10, "{answered} of {sent} answered");
    replies
}

#[test]
fn a17_four_tcp_connections_leave_the_round_trip_on_a_slow_link_short_and_fill_it() {
    let lab = Lab::new(1);
    lab.limit_mbit_with_queue(MBIT, Duration::from_millis(400));
    let (_server, client) = pair(&lab);
    let inner = client.inner_address().expect("a connected client");
    let idle = slowest_per_cent(&answers_to(&client, 200));
    for way in ["up", "down"] {
        let bulk = match way {
            "up" => Bulk::start(client.machine(), &lab.server, Lab::GATEWAY, 4),
            _ => Bulk::start(&lab.server, client.machine(), inner, 4),
        };
        // How they begin is TCP's affair: it doubles what it sends until it is told of the queue.
        wait_until("the connections are in their stride", 30 * SECOND, || {
            bulk.received() > 6_000_000
        });
        // A machine that stands still for a moment only makes both worse.
        let mut seen = Vec::new();
        let is_kept = (0..ATTEMPTS).any(|_| {
            let (start, before) = (Instant::now(), bulk.received());
            let loaded = slowest_per_cent(&answers_to(&client, 1000));
            let mbit = (bulk.received() - before) as f64 * 8e-6 / start.elapsed().as_secs_f64();
            seen.push(format!("{loaded:?} at {mbit:.1} of {MBIT} Mbit/s"));
            loaded < idle + ADDED_AT_MOST && mbit > f64::from(MBIT) * 0.8
        });
        assert!(is_kept, "{way}: {seen:?}, {idle:?} idle");
    }
}
