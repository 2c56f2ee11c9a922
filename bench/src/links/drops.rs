//! Packets dropped during a round: our server by reason, either end's TUN device, the link.

use std::collections::BTreeMap;

use conformance::Machine;

use super::link::LiveLink;
use crate::tunnels::Tunnel;

/// Packets by place and reason.
pub(crate) type Drops = BTreeMap<String, u64>;

/// Everything counted so far.
pub(crate) fn counted(live_link: &LiveLink, tunnel: &Tunnel<'_>) -> Drops {
    let mut counted = Drops::new();
    if let Some(metrics) = tunnel.counters() {
        for (reason, count) in metrics.labels("qdt_drops_total", "reason") {
            counted.insert(format!("server {reason}"), count);
        }
    }
    let veth = live_link.veth();
    // Full queues of a TUN device: the program behind it did not read fast enough.
    for (end, machine) in [("client's", &veth.client), ("server's", &veth.server)] {
        counted.insert(
            format!("{end} device"),
            refused_by_device(machine, tunnel.device),
        );
    }
    for (way, place) in ["up", "down"].into_iter().zip(0..) {
        if let Some(relayed) = live_link.relayed() {
            counted.insert(format!("link {way} lost"), relayed[place].lost);
            counted.insert(format!("link {way} queue full"), relayed[place].queue_full);
            counted.insert(format!("link {way} refused"), relayed[place].refused);
        }
        if let Some(drops) = live_link.tbf_drops() {
            counted.insert(format!("link {way} queue full"), drops[place]);
        }
    }
    counted
}

/// What was counted since `earlier`, where it is anything.
pub(crate) fn since(now: Drops, earlier: &Drops) -> Drops {
    now.into_iter()
        .map(|(place, count)| {
            let before = earlier.get(&place).copied().unwrap_or(0);
            (place, count.saturating_sub(before))
        })
        .filter(|(_, count)| *count > 0)
        .collect()
}

fn refused_by_device(machine: &Machine, device: &str) -> u64 {
    machine
        .run(
            "cat",
            &[&format!("/sys/class/net/{device}/statistics/tx_dropped")],
        )
        .trim()
        .parse()
        .expect("a counter is a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_counters_that_grew_are_reported() {
        let drops = |counts: [u64; 3]| -> Drops {
            ["a", "b", "c"]
                .map(str::to_owned)
                .into_iter()
                .zip(counts)
                .collect()
        };
        let mut found = since(drops([5, 2, 9]), &drops([5, 1, 0]));
        assert_eq!((found.remove("b"), found.remove("c")), (Some(1), Some(9)));
        assert!(found.is_empty());
    }
}
