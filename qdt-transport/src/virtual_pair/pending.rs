//! Tests of requests that the policy decides later, from another thread.

use qdt_proto::datagram::SessionId;

use super::*;

/// Returns a pair with a pending request.
fn with_pending_request(seed: u64) -> VirtualPair {
    let mut pair = VirtualPair::new(seed, Conditions::GOOD);
    pair.policy.decide_later();
    pair.dial();
    pair.until("a request", |pair| pair.policy.pending() == 1);
    pair
}

/// Answers the oldest pending request, and returns the session that it was granted.
fn answer(pair: &VirtualPair, refusal: Option<Refusal>) -> SessionId {
    let (reply, grant) = pair.policy.take_pending();
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
fn a_session_that_is_granted_later_carries_packets() {
    let mut pair = with_pending_request(11);
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
fn a_later_refusal_reaches_the_client_unchanged() {
    let mut pair = with_pending_request(12);
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
fn an_overdue_request_is_refused_and_a_later_grant_ends_at_once() {
    let mut pair = with_pending_request(13);
    let before = pair.now;
    pair.until("a refusal", |pair| !pair.events.is_empty());
    assert!(pair.now - before <= Duration::from_secs(4), "in time");
    assert_eq!(refusals(&pair), [(503, "no decision in time")]);
    let late = answer(&pair, None);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.policy.ended(), [late]);
    assert!(!pair.adopted);
}

#[test]
fn a_dropped_reply_is_a_refusal() {
    let mut pair = with_pending_request(14);
    drop(pair.policy.take_pending());
    pair.run_for(Duration::from_secs(1));
    assert_eq!(refusals(&pair), [(503, "no decision in time")]);
    assert_eq!(pair.policy.ended(), []);
}

#[test]
fn a_grant_for_a_closed_connection_ends_at_once_and_does_not_affect_the_next() {
    let mut pair = with_pending_request(15);
    pair.command(ClientCommand::Close(AttemptId(1)));
    pair.run_for(Duration::from_secs(5));
    // The next connection has the handle of the first, and its request the same stream.
    pair.dial();
    pair.until("its request", |pair| pair.policy.pending() == 2);
    let first = answer(&pair, None);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.policy.ended(), [first]);
    assert!(!pair.adopted, "the session of the first is not adopted");
    answer(&pair, None);
    pair.until("a session", |pair| pair.adopted);
    assert_eq!(pair.policy.ended(), [first]);
    assert_eq!(pair.exchange(20), [20, 20]);
}
