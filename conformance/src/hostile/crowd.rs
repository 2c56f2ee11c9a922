//! Many connections from one socket, and many doing the same thing at once.

use std::net::SocketAddr;

use quinn::Endpoint;

use crate::probe::Probe;

/// Handshakes under way at a time.
const AT_ONCE: usize = 16;

/// Makes that many silent connections; those that the server does not take are left out.
#[must_use]
pub fn crowd(endpoint: &Endpoint, server: SocketAddr, count: usize) -> Vec<Probe> {
    std::thread::scope(|scope| {
        let dialling: Vec<_> = (0..AT_ONCE)
            .map(|n| {
                let share = count / AT_ONCE + usize::from(n < count % AT_ONCE);
                scope.spawn(move || {
                    (0..share)
                        .filter_map(|_| Probe::connect_on(endpoint, server).ok())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        dialling
            .into_iter()
            .flat_map(|thread| thread.join().expect("dialling does not panic"))
            .collect()
    })
}

/// Lets everybody do `work` at the same time and returns what came of it, in order.
///
/// # Panics
/// When `work` does.
pub fn everybody<T: Send, R: Send>(who: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let work = &work;
    std::thread::scope(|scope| {
        let working: Vec<_> = who
            .into_iter()
            .map(|one| scope.spawn(move || work(one)))
            .collect();
        working
            .into_iter()
            .map(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect()
    })
}
