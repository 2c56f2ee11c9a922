//! The time after the first success: only a signal or a local error ends the client, and a
//! returning server is found soon.

use crate::script::*;
use qdt_client::{Action, Cause, ClientError, Event, HostFailure, Outcome, Report, Stage};
use qdt_proto::datagram::SessionId;
use qdt_proto::handshake::{ConnectResponse, Ticket};
use qdt_transport::{AttemptId, ClientEvent, DialError, PacketSize};

#[test]
fn a_closed_connection_is_replaced_at_once_with_the_ticket_of_the_session() {
    let (mut script, first) = Script::connected();
    let actions = script.close(first);
    let dial = only_dial(&actions);
    assert_eq!(dial.address, address(V4));
    assert_eq!(dial.size, PacketSize::Full);
    assert_eq!(dial.resume, Some(Ticket::new("ticket-1")));
    assert!(
        actions.contains(&Action::Resolve),
        "the name is resolved again in parallel"
    );
    assert!(
        !changes_host(&actions),
        "device, routes and name servers stay: nothing leaks"
    );
    assert_eq!(script.tunnel.stage(), Stage::Reconnecting);
}

#[test]
fn the_same_address_again_changes_nothing_on_the_host() {
    let (mut script, first) = Script::connected();
    let dial = only_dial(&script.close(first));
    let answer = ConnectResponse {
        session_id: SessionId(8),
        resume: Some("ticket-2".to_owned()),
        ..our_answer()
    };
    let actions = script.establish(dial.attempt, answer, PacketSize::Full);
    assert_eq!(without_reports(actions), [Action::Adopt(dial.attempt)]);
    assert_eq!(script.tunnel.stage(), Stage::Connected);

    let next = only_dial(&script.close(dial.attempt));
    assert_eq!(
        next.resume,
        Some(Ticket::new("ticket-2")),
        "the newest ticket counts"
    );
}

#[test]
fn another_address_reconfigures_the_device_and_the_routes_but_not_the_name_servers() {
    let (mut script, first) = Script::connected_with(go_answer(), PacketSize::Full);
    let dial = only_dial(&script.close(first));
    assert_eq!(dial.resume, None);
    let answer = ConnectResponse {
        client_ip: "10.8.0.9".to_owned(),
        ..go_answer()
    };
    let actions = without_reports(script.establish(dial.attempt, answer, PacketSize::Middle));
    assert!(
        matches!(&actions[..], [Action::SetTun(tun), Action::Adopt(_), Action::SetRoutes(_)]
            if tun.address.addr().to_string() == "10.8.0.9"),
        "{actions:?}"
    );
}

#[test]
fn a_server_that_returns_is_found_within_three_seconds_after_any_absence() {
    let (mut script, first) = Script::connected();
    let mut last = script.elapsed();
    script.close(first);
    for (at, action) in script.wait_timed(secs(3600)) {
        if matches!(&action, Action::Dial(dial) if dial.size == PacketSize::Full) {
            assert!(
                at - last < ms(2500),
                "no new attempt between {last:?} and {at:?}"
            );
            last = at;
        }
    }
    assert!(script.elapsed() - last < ms(2500));
    assert_eq!(script.tunnel.stage(), Stage::Reconnecting);
}

#[test]
fn a_restarted_server_is_found_within_little_more_than_a_second() {
    let (mut script, first) = Script::connected();
    script.close(first);
    let times: Vec<_> = script
        .wait_timed(secs(3))
        .into_iter()
        .filter(|(_, action)| matches!(action, Action::Dial(dial) if dial.size == PacketSize::Full))
        .map(|(at, _)| at)
        .collect();
    assert!(
        times[0] < ms(1100) && times[1] - times[0] < ms(1100),
        "{times:?}"
    );
}

#[test]
fn a_server_without_an_answer_has_a_bounded_number_of_attempts() {
    let (mut script, first) = Script::connected();
    script.event(resolved(&[V4, V6, "192.0.2.2:443", "192.0.2.3:443"]));
    let mut in_flight = dials(&script.close(first)).len();
    for _ in 0..600 {
        let actions = script.wait(secs(1));
        in_flight = in_flight + dials(&actions).len() - closed(&actions).len();
        assert!(in_flight <= 32, "{in_flight}");
    }
}

#[test]
fn a_network_error_is_followed_by_another_attempt_within_two_seconds() {
    let (mut script, first) = Script::connected();
    let mut dial = only_dial(&script.close(first));
    for _ in 0..30 {
        let error = DialError::Io("network is unreachable".to_owned());
        let base = only_dial(&script.fail(dial.attempt, error.clone()));
        script.fail(base.attempt, error);
        let (after, next) = script.next_dial(secs(3));
        assert!((ms(500)..=secs(2)).contains(&after), "{after:?}");
        dial = next;
    }
}

#[test]
fn a_server_that_refuses_is_asked_with_growing_pauses_up_to_ten_seconds() {
    let (mut script, first) = Script::connected();
    let mut dial = only_dial(&script.close(first));
    let mut longest = ms(0);
    for _ in 0..40 {
        script.refuse(dial.attempt, 503, "server busy\n");
        let (after, next) = script.next_dial(secs(11));
        assert!((ms(500)..=secs(10)).contains(&after), "{after:?}");
        longest = longest.max(after);
        dial = next;
    }
    assert!(longest > secs(7), "{longest:?}");
}

#[test]
fn a_server_that_has_just_been_started_is_asked_again_within_two_seconds() {
    let (mut script, first) = Script::connected();
    let mut dial = only_dial(&script.close(first));
    for _ in 0..30 {
        script.refuse(dial.attempt, 503, "not ready\n");
        let (after, next) = script.next_dial(secs(3));
        assert!((ms(500)..=secs(2)).contains(&after), "{after:?}");
        dial = next;
    }
}

#[test]
fn a_server_that_is_not_ready_is_asked_again_soon_although_its_other_address_does_not_answer() {
    let (mut script, first) = Script::connected();
    script.event(resolved(&[V4, V6]));
    let dial = only_dial(&script.close(first));
    script.wait(ms(260));
    script.refuse(dial.attempt, 503, "not ready\n");
    let again = script
        .wait_timed(secs(4))
        .into_iter()
        .find(|(_, action)| matches!(action, Action::Dial(next) if next.address == dial.address));
    let (at, _) = again.expect("the address that answered is asked again");
    assert!(at < ms(3400), "{at:?}");
}

#[test]
fn a_refused_token_after_success_retries_slowly() {
    let (mut script, first) = Script::connected();
    let mut dial = only_dial(&script.close(first));
    for _ in 0..5 {
        script.refuse(dial.attempt, 401, "unauthorized\n");
        let (after, next) = script.next_dial(secs(11));
        assert!((ms(7500)..=secs(10)).contains(&after), "{after:?}");
        dial = next;
    }
    script.establish(dial.attempt, our_answer(), PacketSize::Full);
    assert_eq!(
        script.tunnel.stage(),
        Stage::Connected,
        "the token may come back"
    );
}

#[test]
fn neither_a_refused_certificate_nor_an_invalid_answer_ends_a_tunnel_that_once_was_up() {
    let (mut script, first) = Script::connected();
    let dial = only_dial(&script.close(first));
    script.fail(
        dial.attempt,
        DialError::Certificate("unknown issuer".to_owned()),
    );
    let (_, dial) = script.next_dial(secs(11));
    let answer = ConnectResponse {
        client_ip: "0.0.0.0".to_owned(),
        ..our_answer()
    };
    let actions = script.establish(dial.attempt, answer, PacketSize::Full);
    assert!(!changes_host(&actions));
    let (_, dial) = script.next_dial(secs(11));
    script.establish(dial.attempt, our_answer(), PacketSize::Full);
    assert_eq!(script.tunnel.stage(), Stage::Connected);
}

#[test]
fn an_address_that_refuses_is_asked_again_although_another_does_not_answer() {
    let (mut script, first) = Script::connected();
    script.event(resolved(&[V4, V6]));
    let dial = only_dial(&script.close(first));
    script.event(resolved(&[V4, V6]));
    script.refuse(dial.attempt, 503, "server busy\n");
    let actions = script.wait(secs(25));
    assert!(
        dials(&actions)
            .iter()
            .any(|dial| dial.address == address(V4)),
        "{actions:?}"
    );
}

#[test]
fn a_suspect_connection_keeps_carrying_while_a_second_is_dialled_in_parallel() {
    let (mut script, first) = Script::connected();
    let actions = script.worker_event(ClientEvent::Suspect { attempt: first });
    let second = only_dial(&actions);
    assert!(closed(&actions).is_empty());
    assert_eq!(second.resume, Some(Ticket::new("ticket-1")));

    let actions = script.establish(second.attempt, our_answer(), PacketSize::Full);
    assert_eq!(
        adopted(&actions),
        Some(second.attempt),
        "the first that answers wins"
    );
}

#[test]
fn a_suspect_connection_that_answers_again_wins() {
    let (mut script, first) = Script::connected();
    let second = only_dial(&script.worker_event(ClientEvent::Suspect { attempt: first }));
    let actions = script.worker_event(ClientEvent::Recovered { attempt: first });
    assert_eq!(
        actions,
        [
            Action::Close(second.attempt),
            Action::Report(Report::Recovered)
        ]
    );
    assert_eq!(script.tunnel.stage(), Stage::Connected);
    assert!(script.wait(secs(600)).is_empty(), "no attempt follows");
    assert_eq!(only_dial(&script.close(first)).address, address(V4));
}

#[test]
fn a_suspect_connection_that_ends_leaves_the_attempts_running() {
    let (mut script, first) = Script::connected();
    let second = only_dial(&script.worker_event(ClientEvent::Suspect { attempt: first }));
    let actions = script.close(first);
    assert!(
        dials(&actions).is_empty() && closed(&actions).is_empty(),
        "{actions:?}"
    );
    script.establish(second.attempt, our_answer(), PacketSize::Full);
    assert_eq!(script.tunnel.stage(), Stage::Connected);
}

#[test]
fn a_name_that_moved_is_followed_while_reconnecting() {
    let (mut script, first) = Script::connected();
    script.close(first);
    script.event(resolved(&["198.51.100.7:443"]));
    let (_, dial) = script.next_dial(secs(2));
    // An attempt at the old address may be due first.
    let dial = if dial.address == address(V4) {
        script.next_dial(secs(2)).1
    } else {
        dial
    };
    assert_eq!(dial.address, address("198.51.100.7:443"));
}

#[test]
fn a_look_up_that_fails_while_reconnecting_leaves_the_known_addresses() {
    let (mut script, first) = Script::connected();
    script.close(first);
    script.event(Event::Resolved(Err(Cause::new("timed out"))));
    let actions = script.wait(secs(25));
    assert!(
        dials(&actions)
            .iter()
            .all(|dial| dial.address == address(V4))
    );
    assert!(actions.contains(&Action::Resolve), "it is resolved again");
}

#[test]
fn a_connection_that_no_race_waits_for_is_closed() {
    let (mut script, first) = Script::connected();
    let stranger = AttemptId(first.0 + 100);
    let actions = script.establish(stranger, our_answer(), PacketSize::Full);
    assert_eq!(actions, [Action::Close(stranger)]);
}

#[test]
fn a_late_report_about_an_old_connection_is_ignored() {
    let (mut script, first) = Script::connected();
    let second = only_dial(&script.close(first));
    script.establish(second.attempt, our_answer(), PacketSize::Full);
    assert!(script.close(first).is_empty());
    assert!(
        script
            .worker_event(ClientEvent::Suspect { attempt: first })
            .is_empty()
    );
    assert_eq!(script.tunnel.stage(), Stage::Connected);
}

#[test]
fn a_signal_restores_the_host_and_exits_with_0_in_every_state_after_the_first_success() {
    let restored = [
        Action::SetDns(None),
        Action::RemoveRoutes,
        Action::StopWorker,
        Action::Exit(Outcome::Signal),
    ];
    let (mut script, _) = Script::connected();
    assert_eq!(script.event(Event::Signal), restored);

    let (mut script, first) = Script::connected();
    script.close(first);
    assert_eq!(script.event(Event::Signal), restored);
}

#[test]
fn a_lost_tun_device_ends_the_client_after_restoring_the_host() {
    let (mut script, _) = Script::connected();
    let actions = script.worker_event(ClientEvent::TunFailed {
        error: "device is gone".to_owned(),
    });
    let failure = ClientError::Host(HostFailure::Tun(Cause::new("device is gone")));
    assert_eq!(
        actions,
        [
            Action::SetDns(None),
            Action::RemoveRoutes,
            Action::StopWorker,
            Action::Exit(Outcome::Failed(failure)),
        ]
    );
}

#[test]
fn a_distant_server_does_not_get_two_requests_every_time() {
    let (mut script, actions) = Script::started(settings(), &[V4]);
    let first = only_dial(&actions).attempt;
    let base = only_dial(&script.wait(ms(700)));
    assert_eq!(base.size, PacketSize::Base);
    script.establish(first, our_answer(), PacketSize::Full);
    // It took 700 ms, so the next small attempt is delayed by more than a second.
    let second = only_dial(&script.close(first));
    assert!(dials(&script.wait(ms(700))).is_empty());
    script.establish(second.attempt, our_answer(), PacketSize::Full);
}

#[test]
fn a_success_makes_the_next_pause_a_short_one_again() {
    let (mut script, first) = Script::connected();
    let mut dial = only_dial(&script.close(first));
    for _ in 0..20 {
        script.refuse(dial.attempt, 503, "server busy\n");
        dial = script.next_dial(secs(11)).1;
    }
    script.establish(dial.attempt, our_answer(), PacketSize::Full);
    for _ in 0..20 {
        dial = only_dial(&script.close(dial.attempt));
        script.refuse(dial.attempt, 503, "server busy\n");
        let (after, next) = script.next_dial(secs(11));
        assert!(after <= ms(1500), "{after:?}");
        script.establish(next.attempt, our_answer(), PacketSize::Full);
        dial = next;
    }
}

#[test]
fn an_address_that_refused_stays_out_of_the_race_when_the_name_is_looked_up_meanwhile() {
    let (mut script, first) = Script::connected();
    script.event(resolved(&[V4, V6]));
    let dial = only_dial(&script.close(first));
    script.event(resolved(&[V4, V6]));
    script.refuse(dial.attempt, 503, "server busy\n");
    script.event(resolved(&[V4, V6]));
    let actions = script.wait(secs(5));
    assert!(
        dials(&actions)
            .iter()
            .all(|dial| dial.address == address(V6)),
        "{actions:?}"
    );
}
