//! Requests that the policy judges later, from another thread.

use qdt_proto::datagram::SessionId;

use super::*;

/// A pair whose client has asked for a session, and whose policy has said nothing yet.
fn asked(seed: u64) -> VirtualPair {
    let mut pair = VirtualPair::new(seed, Conditions::GOOD);
    pair.policy.decide_later();
    pair.dial();
    pair.until("a request", |pair| pair.policy.asked() == 1);
    pair
}

/// Answers the request that has waited longest, and returns the session that it was granted.
fn answer(pair: &VirtualPair, refusal: Option<Refusal>) -> SessionId {
    let (reply, grant) = pair.policy.take_asked();
    let id = grant.id;
    let answer = std::thread::spawn(move || reply.answer(refusal.map_or(Ok(grant), Err)));
    answer.join().expect("it answers");
    id
}

fn refusals(pair: &VirtualPair) -> Vec<(u16, &str)> {
    let refused = pair.events.iter().filter_map(|event| match event {
        ClientEvent::Refused { status, body, .. } => Some((*status, body.trim_end())),
        _ => None,
    });
    refused.collect()
}

#[test]
fn a_session_that_is_granted_later_carries_packets_like_any_other() {
    let mut pair = asked(11);
    pair.run_for(Duration::from_secs(2));
    assert!(pair.events.is_empty(), "{:?}", pair.events);
    answer(&pair, None);
    pair.until("a session", |pair| pair.adopted);
    assert_eq!(pair.exchange(20), [20, 20]);
    pair.run_for(Duration::from_secs(10));
    assert_eq!(pair.exchange(20), [20, 20]);
    assert_eq!(pair.policy.ended(), []);
}

#[test]
fn a_refusal_that_comes_later_reaches_the_client_as_the_policy_put_it() {
    let mut pair = asked(12);
    let refusal = Refusal {
        status: 429,
        body: "rate limited",
    };
    answer(&pair, Some(refusal));
    pair.until("a refusal", |pair| !refusals(pair).is_empty());
    assert_eq!(refusals(&pair), [(429, "rate limited")]);
    assert!(!pair.adopted);
}

#[test]
fn a_client_that_nobody_answers_in_time_is_refused_and_a_later_grant_ends_at_once() {
    let mut pair = asked(13);
    let before = pair.now;
    pair.until("a refusal", |pair| !pair.events.is_empty());
    assert!(pair.now - before <= Duration::from_secs(4), "in its time");
    assert_eq!(refusals(&pair), [(503, "no decision in time")]);
    let late = answer(&pair, None);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.policy.ended(), [late]);
    assert!(!pair.adopted);
}

#[test]
fn an_answer_that_is_dropped_is_a_refusal() {
    let mut pair = asked(14);
    drop(pair.policy.take_asked());
    pair.run_for(Duration::from_secs(1));
    assert_eq!(refusals(&pair), [(503, "no decision in time")]);
    assert_eq!(pair.policy.ended(), []);
}

#[test]
fn a_grant_for_a_client_that_has_gone_ends_at_once_and_takes_nothing_from_the_next() {
    let mut pair = asked(15);
    pair.command(ClientCommand::Hangup(AttemptId(1)));
    pair.run_for(Duration::from_secs(5));
    // The next connection has the place of the first, and its request the same stream.
    pair.dial();
    pair.until("its request", |pair| pair.policy.asked() == 2);
    let first = answer(&pair, None);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.policy.ended(), [first]);
    assert!(!pair.adopted, "the first one's session is nobody else's");
    answer(&pair, None);
    pair.until("a session", |pair| pair.adopted);
    assert_eq!(pair.policy.ended(), [first]);
    assert_eq!(pair.exchange(20), [20, 20]);
}
