//! The TCP listeners of the control side: opened, and served with HTTP/1.
//!
//! What always holds: a peer that the [`Guard`] does not admit is reset before a byte of it is
//! read; one that keeps a connection without a request is cut off after a while, and at once when
//! its place is needed.

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

use super::connections::{Connections, Taken};
use super::guard::Guard;

/// How long a connection may take to send the head of a request, and may wait between two: longer
/// than scrapers pause.
const REQUEST_WITHIN: Duration = Duration::from_secs(90);

/// Opens the first of `addresses` that can be had. An unspecified IPv6 address takes IPv4 too.
///
/// # Errors
/// The error of the last address, if none can be bound.
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
    // Without it a restarted server waits for the connections of its predecessor to time out.
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

/// Serves `router` on `listener` for ever, to whom `guard` admits.
pub(super) async fn serve(listener: TcpListener, guard: Arc<Guard>, router: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(REQUEST_WITHIN);
    let connections = Arc::<Connections>::default();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let admitted = guard.admits(peer.ip()).then(|| connections.enter());
                if let Some(taken) = admitted.flatten() {
                    let http = http.clone();
                    tokio::spawn(converse(http, stream, taken, router.clone()));
                } else {
                    // A reset instead of an orderly end: no state stays behind for a turned-away
                    // peer.
                    let _ = stream.set_zero_linger();
                }
            }
            Err(error) => {
                // Out of descriptors or memory, most likely. What waits in the kernel's queue makes
                // the next accept return at once, so give others time to free some.
                warn!(err = %error, "accept on a control listener failed");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Answers the requests of one connection until it ends or has to give way.
async fn converse(http: http1::Builder, stream: TcpStream, taken: Taken, router: Router) {
    let pages = TowerToHyperService::new(router);
    let service = service_fn(|request| {
        let busy = taken.busy();
        let answer = pages.call(request);
        async move {
            let answer = answer.await;
            drop(busy);
            answer
        }
    });
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // Whatever ends it, a peer that went away or did not speak HTTP, is the peer's business.
        _ = connection => {}
        () = taken.must_give_way() => {}
    }
}
