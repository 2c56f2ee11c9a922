//! The TCP listeners of the control side, which serve HTTP/1.
//!
//! Invariants: a peer that the [`PeerFilter`] refuses is reset before a byte of it is read; a
//! connection without a request is closed after [`REQUEST_TIMEOUT`], or at once when evicted.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::net::{TcpListener, TcpStream};
use tracing::warn;

use super::connection_slots::{ConnectionSlots, SlotGuard};
use super::peer_filter::PeerFilter;

/// How long a connection may take to send the head of a request, idle time before it included;
/// longer than the interval of scrapers.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(90);

/// Opens the first of `addresses` that can be bound. An unspecified IPv6 address takes IPv4 too.
///
/// # Errors
/// Returns the error of the last address if none can be bound.
pub fn bind(addresses: &[SocketAddr]) -> io::Result<(TcpListener, SocketAddr)> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match open(*address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn open(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let family = if address.is_ipv6() {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    // Else a restarted server could not bind while old connections are in TIME_WAIT.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, 128)?;
    let listener = TcpListener::from_std(StdListener::from(socket))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Serves `router` forever to the peers that `filter` allows.
pub(super) async fn serve(listener: TcpListener, filter: Arc<PeerFilter>, router: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT);
    let slots = Arc::<ConnectionSlots>::default();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let slot = filter.allows(peer.ip()).then(|| slots.acquire());
                if let Some(slot) = slot.flatten() {
                    let http = http.clone();
                    tokio::spawn(serve_connection(http, stream, slot, router.clone()));
                } else {
                    // A reset leaves no TIME_WAIT state behind for a refused peer.
                    let _ = stream.set_zero_linger();
                }
            }
            Err(error) => {
                // Most likely out of descriptors or memory: the next accept would fail at once.
                warn!(err = %error, "accept on a control listener failed");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Serves one connection until it ends or is evicted.
async fn serve_connection(
    http: http1::Builder,
    stream: TcpStream,
    slot: SlotGuard,
    router: Router,
) {
    let pages = TowerToHyperService::new(router);
    let service = service_fn(|request| {
        let busy = slot.busy();
        let response = pages.call(request);
        async move {
            let response = response.await;
            drop(busy);
            response
        }
    });
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // An error here is the peer's: it went away or does not speak HTTP.
        _ = connection => {}
        () = slot.evicted() => {}
    }
}
