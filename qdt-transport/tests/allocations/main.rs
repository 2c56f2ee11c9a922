//! The packet path allocates nothing: a client and a server carry packets over real QUIC on
//! loopback, and a recording allocator attributes each allocation to a crate.
//!
//! Allocations of quinn-proto and its dependencies are printed alongside (`cargo test -p
//! qdt-transport --test allocations -- --nocapture`).

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

/// Turns before recording, in which buffers grow to their final size.
const WARM_UP: usize = 100;
/// Recorded turns.
const TURNS: usize = 200;

/// One test for all shapes, because the allocator records the whole process.
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
        let allocations = callers::by_crate(&counting::stop());
        println!("{shape:?}: allocations for {packets} packets, {TURNS} turns up and down");
        for (owner, sites) in &allocations {
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

/// Shows that the assertion above can fail: an allocation of our code is attributed to it.
#[test]
fn an_allocation_of_our_own_code_is_found() {
    let _exclusive = pair::exclusive();
    counting::start();
    std::thread::spawn(|| drop(qdt_proto::datagram::ReplayWindow::new(2048)))
        .join()
        .expect("the window can be made");
    let allocations = callers::by_crate(&counting::stop());
    let sites = allocations
        .get("qdt-proto")
        .expect("the window's memory was recorded");
    assert!(
        sites.keys().any(|site| site.contains("replay.rs")),
        "{sites:?}"
    );
}
