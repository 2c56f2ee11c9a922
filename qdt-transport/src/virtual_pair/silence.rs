//! Tests of the acknowledgement of the first packet after a silence.

use super::*;

/// Returns a pair with a session and nothing in flight for two seconds.
fn silent(seed: u64) -> VirtualPair {
    let mut pair = VirtualPair::new(seed, Conditions::GOOD);
    pair.connect();
    loop {
        let sent = pair.network.borrow().sent();
        pair.run_for(Duration::from_secs(2));
        if pair.network.borrow().sent() == sent {
            return pair;
        }
    }
}

/// Sends a packet from the client. Returns how many datagrams the server sends in the turn of its
/// arrival.
fn answers_to_a_packet(pair: &mut VirtualPair) -> u64 {
    let inner = pair.inner.expect("a session");
    let up = packet(inner, GATEWAY, 100);
    pair.client_kernel.write(&up).expect("room");
    pair.client.turn(pair.now);
    pair.now = pair.network.borrow().next_arrival().expect("in flight");
    pair.network.borrow_mut().advance(pair.now);
    let before = pair.network.borrow().sent();
    pair.server.turn(pair.now);
    pair.network.borrow().sent() - before
}

#[test]
fn the_first_packet_after_a_silence_is_acknowledged_at_once_without_another_wake_up() {
    let mut pair = silent(21);
    assert_eq!(answers_to_a_packet(&mut pair), 1);
    let next = pair.server.next_deadline().expect("the idle timeout");
    assert!(
        next > pair.now + Duration::from_secs(1),
        "{:?}",
        next - pair.now
    );
}

#[test]
fn other_frames_carry_the_acknowledgement() {
    let mut pair = silent(22);
    let down = packet(GATEWAY, pair.inner.expect("a session"), 100);
    pair.server_kernel.write(&down).expect("room");
    assert_eq!(answers_to_a_packet(&mut pair), 1);
}
