//! A TCP listener that turns peers away at accept and bounds its connections.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

use super::guard::Guard;

/// Connections that one listener serves at a time; further ones wait in the kernel's queue.
pub const MAX_CONNECTIONS: usize = 64;

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

/// Accepts whom the [`Guard`] admits, at most [`MAX_CONNECTIONS`] at a time.
#[derive(Debug)]
pub struct GuardedListener {
    listener: TcpListener,
    guard: Arc<Guard>,
    slots: Arc<Semaphore>,
}

impl GuardedListener {
    /// Guards `listener`.
    #[must_use]
    pub fn new(listener: TcpListener, guard: Arc<Guard>) -> Self {
        Self {
            listener,
            guard,
            slots: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        }
    }
}

impl Listener for GuardedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let slot = Arc::clone(&self.slots)
                .acquire_owned()
                .await
                .expect("nobody closes this semaphore");
            match self.listener.accept().await {
                Ok((stream, peer)) if self.guard.admits(peer.ip()) => {
                    return (
                        Connection {
                            stream,
                            _slot: slot,
                        },
                        peer,
                    );
                }
                Ok((stream, _)) => {
                    // A reset instead of an orderly end: no state stays behind for a turned-away peer.
                    let _ = stream.set_zero_linger();
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

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that holds one of the listener's slots.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    _slot: OwnedSemaphorePermit,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
