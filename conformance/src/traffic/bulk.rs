//! Greedy TCP connections that send until they are dropped.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use crate::Machine;

/// Connections from one machine to another that are kept full.
#[derive(Debug)]
pub struct Bulk {
    streams: Vec<TcpStream>,
    received: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Bulk {
    /// `count` connections from `from` to `address` on `to`, each with CUBIC (RFC 9438): what most
    /// senders use, and the one that fills every queue it finds.
    ///
    /// # Panics
    /// When a connection cannot be made or the kernel has no CUBIC.
    #[must_use]
    pub fn start(from: &Machine, to: &Machine, address: Ipv4Addr, count: usize) -> Self {
        let listener = to
            .enter(|| TcpListener::bind(SocketAddr::new(address.into(), 0)))
            .unwrap_or_else(|error| panic!("listen on {address} of {}: {error}", to.name()));
        let target = listener
            .local_addr()
            .expect("a bound socket has an address");
        let mut bulk = Self {
            streams: Vec::new(),
            received: Arc::default(),
            threads: Vec::new(),
        };
        for _ in 0..count {
            let sender = from
                .enter(|| TcpStream::connect(target))
                .unwrap_or_else(|error| panic!("connect {} to {target}: {error}", from.name()));
            socket2::SockRef::from(&sender)
                .set_tcp_congestion(b"cubic")
                .expect("modprobe tcp_cubic");
            let (receiver, _) = listener.accept().expect("the connection stands");
            bulk.streams.push(sender.try_clone().expect("a descriptor"));
            bulk.threads.push(std::thread::spawn(move || send(sender)));
            let received = bulk.received.clone();
            bulk.threads
                .push(std::thread::spawn(move || count_bytes(receiver, &received)));
        }
        bulk
    }

    /// Bytes that have arrived on all of them.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

impl Drop for Bulk {
    fn drop(&mut self) {
        for stream in &self.streams {
            let _ = stream.shutdown(Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Ends with the connection.
fn send(mut stream: TcpStream) {
    let block = vec![0x5a; 64 << 10];
    while stream.write_all(&block).is_ok() {}
}

fn count_bytes(mut stream: TcpStream, received: &AtomicU64) {
    let mut block = vec![0; 64 << 10];
    while let Ok(length @ 1..) = stream.read(&mut block) {
        received.fetch_add(length as u64, Ordering::Relaxed);
    }
}
