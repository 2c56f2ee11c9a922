//! The QUIC packet size of a connection, and the upgrade to a better one.

use crate::script::*;
use qdt_client::{Action, Report, Stage};
use qdt_proto::handshake::Ticket;
use qdt_transport::{AttemptId, ClientEvent, DialError, PacketSize};

#[test]
fn full_size_is_dialled_first_and_the_smallest_in_parallel_after_300_milliseconds() {
    let (mut script, actions) = Script::started(settings(), &[V4]);
    assert_eq!(only_dial(&actions).size, PacketSize::Full);
    let (after, dial) = script.next_dial(secs(1));
    assert_eq!((after, dial.size), (ms(300), PacketSize::Base));
}

#[test]
fn the_first_of_the_two_that_answers_wins_and_the_other_is_closed() {
    for (winner, loser) in [(AttemptId(1), AttemptId(2)), (AttemptId(2), AttemptId(1))] {
        let (mut script, _) = Script::started(settings(), &[V4]);
        script.wait(ms(300));
        let size = if winner.0 == 1 {
            PacketSize::Full
        } else {
            PacketSize::Base
        };
        let actions = script.establish(winner, our_answer(), size);
        assert_eq!(adopted(&actions), Some(winner));
        assert_eq!(closed(&actions), [loser]);
    }
}

#[test]
fn a_packet_too_large_to_send_dials_the_smallest_size_at_once() {
    let (mut script, _) = Script::started(settings(), &[V4]);
    let actions = script.fail(AttemptId(1), DialError::Io("message too long".to_owned()));
    assert_eq!(only_dial(&actions).size, PacketSize::Base);
}

#[test]
fn a_small_connection_is_tried_at_full_size_after_ten_seconds_and_moves_with_its_ticket() {
    let (mut script, small) = Script::connected_with(our_answer(), PacketSize::Base);
    let (after, dial) = script.next_dial(secs(11));
    assert_eq!((after, dial.size), (secs(10), PacketSize::Full));
    assert_eq!(dial.resume, Some(Ticket::new("ticket-1")));
    assert_eq!(
        script.tunnel.stage(),
        Stage::Connected,
        "the small one carries meanwhile"
    );

    let actions = script.establish(dial.attempt, our_answer(), PacketSize::Full);
    assert_eq!(without_reports(actions), [Action::Adopt(dial.attempt)]);
    assert!(script.close(small).is_empty());
    assert!(dials(&script.wait(secs(3600))).is_empty());
}

#[test]
fn full_size_without_an_answer_is_tried_at_growing_intervals_up_to_ten_minutes() {
    let (mut script, _) = Script::connected_with(our_answer(), PacketSize::Base);
    let start = script.elapsed();
    let times: Vec<u64> = script
        .wait_timed(secs(4000))
        .into_iter()
        .filter(|(_, action)| matches!(action, Action::Dial(_)))
        .map(|(at, _)| (at - start).as_secs())
        .collect();
    // Each attempt lasts the ten seconds of the timeout; then come 20, 40, 80 ... 600 seconds.
    assert_eq!(
        times,
        [10, 40, 90, 180, 350, 680, 1290, 1900, 2510, 3120, 3730]
    );
    assert_eq!(script.tunnel.stage(), Stage::Connected);
}

#[test]
fn a_small_answer_after_an_outage_is_tried_at_full_size_at_once() {
    let (mut script, first) = Script::connected();
    script.close(first);
    // The server was unreachable at both sizes, so the small winner says nothing about the path.
    let small = small_after_an_outage(&mut script);
    script.establish(small, our_answer(), PacketSize::Base);
    let (after, dial) = script.next_dial(secs(1));
    assert_eq!((after, dial.size), (ms(0), PacketSize::Full));
}

#[test]
fn a_go_server_is_never_dialled_again_for_the_sake_of_size() {
    let (mut script, _) = Script::connected_with(go_answer(), PacketSize::Base);
    assert!(script.wait(secs(3600)).is_empty());
}

/// Waits until the smallest size has been dialled after an outage of the server.
fn small_after_an_outage(script: &mut Script) -> AttemptId {
    loop {
        let (_, dial) = script.next_dial(secs(3));
        if dial.size == PacketSize::Base && script.elapsed() > secs(2) {
            return dial.attempt;
        }
    }
}

#[test]
fn a_small_answer_of_a_go_server_after_an_outage_waits_for_one_of_the_size_its_sessions_need() {
    let (mut script, first) = Script::connected_with(go_answer(), PacketSize::Full);
    script.close(first);
    let small = small_after_an_outage(&mut script);
    let actions = script.establish(small, go_answer(), PacketSize::Base);
    assert_eq!(
        adopted(&actions),
        None,
        "the server cannot move the session later"
    );
    assert!(!closed(&actions).contains(&small));
    let better = only_dial(&actions);
    assert_eq!(better.size, PacketSize::Middle);

    let actions = script.establish(better.attempt, go_answer(), PacketSize::Middle);
    assert_eq!(adopted(&actions), Some(better.attempt));
    assert_eq!(closed(&actions), [small]);
}

#[test]
fn a_small_answer_of_a_go_server_wins_when_nothing_larger_answers_soon() {
    let (mut script, first) = Script::connected_with(go_answer(), PacketSize::Full);
    script.close(first);
    let small = small_after_an_outage(&mut script);
    let better = only_dial(&script.establish(small, go_answer(), PacketSize::Base));
    let actions = script.wait(ms(300));
    assert_eq!(adopted(&actions), Some(small));
    assert_eq!(closed(&actions), [better.attempt]);
    assert!(script.wait(secs(3600)).is_empty());
}

#[test]
fn a_small_answer_that_waits_wins_at_once_when_the_larger_attempt_fails() {
    let (mut script, first) = Script::connected_with(go_answer(), PacketSize::Full);
    script.close(first);
    let small = small_after_an_outage(&mut script);
    let better = only_dial(&script.establish(small, go_answer(), PacketSize::Base));
    let actions = script.fail(better.attempt, DialError::Io("message too long".to_owned()));
    assert_eq!(adopted(&actions), Some(small));
}

#[test]
fn a_small_answer_that_waits_and_is_closed_meanwhile_does_not_win() {
    let (mut script, first) = Script::connected_with(go_answer(), PacketSize::Full);
    script.close(first);
    let small = small_after_an_outage(&mut script);
    let better = only_dial(&script.establish(small, go_answer(), PacketSize::Base));
    script.close(small);
    let actions = script.wait(ms(300));
    assert_eq!(adopted(&actions), None);
    assert!(closed(&actions).contains(&better.attempt));
    assert_eq!(script.tunnel.stage(), Stage::Reconnecting);
    script.next_dial(secs(2));
}

#[test]
fn a_small_answer_of_an_unknown_server_after_an_outage_waits_too() {
    let (mut script, _) = Script::started(settings(), &[V4]);
    let small = small_after_an_outage(&mut script);
    let better = only_dial(&script.establish(small, go_answer(), PacketSize::Base));
    assert_eq!(better.size, PacketSize::Full);
    let actions = script.wait(ms(300));
    assert_eq!(adopted(&actions), Some(small));
    assert_eq!(script.tunnel.stage(), Stage::Connected);
}

#[test]
fn a_known_go_server_is_dialled_with_what_its_sessions_need() {
    let (mut script, first) = Script::connected_with(go_answer(), PacketSize::Full);
    assert_eq!(only_dial(&script.close(first)).size, PacketSize::Middle);
    assert_eq!(script.next_dial(secs(1)).1.size, PacketSize::Base);
}

#[test]
fn a_path_that_became_too_small_moves_the_tunnel_to_the_smallest_size() {
    let (mut script, first) = Script::connected();
    let actions = script.worker_event(ClientEvent::PathTooSmall { attempt: first });
    assert_eq!(reports(&actions), [Report::PathTooSmall]);
    let dial = only_dial(&actions);
    assert_eq!(dial.size, PacketSize::Base);
    assert!(
        script
            .worker_event(ClientEvent::PathTooSmall { attempt: first })
            .len()
            <= 3
    );
    assert_eq!(script.tunnel.stage(), Stage::Connected);
}

#[test]
fn full_size_that_does_not_last_is_tried_at_growing_intervals() {
    let (mut script, mut carrying) = Script::connected();
    for expected in [10, 20, 40, 80] {
        let small =
            only_dial(&script.worker_event(ClientEvent::PathTooSmall { attempt: carrying }));
        script.establish(small.attempt, our_answer(), PacketSize::Base);
        let (after, full) = script.next_dial(secs(700));
        assert_eq!(after, secs(expected));
        script.establish(full.attempt, our_answer(), PacketSize::Full);
        carrying = full.attempt;
        script.wait(secs(5));
    }
}

#[test]
fn a_path_that_carries_nothing_makes_the_connection_suspect() {
    let (mut script, first) = Script::connected();
    let mut actions = script.worker_event(ClientEvent::PathTooSmall { attempt: first });
    actions.extend(script.wait(ms(9999)));
    let small: Vec<AttemptId> = dials(&actions).iter().map(|dial| dial.attempt).collect();
    actions.extend(script.wait(ms(1)));
    assert_eq!(script.tunnel.stage(), Stage::Reconnecting);
    assert_eq!(closed(&actions), small, "every small attempt is closed");
    assert_eq!(
        dials(&actions).last().map(|dial| dial.size),
        Some(PacketSize::Full)
    );
}

#[test]
fn a_path_found_too_small_for_a_suspect_connection_gets_the_smallest_size_after_recovery() {
    let (mut script, first) = Script::connected();
    script.worker_event(ClientEvent::Suspect { attempt: first });
    script.worker_event(ClientEvent::PathTooSmall { attempt: first });
    let actions = script.worker_event(ClientEvent::Recovered { attempt: first });
    assert_eq!(only_dial(&actions).size, PacketSize::Base);
}

#[test]
fn a_path_found_too_small_before_the_suspicion_gets_the_smallest_size_after_recovery() {
    let (mut script, first) = Script::connected();
    script.worker_event(ClientEvent::PathTooSmall { attempt: first });
    script.worker_event(ClientEvent::Suspect { attempt: first });
    let actions = script.worker_event(ClientEvent::Recovered { attempt: first });
    assert_eq!(only_dial(&actions).size, PacketSize::Base);
    assert_eq!(script.tunnel.stage(), Stage::Connected);
}

#[test]
fn a_size_upgrade_goes_on_when_the_server_closes_the_old_connection_for_it() {
    // A server moves the session when it gets the ticket: the close of the old connection may
    // arrive before the answer on the new one.
    let (mut script, small) = Script::connected_with(our_answer(), PacketSize::Base);
    let (_, full) = script.next_dial(secs(11));
    let actions = script.close(small);
    assert!(closed(&actions).is_empty(), "{actions:?}");
    assert!(
        dials(&actions).is_empty(),
        "nothing else is dialled yet: {actions:?}"
    );
    assert!(dials(&script.wait(ms(299))).is_empty());
    let actions = script.establish(full.attempt, our_answer(), PacketSize::Full);
    assert_eq!(adopted(&actions), Some(full.attempt));
    assert_eq!(script.tunnel.stage(), Stage::Connected);
}

#[test]
fn a_path_that_answered_small_packets_late_is_not_tried_at_full_size_at_once() {
    let (mut script, first) = Script::connected();
    script.worker_event(ClientEvent::PathTooSmall { attempt: first });
    // The first small attempt was lost.
    let (_, small) = script.next_dial(secs(2));
    script.establish(small.attempt, our_answer(), PacketSize::Base);
    let (after, full) = script.next_dial(secs(11));
    assert_eq!((after, full.size), (secs(10), PacketSize::Full));
}

#[test]
fn a_connection_made_anew_starts_the_waits_for_full_size_over() {
    let (mut script, small) = Script::connected_with(our_answer(), PacketSize::Base);
    script.wait(secs(200));
    script.close(small);
    let base = loop {
        let (_, dial) = script.next_dial(secs(1));
        if dial.size == PacketSize::Base {
            break dial;
        }
    };
    script.establish(base.attempt, our_answer(), PacketSize::Base);
    let (after, full) = script.next_dial(secs(700));
    assert_eq!((after, full.size), (secs(10), PacketSize::Full));
}

#[test]
fn a_small_attempt_does_not_retransmit_where_the_round_trip_time_is_known() {
    let (mut script, first) = Script::connected();
    script.close(first);
    let (_, small) = script.next_dial(secs(1));
    assert_eq!(small.size, PacketSize::Base);
    assert!(!closed(&script.wait(ms(799))).contains(&small.attempt));
    assert!(closed(&script.wait(ms(1))).contains(&small.attempt));
}

#[test]
fn an_answer_to_a_retransmitted_packet_does_not_measure_the_round_trip_time() {
    let (mut script, actions) = Script::started(settings(), &[V4]);
    let first = only_dial(&actions).attempt;
    script.wait(secs(3));
    script.establish(first, our_answer(), PacketSize::Full);
    script.close(first);
    let (after, small) = script.next_dial(secs(1));
    assert_eq!((after, small.size), (ms(300), PacketSize::Base));
}

#[test]
fn a_go_server_replaced_by_our_server_is_tried_at_full_size_while_its_connection_carries() {
    let (mut script, first) = Script::connected_with(go_answer(), PacketSize::Full);
    let dial = only_dial(&script.close(first));
    script.establish(dial.attempt, our_answer(), PacketSize::Middle);
    let (after, full) = script.next_dial(secs(11));
    assert_eq!((after, full.size), (secs(10), PacketSize::Full));
    assert_eq!(closed(&script.wait(secs(10))), [full.attempt]);
    assert_eq!(script.tunnel.stage(), Stage::Connected);
}
