//! Connection bursts from a few sockets, and work done in parallel.

use std::net::{Ipv4Addr, SocketAddr};

use quinn::Endpoint;

use crate::Lab;
use crate::probe::Probe;

/// Handshakes under way at a time.
const AT_ONCE: usize = 16;

/// Sockets on client 0 with that many addresses of its own, one each: a server counts them as
/// different hosts.
///
/// # Panics
/// When the lab's routers take no route.
#[must_use]
#[track_caller]
pub fn many_addresses(lab: &Lab, count: u8) -> Vec<Endpoint> {
    const NET: &str = "10.99.0.0/24";
    lab.clients[0].ip(&format!("route add local {NET} dev lo"));
    lab.edge.ip(&format!("route add {NET} via 10.77.0.2"));
    lab.core.ip(&format!("route add {NET} via 172.31.0.2"));
    (0..count)
        .map(|n| Probe::endpoint_from(&lab.clients[0], Ipv4Addr::new(10, 99, 0, n).into()))
        .collect()
}

/// Opens `count` silent connections, spread over the sockets, and returns those that the server
/// accepted.
#[must_use]
pub fn connection_burst(endpoints: &[Endpoint], server: SocketAddr, count: usize) -> Vec<Probe> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE)
            .map(|n| {
                let share = count / AT_ONCE + usize::from(n < count % AT_ONCE);
                scope.spawn(move || {
                    let turns = endpoints.iter().cycle().skip(n).step_by(AT_ONCE);
                    turns
                        .take(share)
                        .filter_map(|endpoint| Probe::connect_on(endpoint, server).ok())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("dialling does not panic"))
            .collect()
    })
}

/// Runs `work` on every item in parallel and returns the results in the items' order.
///
/// # Panics
/// When `work` does.
pub fn in_parallel<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = items
            .into_iter()
            .map(|item| scope.spawn(move || work(item)))
            .collect();
        threads
            .into_iter()
            .map(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect()
    })
}
