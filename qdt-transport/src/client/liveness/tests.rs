//! Tests in simulated time, polled as often as requested.

use super::*;
use crate::path::IDLE_TIMEOUT;

/// Polls for `span`, and applies `change` to the observations before each poll.
fn run(
    liveness: &mut Liveness,
    now: &mut Instant,
    seen: &mut Seen,
    span: Duration,
    mut change: impl FnMut(&mut Seen, &mut Liveness, Option<Probe>, Instant),
) -> Vec<(Duration, LivenessChange)> {
    let start = *now;
    let mut changes = Vec::new();
    let mut probe = None;
    while *now < start + span {
        change(seen, liveness, probe, *now);
        let (change, asked, next) = liveness.poll(*now, *seen);
        changes.extend(change.map(|change| (*now - start, change)));
        probe = asked;
        *now = next;
    }
    changes
}

/// Records `packets` that were sent and acknowledged.
fn answer(seen: &mut Seen, packets: u64) {
    seen.sent += packets;
    seen.received += packets;
    seen.acknowledged += packets;
}

fn ours(now: Instant) -> Liveness {
    Liveness::new(Peer::WithPing { probes_path: true }, keep_alive(), now)
}

fn keep_alive() -> KeepAlive {
    KeepAlive::with_idle_timeout(None, IDLE_TIMEOUT)
}

const GO: Peer = Peer::WithoutPing {
    echo_after: Duration::from_secs(5),
};

#[test]
fn packets_that_nothing_answers_make_the_connection_suspect_after_a_second_and_an_answer_clears_it()
{
    let mut now = Instant::now();
    let (mut liveness, mut seen) = (ours(now), Seen::default());
    let second = Duration::from_secs(1);
    let changes = run(
        &mut liveness,
        &mut now,
        &mut seen,
        3 * second,
        |seen, _, _, _| seen.sent += 1,
    );
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(changes[0].1, LivenessChange::Suspect);
    assert!(
        changes[0].0 >= second && changes[0].0 <= 3 * second / 2,
        "{changes:?}"
    );
    let changes = run(
        &mut liveness,
        &mut now,
        &mut seen,
        second,
        |seen, _, _, _| {
            seen.received += 1;
            seen.acknowledged += 1
        },
    );
    assert_eq!(
        changes
            .iter()
            .map(|(_, change)| *change)
            .collect::<Vec<_>>(),
        [LivenessChange::Recovered]
    );
}

#[test]
fn a_peer_that_sends_but_acknowledges_nothing_is_suspect_as_soon_as_a_silent_one() {
    let mut now = Instant::now();
    let (mut liveness, mut seen) = (ours(now), Seen::default());
    let second = Duration::from_secs(1);
    let changes = run(
        &mut liveness,
        &mut now,
        &mut seen,
        2 * second,
        |seen, _, _, _| {
            seen.sent += 1;
            seen.received += 1;
        },
    );
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(changes[0].1, LivenessChange::Suspect);
    assert!(changes[0].0 <= 3 * second / 2, "{changes:?}");
}

#[test]
fn a_silent_connection_that_sends_nothing_is_not_suspect() {
    let mut now = Instant::now();
    let mut liveness = Liveness::new(Peer::WithPing { probes_path: false }, keep_alive(), now);
    let mut seen = Seen::default();
    let changes = run(
        &mut liveness,
        &mut now,
        &mut seen,
        Duration::from_secs(600),
        |seen, _, probe, _| {
            if probe.is_some() {
                answer(seen, 1);
            }
        },
    );
    assert_eq!(changes, []);
}

#[test]
fn an_unused_tunnel_sends_few_keep_alives_and_detects_a_dead_server_within_30_seconds() {
    let mut now = Instant::now();
    let mut liveness = Liveness::new(Peer::WithPing { probes_path: false }, keep_alive(), now);
    let (mut seen, mut asked) = (Seen::default(), Vec::new());
    let changes = run(
        &mut liveness,
        &mut now,
        &mut seen,
        Duration::from_secs(600),
        |seen, _, probe, now| {
            if probe == Some(Probe::Ping) {
                asked.push(now);
                answer(seen, 1);
            }
        },
    );
    assert_eq!(changes, []);
    assert!(
        (24..=30).contains(&asked.len()),
        "{} keep-alives",
        asked.len()
    );
    for pair in asked.windows(2) {
        let wait = pair[1] - pair[0];
        assert!(wait <= Duration::from_millis(25_500), "{wait:?}");
    }
    let changes = run(
        &mut liveness,
        &mut now,
        &mut seen,
        Duration::from_secs(60),
        |seen, _, probe, _| seen.sent += u64::from(probe.is_some()),
    );
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert!(changes[0].0 <= IDLE_TIMEOUT, "{changes:?}");
}

#[test]
fn a_tunnel_that_was_just_used_sends_a_keep_alive_after_five_seconds() {
    let mut now = Instant::now();
    let mut liveness = Liveness::new(Peer::WithPing { probes_path: false }, keep_alive(), now);
    let mut seen = Seen::default();
    let second = Duration::from_secs(1);
    for _ in 0..3 {
        let start = now;
        let mut asked = Vec::new();
        seen.inner_sent += 1;
        answer(&mut seen, 1);
        run(
            &mut liveness,
            &mut now,
            &mut seen,
            100 * second,
            |seen, _, probe, now| {
                if probe == Some(Probe::Ping) {
                    asked.push(now - start);
                    answer(seen, 1);
                }
            },
        );
        assert!(asked[0] <= 6 * second, "{asked:?}");
    }
}

#[test]
fn a_go_server_gets_a_keep_alive_every_ten_seconds_where_echo_requests_are_rarer() {
    let mut now = Instant::now();
    let peer = Peer::WithoutPing {
        echo_after: Duration::from_secs(3600),
    };
    let mut liveness = Liveness::new(peer, keep_alive(), now);
    let (mut seen, mut asked) = (Seen::default(), 0);
    let minutes = Duration::from_secs(600);
    run(
        &mut liveness,
        &mut now,
        &mut seen,
        minutes,
        |seen, _, probe, _| {
            if probe == Some(Probe::Ping) {
                asked += 1;
                answer(seen, 1);
            }
        },
    );
    assert!((50..=60).contains(&asked), "{asked} pings");
}

#[test]
fn a_go_server_that_acknowledges_but_answers_no_echo_is_suspect_after_two_misses() {
    let mut now = Instant::now();
    let mut liveness = Liveness::new(GO, keep_alive(), now);
    let mut seen = Seen::default();
    let changes = run(
        &mut liveness,
        &mut now,
        &mut seen,
        Duration::from_secs(10),
        |seen, _, probe, _| {
            if probe.is_some() {
                answer(seen, 1);
            }
        },
    );
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert!(changes[0].0 >= Duration::from_secs(7) && changes[0].0 <= Duration::from_secs(9));
}

#[test]
fn a_go_server_that_answers_echoes_is_never_suspect() {
    let mut now = Instant::now();
    let mut liveness = Liveness::new(GO, keep_alive(), now);
    let mut seen = Seen::default();
    let changes = run(
        &mut liveness,
        &mut now,
        &mut seen,
        Duration::from_secs(600),
        |seen, _, probe, _| {
            if probe.is_some() {
                answer(seen, 1);
                seen.inner_received += 1;
            }
        },
    );
    assert_eq!(changes, []);
}

#[test]
fn padded_pings_lost_in_a_row_while_small_packets_arrive_report_a_smaller_path() {
    let mut now = Instant::now();
    let (mut liveness, mut seen) = (ours(now), Seen::default());
    let changes = run(
        &mut liveness,
        &mut now,
        &mut seen,
        Duration::from_secs(8),
        |seen, _, _, _| {
            answer(seen, 1);
            seen.inner_sent += 1;
        },
    );
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(changes[0].1, LivenessChange::PathTooSmall);
    assert!(changes[0].0 <= Duration::from_secs(5), "{changes:?}");
}

#[test]
fn an_hour_of_one_percent_loss_does_not_report_a_smaller_path() {
    let mut now = Instant::now();
    let (mut liveness, mut seen) = (ours(now), Seen::default());
    let mut dice = 1u64;
    let changes = run(
        &mut liveness,
        &mut now,
        &mut seen,
        Duration::from_secs(3600),
        |seen, liveness, probe, now| {
            answer(seen, 10);
            seen.inner_sent += 10;
            seen.lost += 1;
            dice = dice
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            if probe == Some(Probe::PaddedPing) && (dice >> 33) % 100 >= 2 {
                liveness.path_answered(now);
            }
        },
    );
    assert_eq!(changes, []);
}

#[test]
fn an_echo_reply_is_ours_once_and_only_for_an_outstanding_request() {
    let mut now = Instant::now();
    let mut liveness = Liveness::new(GO, keep_alive(), now);
    assert!(
        (0..=u16::MAX).all(|sequence| !liveness.is_our_reply(sequence)),
        "nothing was sent"
    );
    let mut asked = Vec::new();
    let mut seen = Seen::default();
    run(
        &mut liveness,
        &mut now,
        &mut seen,
        Duration::from_secs(9),
        |_, _, probe, _| {
            if let Some(Probe::Echo(sequence)) = probe {
                asked.push(sequence);
            }
        },
    );
    let [.., before, last] = asked[..] else {
        panic!("asked {asked:?}");
    };
    assert!(!liveness.is_our_reply(last.wrapping_add(1)), "not sent yet");
    assert!(liveness.is_our_reply(before), "a late reply");
    assert!(!liveness.is_our_reply(before), "the same again");
    assert!(liveness.is_our_reply(last));
    assert!(!liveness.is_our_reply(last));
}
