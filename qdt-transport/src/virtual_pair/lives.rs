//! Life-cycle tests of connections: loss and reordering, rebinding, a smaller path, another server.
//!
//! `QDT_SEED=n` runs that seed alone, `QDT_SEEDS=n` the first n seeds.

use super::*;

/// The number of seeds by default.
const LIVES: u64 = 1000;

fn events(pair: &VirtualPair, is: impl Fn(&ClientEvent) -> bool) -> usize {
    pair.events.iter().filter(|event| is(event)).count()
}

#[test]
fn every_packet_passes_a_good_path_in_both_directions() {
    let mut pair = VirtualPair::new(1, Conditions::GOOD);
    pair.connect();
    assert_eq!(pair.exchange(50), [50, 50]);
}

#[test]
fn a_client_whose_address_changes_keeps_its_session() {
    let mut pair = VirtualPair::new(2, Conditions::GOOD);
    pair.connect();
    pair.rebind_client();
    let [up, down] = pair.exchange(50);
    assert_eq!(up, 50);
    assert!(down >= 40, "{down}: but for those sent to the old address");
    assert_eq!(pair.exchange(50), [50, 50]);
    assert_eq!(pair.policy.granted(), 1);
    assert_eq!(pair.events.len(), 1, "{:?}", pair.events);
}

#[test]
fn a_path_that_carries_no_full_packets_is_dialled_at_the_small_size() {
    let mut small = Conditions::GOOD;
    small.mtu = 1250;
    let mut pair = VirtualPair::new(3, small);
    pair.connect();
    let at = |wanted: PacketSize| {
        let is = |event: &ClientEvent| match event {
            ClientEvent::Established { size, .. } => *size == wanted,
            _ => false,
        };
        events(&pair, is)
    };
    assert_eq!([at(PacketSize::Base), at(PacketSize::Full)], [1, 0]);
    assert_eq!(pair.exchange(20), [20, 20]);
}

#[test]
fn a_session_moves_when_its_path_shrinks() {
    let mut pair = VirtualPair::new(4, Conditions::GOOD);
    pair.connect();
    pair.network.borrow_mut().conditions.mtu = 1250;
    pair.exchange(2000);
    let too_small = |event: &ClientEvent| matches!(event, ClientEvent::PathTooSmall { .. });
    assert_eq!(events(&pair, too_small), 1);
    assert_eq!(pair.exchange(20), [20, 20]);
}

#[test]
fn a_restarted_server_gives_the_client_its_inner_address_back() {
    let mut pair = VirtualPair::new(5, Conditions::GOOD);
    pair.connect();
    pair.restart_server();
    pair.exchange(50);
    assert_eq!(
        events(&pair, |event| matches!(event, ClientEvent::Closed { .. })),
        1
    );
    assert_eq!(pair.policy.granted(), 1, "by the second server");
    assert_eq!(pair.exchange(20), [20, 20]);
}

/// Runs the life of a seed on a bad path with one disturbance. Returns the number of datagrams and
/// the time.
fn live(seed: u64) -> (u64, Duration) {
    let mut random = Random::new(!seed);
    let delay = Duration::from_millis(1 + random.below(60));
    let bad = Conditions {
        delay,
        jitter: Duration::from_millis(random.below(20)),
        loss: random.below(100),
        twice: random.below(50),
        mtu: 1472,
    };
    let mut pair = VirtualPair::new(seed, bad);
    let start = pair.now;
    pair.connect();
    pair.exchange(20);
    match random.below(4) {
        0 => pair.rebind_client(),
        1 => pair.restart_server(),
        2 => pair.network.borrow_mut().conditions.mtu = 1250,
        _ => {}
    }
    pair.exchange(20);
    // Once the path is good again no packet is lost.
    let mut good = Conditions::GOOD;
    good.mtu = pair.network.borrow().conditions.mtu;
    pair.network.borrow_mut().conditions = good;
    let mut rounds = 0;
    while pair.exchange(10) != [10, 10] {
        rounds += 1;
        assert!(rounds < 20, "not whole again: {:?}", pair.events);
    }
    let sent = pair.network.borrow().sent();
    (sent, pair.now.duration_since(start))
}

#[test]
fn a_tunnel_survives_the_disturbances_of_every_seed() {
    let number = |name| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().expect("a number"))
    };
    let seeds = match number("QDT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("QDT_SEEDS").unwrap_or(LIVES),
    };
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| live(seed)) {
            println!("to run it alone: QDT_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn a_seed_reproduces_its_life() {
    for seed in 0..8 {
        assert_eq!(live(seed), live(seed), "seed {seed}");
    }
    assert_ne!(live(0), live(1));
}
