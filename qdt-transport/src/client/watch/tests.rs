//! The watch, looked at as often as it asks to be, in simulated time.

use super::*;
use crate::path::IDLE;

/// Looks every time it is asked to, for `span`, with `change` applied to what is seen before each
/// look.
fn run(
    watch: &mut Watch,
    now: &mut Instant,
    seen: &mut Seen,
    span: Duration,
    mut change: impl FnMut(&mut Seen, &mut Watch, Option<Probe>, Instant),
) -> Vec<(Duration, Verdict)> {
    let start = *now;
    let mut verdicts = Vec::new();
    let mut probe = None;
    while *now < start + span {
        change(seen, watch, probe, *now);
        let (verdict, asked, next) = watch.look(*now, *seen);
        verdicts.extend(verdict.map(|verdict| (*now - start, verdict)));
        probe = asked;
        *now = next;
    }
    verdicts
}

/// So many packets were sent, and the peer answered each.
fn answer(seen: &mut Seen, packets: u64) {
    seen.sent += packets;
    seen.received += packets;
    seen.acknowledged += packets;
}

fn ours(now: Instant) -> Watch {
    Watch::new(Peer::Ours { probes_path: true }, pulse(), now)
}

fn pulse() -> Pulse {
    Pulse::with_idle_timeout(None, IDLE)
}

const GO: Peer = Peer::Silent {
    echo_after: Duration::from_secs(5),
};

#[test]
fn packets_that_nothing_answers_make_the_connection_suspect_after_a_second_and_an_answer_clears_it()
{
    let mut now = Instant::now();
    let (mut watch, mut seen) = (ours(now), Seen::default());
    let second = Duration::from_secs(1);
    let verdicts = run(
        &mut watch,
        &mut now,
        &mut seen,
        3 * second,
        |seen, _, _, _| seen.sent += 1,
    );
    assert_eq!(verdicts.len(), 1, "{verdicts:?}");
    assert_eq!(verdicts[0].1, Verdict::Suspect);
    assert!(
        verdicts[0].0 >= second && verdicts[0].0 <= 3 * second / 2,
        "{verdicts:?}"
    );
    let verdicts = run(&mut watch, &mut now, &mut seen, second, |seen, _, _, _| {
        seen.received += 1;
        seen.acknowledged += 1
    });
    assert_eq!(
        verdicts
            .iter()
            .map(|(_, verdict)| *verdict)
            .collect::<Vec<_>>(),
        [Verdict::Recovered]
    );
}

#[test]
fn a_peer_that_talks_but_acknowledges_nothing_is_suspect_as_soon_as_a_silent_one() {
    let mut now = Instant::now();
    let (mut watch, mut seen) = (ours(now), Seen::default());
    let second = Duration::from_secs(1);
    let verdicts = run(
        &mut watch,
        &mut now,
        &mut seen,
        2 * second,
        |seen, _, _, _| {
            seen.sent += 1;
            seen.received += 1;
        },
    );
    assert_eq!(verdicts.len(), 1, "{verdicts:?}");
    assert_eq!(verdicts[0].1, Verdict::Suspect);
    assert!(verdicts[0].0 <= 3 * second / 2, "{verdicts:?}");
}

#[test]
fn a_silent_connection_that_sends_nothing_is_not_suspect() {
    let mut now = Instant::now();
    let mut watch = Watch::new(Peer::Ours { probes_path: false }, pulse(), now);
    let mut seen = Seen::default();
    let verdicts = run(
        &mut watch,
        &mut now,
        &mut seen,
        Duration::from_secs(600),
        |seen, _, probe, _| {
            if probe.is_some() {
                answer(seen, 1);
            }
        },
    );
    assert_eq!(verdicts, []);
}

#[test]
fn a_tunnel_that_nobody_uses_is_asked_rarely_and_a_server_that_dies_meanwhile_is_found_within_30_seconds()
 {
    let mut now = Instant::now();
    let mut watch = Watch::new(Peer::Ours { probes_path: false }, pulse(), now);
    let (mut seen, mut asked) = (Seen::default(), Vec::new());
    let verdicts = run(
        &mut watch,
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
    assert_eq!(verdicts, []);
    assert!(
        (24..=30).contains(&asked.len()),
        "{} questions",
        asked.len()
    );
    for pair in asked.windows(2) {
        let wait = pair[1] - pair[0];
        assert!(wait <= Duration::from_millis(25_500), "{wait:?}");
    }
    let verdicts = run(
        &mut watch,
        &mut now,
        &mut seen,
        Duration::from_secs(60),
        |seen, _, probe, _| seen.sent += u64::from(probe.is_some()),
    );
    assert_eq!(verdicts.len(), 1, "{verdicts:?}");
    assert!(verdicts[0].0 <= IDLE, "{verdicts:?}");
}

#[test]
fn a_tunnel_that_has_just_been_used_is_asked_after_five_seconds() {
    let mut now = Instant::now();
    let mut watch = Watch::new(Peer::Ours { probes_path: false }, pulse(), now);
    let mut seen = Seen::default();
    let second = Duration::from_secs(1);
    for _ in 0..3 {
        let start = now;
        let mut asked = Vec::new();
        seen.inner_sent += 1;
        answer(&mut seen, 1);
        run(
            &mut watch,
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
fn a_go_server_hears_something_every_ten_seconds_where_echo_requests_are_rarer() {
    let mut now = Instant::now();
    let peer = Peer::Silent {
        echo_after: Duration::from_secs(3600),
    };
    let mut watch = Watch::new(peer, pulse(), now);
    let (mut seen, mut asked) = (Seen::default(), 0);
    let minutes = Duration::from_secs(600);
    run(
        &mut watch,
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
    let mut watch = Watch::new(GO, pulse(), now);
    let mut seen = Seen::default();
    let verdicts = run(
        &mut watch,
        &mut now,
        &mut seen,
        Duration::from_secs(10),
        |seen, _, probe, _| {
            if probe.is_some() {
                answer(seen, 1);
            }
        },
    );
    assert_eq!(verdicts.len(), 1, "{verdicts:?}");
    assert!(verdicts[0].0 >= Duration::from_secs(7) && verdicts[0].0 <= Duration::from_secs(9));
}

#[test]
fn a_go_server_that_answers_echoes_is_never_suspect() {
    let mut now = Instant::now();
    let mut watch = Watch::new(GO, pulse(), now);
    let mut seen = Seen::default();
    let verdicts = run(
        &mut watch,
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
    assert_eq!(verdicts, []);
}

#[test]
fn padded_pings_lost_in_a_row_while_small_packets_arrive_mean_a_smaller_path() {
    let mut now = Instant::now();
    let (mut watch, mut seen) = (ours(now), Seen::default());
    let verdicts = run(
        &mut watch,
        &mut now,
        &mut seen,
        Duration::from_secs(8),
        |seen, _, _, _| {
            answer(seen, 1);
            seen.inner_sent += 1;
        },
    );
    assert_eq!(verdicts.len(), 1, "{verdicts:?}");
    assert_eq!(verdicts[0].1, Verdict::PathTooSmall);
    assert!(verdicts[0].0 <= Duration::from_secs(5), "{verdicts:?}");
}

#[test]
fn an_hour_of_one_percent_loss_shrinks_nothing() {
    let mut now = Instant::now();
    let (mut watch, mut seen) = (ours(now), Seen::default());
    let mut dice = 1u64;
    let verdicts = run(
        &mut watch,
        &mut now,
        &mut seen,
        Duration::from_secs(3600),
        |seen, watch, probe, now| {
            answer(seen, 10);
            seen.inner_sent += 10;
            seen.lost += 1;
            dice = dice
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            if probe == Some(Probe::PaddedPing) && (dice >> 33) % 100 >= 2 {
                watch.path_answered(now);
            }
        },
    );
    assert_eq!(verdicts, []);
}

#[test]
fn a_reply_is_ours_once_and_only_to_a_request_that_nothing_has_answered() {
    let mut now = Instant::now();
    let mut watch = Watch::new(GO, pulse(), now);
    assert!(
        (0..=u16::MAX).all(|sequence| !watch.is_our_reply(sequence)),
        "nothing was asked"
    );
    let mut asked = Vec::new();
    let mut seen = Seen::default();
    run(
        &mut watch,
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
    assert!(!watch.is_our_reply(last.wrapping_add(1)), "not asked yet");
    assert!(watch.is_our_reply(before), "a late reply");
    assert!(!watch.is_our_reply(before), "the same again");
    assert!(watch.is_our_reply(last));
    assert!(!watch.is_our_reply(last));
}
