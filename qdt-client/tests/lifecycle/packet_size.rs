//! Which QUIC packet size a connection is dialled with, and how the tunnel gets to a better one.

use crate::script::*;
use qdt_client::{Action, Report, Stage};
use qdt_transport::{AttemptId, ClientEvent, DialError, PacketSize, Ticket};

#[test]
fn full_size_is_dialled_first_and_the_smallest_beside_it_after_300_milliseconds() {
    let (mut script, actions) = Script::started(settings(), &[V4]);
    assert_eq!(only_dial(&actions).size, PacketSize::Full);
    let (after, dial) = script.next_dial(secs(1));
    assert_eq!((after, dial.size), (ms(300), PacketSize::Base));
}

#[test]
fn the_first_of_the_two_that_answers_wins_and_the_other_is_hung_up() {
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
        assert_eq!(hangups(&actions), [loser]);
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
fn full_size_that_gets_no_answer_is_tried_ever_more_rarely_down_to_every_ten_minutes() {
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
fn a_small_answer_after_silence_is_tried_at_full_size_at_once() {
    let (mut script, first) = Script::connected();
    script.close(first);
    // The server was away for both sizes, so that the small one won says nothing about the path.
    let small = small_after_silence(&mut script);
    script.establish(small, our_answer(), PacketSize::Base);
    let (after, dial) = script.next_dial(secs(1));
    assert_eq!((after, dial.size), (ms(0), PacketSize::Full));
}

#[test]
fn a_go_server_is_never_dialled_again_for_the_sake_of_size() {
    let (mut script, _) = Script::connected_with(go_answer(), PacketSize::Base);
    assert!(script.wait(secs(3600)).is_empty());
}

/// Waits until the smallest size has been dialled to a server that was away before.
fn small_after_silence(script: &mut Script) -> AttemptId {
    loop {
        let (_, dial) = script.next_dial(secs(3));
        if dial.size == PacketSize::Base && script.elapsed() > secs(2) {
            return dial.attempt;
        }
    }
}

#[test]
fn a_small_answer_of_a_go_server_after_silence_waits_for_one_of_the_size_its_sessions_need() {
    let (mut script, first) = Script::connected_with(go_answer(), PacketSize::Full);
    script.close(first);
    let small = small_after_silence(&mut script);
    let actions = script.establish(small, go_answer(), PacketSize::Base);
    assert_eq!(
        adopted(&actions),
        None,
        "the server cannot move the session later"
    );
    assert!(!hangups(&actions).contains(&small));
    let better = only_dial(&actions);
    assert_eq!(better.size, PacketSize::Middle);

    let actions = script.establish(better.attempt, go_answer(), PacketSize::Middle);
    assert_eq!(adopted(&actions), Some(better.attempt));
    assert_eq!(hangups(&actions), [small]);
}

#[test]
fn a_small_answer_of_a_go_server_wins_when_nothing_larger_answers_soon() {
    let (mut script, first) = Script::connected_with(go_answer(), PacketSize::Full);
    script.close(first);
    let small = small_after_silence(&mut script);
    let better = only_dial(&script.establish(small, go_answer(), PacketSize::Base));
    let actions = script.wait(ms(300));
    assert_eq!(adopted(&actions), Some(small));
    assert_eq!(hangups(&actions), [better.attempt]);
    assert!(script.wait(secs(3600)).is_empty());
}

#[test]
fn a_small_answer_that_waits_wins_at_once_when_the_larger_attempt_fails() {
    let (mut script, first) = Script::connected_with(go_answer(), PacketSize::Full);
    script.close(first);
    let small = small_after_silence(&mut script);
    let better = only_dial(&script.establish(small, go_answer(), PacketSize::Base));
    let actions = script.fail(better.attempt, DialError::Io("message too long".to_owned()));
    assert_eq!(adopted(&actions), Some(small));
}

#[test]
fn a_small_answer_that_waits_and_is_closed_meanwhile_does_not_win() {
    let (mut script, first) = Script::connected_with(go_answer(), PacketSize::Full);
    script.close(first);
    let small = small_after_silence(&mut script);
    let better = only_dial(&script.establish(small, go_answer(), PacketSize::Base));
    script.close(small);
    let actions = script.wait(ms(300));
    assert_eq!(adopted(&actions), None);
    assert!(hangups(&actions).contains(&better.attempt));
    assert_eq!(script.tunnel.stage(), Stage::Reconnecting);
    script.next_dial(secs(2));
}

#[test]
fn a_small_answer_of_an_unknown_server_after_silence_waits_too() {
    let (mut script, _) = Script::started(settings(), &[V4]);
    let small = small_after_silence(&mut script);
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
    let actions = script.link(ClientEvent::PathTooSmall { attempt: first });
    assert_eq!(reports(&actions), [Report::PathTooSmall]);
    let dial = only_dial(&actions);
    assert_eq!(dial.size, PacketSize::Base);
    assert!(
        script
            .link(ClientEvent::PathTooSmall { attempt: first })
            .len()
            <= 3
    );
    assert_eq!(script.tunnel.stage(), Stage::Connected);
}

#[test]
fn full_size_that_does_not_last_is_tried_ever_more_rarely() {
    let (mut script, mut carrying) = Script::connected();
    for expected in [10, 20, 40, 80] {
        let small = only_dial(&script.link(ClientEvent::PathTooSmall { attempt: carrying }));
        script.establish(small.attempt, our_answer(), PacketSize::Base);
        let (after, full) = script.next_dial(secs(700));
        assert_eq!(after, secs(expected));
        script.establish(full.attempt, our_answer(), PacketSize::Full);
        carrying = full.attempt;
        script.wait(secs(5));
    }
}

#[test]
fn a_path_that_carries_nothing_at_all_any_more_is_a_lost_connection() {
    let (mut script, first) = Script::connected();
    let mut actions = script.link(ClientEvent::PathTooSmall { attempt: first });
    actions.extend(script.wait(ms(9999)));
    let small: Vec<AttemptId> = dials(&actions).iter().map(|dial| dial.attempt).collect();
    actions.extend(script.wait(ms(1)));
    assert_eq!(script.tunnel.stage(), Stage::Reconnecting);
    assert_eq!(hangups(&actions), small, "every small attempt is given up");
    assert_eq!(
        dials(&actions).last().map(|dial| dial.size),
        Some(PacketSize::Full)
    );
}

#[test]
fn a_path_found_too_small_while_in_doubt_is_left_for_the_smallest_size_after_recovery() {
    let (mut script, first) = Script::connected();
    script.link(ClientEvent::Suspect { attempt: first });
    script.link(ClientEvent::PathTooSmall { attempt: first });
    let actions = script.link(ClientEvent::Recovered { attempt: first });
    assert_eq!(only_dial(&actions).size, PacketSize::Base);
}

#[test]
fn a_path_found_too_small_before_the_doubt_is_not_forgotten_after_recovery() {
    let (mut script, first) = Script::connected();
    script.link(ClientEvent::PathTooSmall { attempt: first });
    script.link(ClientEvent::Suspect { attempt: first });
    let actions = script.link(ClientEvent::Recovered { attempt: first });
    assert_eq!(only_dial(&actions).size, PacketSize::Base);
    assert_eq!(script.tunnel.stage(), Stage::Connected);
}

#[test]
fn an_attempt_to_grow_goes_on_when_the_server_ends_the_old_connection_for_it() {
    // A server moves the session when it sees the ticket: the end of the old connection may be
    // heard before the answer on the new one.
    let (mut script, small) = Script::connected_with(our_answer(), PacketSize::Base);
    let (_, full) = script.next_dial(secs(11));
    let actions = script.close(small);
    assert!(hangups(&actions).is_empty(), "{actions:?}");
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
    script.link(ClientEvent::PathTooSmall { attempt: first });
    // The first small attempt was lost, as packets are.
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
fn a_small_attempt_does_not_outlast_its_first_packet_where_the_servers_distance_is_known() {
    let (mut script, first) = Script::connected();
    script.close(first);
    let (_, small) = script.next_dial(secs(1));
    assert_eq!(small.size, PacketSize::Base);
    assert!(!hangups(&script.wait(ms(799))).contains(&small.attempt));
    assert!(hangups(&script.wait(ms(1))).contains(&small.attempt));
}

#[test]
fn an_answer_to_a_repeated_packet_says_nothing_about_the_servers_distance() {
    let (mut script, actions) = Script::started(settings(), &[V4]);
    let first = only_dial(&actions).attempt;
    script.wait(secs(3));
    script.establish(first, our_answer(), PacketSize::Full);
    script.close(first);
    let (after, small) = script.next_dial(secs(1));
    assert_eq!((after, small.size), (ms(300), PacketSize::Base));
}

#[test]
fn a_go_server_replaced_by_one_of_ours_is_tried_at_full_size_while_its_connection_carries() {
    let (mut script, first) = Script::connected_with(go_answer(), PacketSize::Full);
    let dial = only_dial(&script.close(first));
    script.establish(dial.attempt, our_answer(), PacketSize::Middle);
    let (after, full) = script.next_dial(secs(11));
    assert_eq!((after, full.size), (secs(10), PacketSize::Full));
    assert_eq!(hangups(&script.wait(secs(10))), [full.attempt]);
    assert_eq!(script.tunnel.stage(), Stage::Connected);
}
