//! The packet path asks for no memory: a client and a server carry packets for each other over real
//! QUIC on loopback, and an allocator notes who asks.
//!
//! What quinn-proto and its kin ask for per packet is theirs; it is printed beside it
//! (`cargo test -p qdt-transport --test allocations -- --nocapture`).

#![allow(clippy::disallowed_methods, reason = "a test may read the clock")]

mod callers;
mod counting;
mod pair;
#[path = "../support/mod.rs"]
#[allow(
    dead_code,
    reason = "the set-up of another test file, of which this one needs a part"
)]
mod support;

use pair::{Pair, Shape};

/// Turns before those that count: buffers grow to what is needed, and QUIC's connection settles.
const WARM_UP: usize = 100;
/// Turns that count.
const TURNS: usize = 200;

/// One test for all shapes: the allocator notes what the whole process does.
#[test]
fn our_own_code_allocates_nothing_per_packet_in_either_direction() {
    let mut own = Vec::new();
    for shape in [Shape::Single, Shape::Small, Shape::Super] {
        let mut pair = Pair::connect(shape);
        for _ in 0..WARM_UP {
            pair.turn();
        }
        counting::start();
        let packets: usize = (0..TURNS).map(|_| pair.turn()).sum();
        let asked = callers::by_crate(&counting::stop());
        println!("{shape:?}: allocations for {packets} packets, {TURNS} turns up and down");
        for (owner, sites) in &asked {
            let total: u64 = sites.values().sum();
            let share = total as f64 / packets as f64;
            println!("  {total} by {owner}, {share:.4} per packet");
            for (site, count) in sites {
                println!("    {count} in {site}");
                if owner.starts_with("qdt-") {
                    own.push(format!("{shape:?}: {count} by {owner} in {site}"));
                }
            }
        }
    }
    assert!(
        own.is_empty(),
        "our own code allocates:\n{}",
        own.join("\n")
    );
}

/// That the assertion above can fail: memory that the packet worker asks for is put down to it.
#[test]
fn what_our_own_code_asks_for_is_found() {
    let _one_at_a_time = pair::alone();
    counting::start();
    std::thread::spawn(|| drop(qdt_proto::datagram::ReplayWindow::new(2048)))
        .join()
        .expect("the window can be made");
    let asked = callers::by_crate(&counting::stop());
    let sites = asked
        .get("qdt-proto")
        .expect("the window's memory was noted");
    assert!(
        sites.keys().any(|site| site.contains("replay.rs")),
        "{sites:?}"
    );
}
