//! The first connect: what ends it, what is retried, and that the host stays unchanged.

use crate::script::*;
use ipnet::IpNet;
use qdt_client::{Action, Cause, ClientError, Event, Failure, Outcome, Report, Stage, TunPlan};
use qdt_host::{DnsPlan, RouteMode, RoutePlan};
use qdt_proto::handshake::ConnectResponse;
use qdt_transport::{AttemptId, Dial, DialError, PacketSize};

fn exit_text(actions: &[Action]) -> String {
    match actions {
        [.., Action::StopWorker, Action::Exit(Outcome::Failed(error))] => error.to_string(),
        other => panic!("the client should have ended: {other:?}"),
    }
}

#[test]
fn a_first_success_sets_the_host_up_around_the_adopted_connection() {
    let (mut script, actions) = Script::started(settings(), &[V4]);
    let expected = Dial {
        attempt: AttemptId(1),
        address: address(V4),
        size: PacketSize::Full,
        resume: None,
    };
    assert_eq!(actions, [Action::Dial(expected)]);

    let actions = script.establish(AttemptId(1), our_answer(), PacketSize::Full);
    let inner: IpNet = "10.8.0.2/24".parse().unwrap();
    assert_eq!(
        actions,
        [
            Action::SetTun(TunPlan {
                address: inner,
                mtu: 1312
            }),
            Action::Adopt(AttemptId(1)),
            Action::SetRoutes(RoutePlan {
                tun: "qdt0".to_owned(),
                address: inner.addr(),
                network: inner.trunc(),
                mode: RouteMode::Default,
            }),
            Action::SetDns(Some(DnsPlan {
                tun: "qdt0".to_owned(),
                servers: vec!["9.9.9.9".parse().unwrap()]
            })),
            Action::Report(Report::Connected {
                session_id: 7,
                address: inner,
                tun_mtu: 1312,
                size: PacketSize::Full,
                extensions: true,
            }),
        ]
    );
    assert_eq!(script.tunnel.stage(), Stage::Connected);
    assert_eq!(script.tunnel.poll_timeout(), None);
}

#[test]
fn a_wrong_token_ends_the_first_connect_with_the_text_of_the_go_client() {
    let (mut script, _) = Script::started(settings(), &[V4]);
    let actions = script.refuse(AttemptId(1), 401, "unauthorized\n");
    assert_eq!(
        exit_text(&actions),
        "connect failed: 401 Unauthorized (unauthorized\n)"
    );
    assert_eq!(script.tunnel.stage(), Stage::Stopping);
    assert!(!changes_host(&actions));
}

fn wrong_certificate() -> DialError {
    DialError::Certificate("certificate has expired".to_owned())
}

/// Fails every attempt with a wrong certificate and resolves the name on request, until the client
/// exits or `within` has passed; returns all actions.
fn failing_for(script: &mut Script, within: std::time::Duration, first: &[Action]) -> Vec<Action> {
    let (mut all, mut todo) = (first.to_vec(), first.to_vec());
    let until = script.elapsed() + within;
    while script.elapsed() < until && script.tunnel.stage() != Stage::Stopping {
        let mut next = Vec::new();
        for dial in dials(&todo) {
            next.extend(script.fail(dial.attempt, wrong_certificate()));
        }
        if todo.contains(&Action::Resolve) {
            next.extend(script.event(resolved(&[V4])));
        }
        if next.is_empty() {
            next = script.wait(ms(50));
        }
        all.extend(next.iter().cloned());
        todo = next;
    }
    all
}

#[test]
fn nothing_but_wrong_certificates_for_fifteen_seconds_ends_the_first_connect_after_one_line() {
    let (mut script, actions) = Script::started(settings(), &[V4]);
    let actions = failing_for(&mut script, secs(30), &actions);
    let lasted = script.elapsed();
    assert!((secs(15)..=secs(17)).contains(&lasted), "{lasted:?}");
    assert_eq!(
        exit_text(&actions),
        "connect failed: certificate has expired"
    );
    assert!(!changes_host(&actions));
    let logged: Vec<Report> = reports(&actions)
        .into_iter()
        .filter(|report| !matches!(report, Report::Resolved(_)))
        .collect();
    let expected = Report::WrongCertificate {
        failure: Failure::Dial(wrong_certificate()),
        give_up_in: secs(15),
    };
    assert_eq!(logged, [expected]);
    assert!(dials(&actions).len() >= 15, "it kept trying: {actions:?}");
}

#[test]
fn a_forged_first_flight_does_not_end_a_client_whose_server_answers_next() {
    let (mut script, actions) = Script::started(settings(), &[V4]);
    failing_for(&mut script, secs(10), &actions);
    assert_ne!(script.tunnel.stage(), Stage::Stopping);
    script.wait(secs(2));
    let dial = match &dials(&script.event(resolved(&[V4])))[..] {
        [dial, ..] => dial.clone(),
        [] => script.next_dial(secs(3)).1,
    };
    script.establish(dial.attempt, our_answer(), PacketSize::Full);
    assert_eq!(script.tunnel.stage(), Stage::Connected);
}

#[test]
fn an_answer_of_the_server_restarts_the_fifteen_seconds() {
    let (mut script, actions) = Script::started(settings(), &[V4]);
    failing_for(&mut script, secs(14), &actions);
    script.wait(secs(1));
    let mut actions = script.event(resolved(&[V4]));
    if dials(&actions).is_empty() {
        actions = vec![Action::Dial(script.next_dial(secs(3)).1)];
    }
    let dial = dials(&actions).remove(0);
    let mut actions = script.refuse(dial.attempt, 503, "server busy\n");
    actions.extend(script.wait(secs(2)));
    let actions = failing_for(&mut script, secs(14), &actions);
    assert_ne!(script.tunnel.stage(), Stage::Stopping, "{actions:?}");
}

#[test]
fn wrong_certificates_that_are_minutes_apart_do_not_end_the_first_connect() {
    let (mut script, actions) = Script::started(settings(), &[V4]);
    script.fail(dials(&actions)[0].attempt, wrong_certificate());
    let mut actions = script.wait(secs(120));
    while dials(&actions).is_empty() {
        actions = script.event(resolved(&[V4]));
        if dials(&actions).is_empty() {
            actions = script.wait(secs(1));
        }
    }
    let last = dials(&actions).pop().unwrap();
    let actions = script.fail(last.attempt, wrong_certificate());
    assert_ne!(script.tunnel.stage(), Stage::Stopping, "{actions:?}");
}

/// An attacker on the path can forge what ends an attempt before the server is authenticated: a
/// close, a reset, a version negotiation, an ICMP error. None of it ends the client.
#[test]
fn nothing_that_can_be_forged_ends_the_first_connect() {
    for error in [
        DialError::Closed("aborted by peer: the server refused the connection".to_owned()),
        DialError::Closed("peer doesn't implement any supported version".to_owned()),
        DialError::Closed("reset by peer".to_owned()),
        DialError::Io("sending: connection refused".to_owned()),
        DialError::Timeout,
    ] {
        assert!(!Failure::Dial(error.clone()).is_final(), "{error}");
        assert!(!Failure::Dial(error.clone()).is_answer(), "{error}");
    }
    assert!(!Failure::Dial(wrong_certificate()).is_final());
}

#[test]
fn an_answer_that_is_not_a_session_ends_the_first_connect_and_leaves_the_host_alone() {
    let (mut script, _) = Script::started(settings(), &[V4]);
    let answer = ConnectResponse {
        cidr: "0.0.0.0/0".to_owned(),
        ..our_answer()
    };
    let actions = script.establish(AttemptId(1), answer, PacketSize::Full);
    let text = exit_text(&actions);
    assert!(
        text.starts_with("connect failed: invalid answer: cidr 0.0.0.0/0"),
        "{text}"
    );
    assert!(!changes_host(&actions));
    assert_eq!(adopted(&actions), None);
}

#[test]
fn an_answer_that_is_not_http3_ends_the_first_connect() {
    let (mut script, _) = Script::started(settings(), &[V4]);
    let actions = script.fail(
        AttemptId(1),
        DialError::InvalidAnswer("no SETTINGS".to_owned()),
    );
    assert_eq!(
        exit_text(&actions),
        "connect failed: invalid answer: no SETTINGS"
    );
}

#[test]
fn permanent_statuses_end_the_first_connect() {
    for status in [400, 404, 405, 500] {
        let (mut script, _) = Script::started(settings(), &[V4]);
        let actions = script.refuse(AttemptId(1), status, "no\n");
        assert!(exit_text(&actions).contains(&status.to_string()));
    }
}

#[test]
fn a_busy_server_is_asked_again_after_a_pause() {
    for status in [429, 503] {
        let (mut script, _) = Script::started(settings(), &[V4]);
        let actions = script.refuse(AttemptId(1), status, "server busy\n");
        let failure = Failure::Refused {
            status,
            body: "server busy\n".to_owned(),
        };
        let [
            Report::Retrying {
                failure: Some(seen),
                pause,
            },
        ] = &reports(&actions)[..]
        else {
            panic!("{actions:?}");
        };
        assert_eq!(*seen, failure);
        assert!((ms(500)..=ms(1500)).contains(pause), "{pause:?}");
        assert_eq!(script.tunnel.stage(), Stage::Disconnected);

        assert_eq!(
            script.wait(*pause),
            [Action::Resolve],
            "every round resolves the name again"
        );
        let again = only_dial(&script.event(resolved(&[V4])));
        assert_eq!(
            (again.attempt, again.size),
            (AttemptId(2), PacketSize::Full)
        );
    }
}

#[test]
fn network_errors_are_followed_by_attempts_forever_with_pauses_up_to_ten_seconds() {
    let (mut script, actions) = Script::started(settings(), &[V4]);
    let mut dial = only_dial(&actions);
    let mut longest = ms(0);
    for _ in 0..60 {
        let error = DialError::Io("network is unreachable".to_owned());
        let mut actions = script.fail(dial.attempt, error.clone());
        // The smallest size follows at once where the first packet was not sent.
        let base = only_dial(&actions);
        assert_eq!(base.size, PacketSize::Base);
        actions = script.fail(base.attempt, error);
        let [Report::Retrying { pause, .. }] = &reports(&actions)[..] else {
            panic!("{actions:?}");
        };
        assert!((ms(500)..=secs(10)).contains(pause), "{pause:?}");
        longest = longest.max(*pause);
        assert_eq!(script.wait(*pause), [Action::Resolve]);
        dial = only_dial(&script.event(resolved(&[V4])));
        assert_eq!(dial.size, PacketSize::Full);
    }
    assert!(longest > secs(8), "{longest:?}");
}

#[test]
fn a_name_without_an_address_is_looked_up_again() {
    let mut script = Script::new(settings());
    script.event(Event::Started);
    let actions = script.event(Event::Resolved(Err(Cause::new("no such host"))));
    assert!(matches!(
        &reports(&actions)[..],
        [Report::Retrying { failure: Some(Failure::Resolve(cause)), .. }] if cause.to_string() == "no such host"
    ));
    assert_eq!(script.wait(secs(2)), [Action::Resolve]);
}

#[test]
fn a_look_up_that_hangs_is_not_started_twice_and_its_late_answer_is_used() {
    let mut script = Script::new(settings());
    script.event(Event::Started);
    let actions = script.wait(secs(40));
    assert!(!actions.contains(&Action::Resolve), "{actions:?}");
    assert!(
        reports(&actions).len() >= 2,
        "rounds of ten seconds end: {actions:?}"
    );
    while script.tunnel.stage() != Stage::Connecting {
        script.wait(ms(100));
    }
    assert_eq!(
        only_dial(&script.event(resolved(&[V4]))).address,
        address(V4)
    );
}

#[test]
fn a_server_without_an_answer_is_dialled_until_the_timeout_and_every_attempt_is_closed() {
    let (mut script, first) = Script::started(settings(), &[V4]);
    let actions = script.wait(secs(10));
    let mut started: Vec<AttemptId> = dials(&first).iter().map(|dial| dial.attempt).collect();
    started.extend(dials(&actions).iter().map(|dial| dial.attempt));
    let mut ended = closed(&actions);
    ended.sort();
    assert_eq!(started, ended);
    assert_eq!(script.tunnel.stage(), Stage::Disconnected);
    let [
        Report::Retrying {
            failure: Some(failure),
            ..
        },
    ] = &reports(&actions)[..]
    else {
        panic!("{actions:?}");
    };
    assert_eq!(failure.to_string(), "no answer within the timeout");
}

#[test]
fn the_configured_timeout_is_the_dial_timeout() {
    let (mut script, _) = Script::started(
        qdt_client::Settings {
            timeout: secs(3),
            ..settings()
        },
        &[V4],
    );
    script.wait(ms(2999));
    assert_eq!(script.tunnel.stage(), Stage::Connecting);
    script.wait(ms(1));
    assert_eq!(script.tunnel.stage(), Stage::Disconnected);
}

#[test]
fn every_address_is_tried_and_ipv4_is_first() {
    let (mut script, actions) = Script::started(settings(), &[V4, V6]);
    assert_eq!(only_dial(&actions).address, address(V4));
    let (after, second) = script.next_dial(secs(1));
    assert_eq!(
        (after, second.address, second.size),
        (ms(250), address(V6), PacketSize::Full)
    );
    let actions = script.establish(second.attempt, our_answer(), PacketSize::Full);
    assert_eq!(closed(&actions), [AttemptId(1)]);
    assert_eq!(adopted(&actions), Some(second.attempt));
}

#[test]
fn an_address_that_cannot_be_reached_does_not_delay_the_next() {
    let (mut script, _) = Script::started(settings(), &[V4, V6]);
    let actions = script.fail(
        AttemptId(1),
        DialError::Io("network is unreachable".to_owned()),
    );
    assert!(
        dials(&actions)
            .iter()
            .any(|dial| dial.address == address(V6)),
        "{actions:?}"
    );
}

#[test]
fn a_busy_server_at_one_address_leaves_the_other_addresses_in_the_round() {
    let (mut script, _) = Script::started(settings(), &[V4, V6]);
    let (_, second) = script.next_dial(secs(1));
    assert!(dials(&script.refuse(AttemptId(1), 503, "server busy\n")).is_empty());
    let actions = script.wait(secs(3));
    assert!(
        dials(&actions)
            .iter()
            .all(|dial| dial.address == address(V6)),
        "{actions:?}"
    );
    script.establish(second.attempt, our_answer(), PacketSize::Full);
    assert_eq!(script.tunnel.stage(), Stage::Connected);
}

#[test]
fn a_signal_exits_with_0_in_every_state_before_the_first_success() {
    let ended_well = |actions: Vec<Action>| {
        assert_eq!(actions, [Action::StopWorker, Action::Exit(Outcome::Signal)]);
    };
    let mut script = Script::new(settings());
    ended_well(script.event(Event::Signal));

    let mut script = Script::new(settings());
    script.event(Event::Started);
    ended_well(script.event(Event::Signal));

    let (mut script, _) = Script::started(settings(), &[V4]);
    ended_well(script.event(Event::Signal));

    let (mut script, _) = Script::started(settings(), &[V4]);
    script.refuse(AttemptId(1), 503, "server busy\n");
    assert_eq!(script.tunnel.stage(), Stage::Disconnected);
    ended_well(script.event(Event::Signal));
}

#[test]
fn nothing_happens_after_the_exit() {
    let (mut script, _) = Script::started(settings(), &[V4]);
    script.event(Event::Signal);
    assert!(
        script
            .establish(AttemptId(1), our_answer(), PacketSize::Full)
            .is_empty()
    );
    assert!(script.event(Event::Signal).is_empty());
    assert!(script.wait(secs(60)).is_empty());
    assert_eq!(script.tunnel.poll_timeout(), None);
}

#[test]
fn a_tun_device_that_cannot_be_made_ends_the_client_before_routes_are_touched() {
    let mut script = Script::started(settings(), &[V4]).0;
    let established = answered(AttemptId(1), &our_answer(), PacketSize::Full);
    let now = std::time::Instant::now();
    script.tunnel.handle_event(now, Event::Worker(established));
    assert!(matches!(
        script.tunnel.poll_action(),
        Some(Action::SetTun(_))
    ));
    let failure = qdt_client::HostFailure::Tun(qdt_client::Cause::new("permission denied"));
    let actions = script.event(Event::HostFailed(failure.clone()));
    let failed = Outcome::Failed(ClientError::Host(failure));
    assert_eq!(actions.last(), Some(&Action::Exit(failed)));
    assert!(
        !actions
            .iter()
            .any(|action| matches!(action, Action::SetRoutes(_))),
        "{actions:?}"
    );
}

#[test]
fn a_look_up_that_ends_between_two_rounds_makes_room_for_the_next() {
    let mut script = Script::new(settings());
    script.event(Event::Started);
    script.wait(secs(10));
    assert_eq!(script.tunnel.stage(), Stage::Disconnected);
    script.event(Event::Resolved(Err(Cause::new("no such host"))));
    assert_eq!(script.wait(secs(2)), [Action::Resolve]);
}

#[test]
fn a_round_is_logged_with_its_most_significant_failure() {
    let (mut script, _) = Script::started(settings(), &[V4, V6]);
    let (_, mut dial) = script.next_dial(secs(1));
    script.refuse(AttemptId(1), 503, "server busy\n");
    let failure = loop {
        let actions = script.fail(dial.attempt, DialError::Io("no route to host".to_owned()));
        match (&dials(&actions)[..], &reports(&actions)[..]) {
            ([next], []) => dial = next.clone(),
            (
                [],
                [
                    Report::Retrying {
                        failure: Some(failure),
                        ..
                    },
                ],
            ) => break failure.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        failure.to_string(),
        "503 Service Unavailable (server busy\n)"
    );
}
