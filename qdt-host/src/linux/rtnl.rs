//! One rtnetlink connection for the length of one operation, and its errors as the kernel's.
//!
//! A connection belongs to the network namespace of the thread that opened it and is not kept:
//! the control side uses it at start, stop and reconnect only.

use std::{io, net::IpAddr};

use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::{AddressFamily, route::RouteMessage},
};
use tokio::task::JoinHandle;

/// An open connection; its task ends with it.
pub(super) struct Rtnl {
    /// Makes requests.
    pub(super) handle: Handle,
    task: JoinHandle<()>,
}

impl Rtnl {
    /// Connects. Must be called within a tokio runtime.
    pub(super) fn connect() -> io::Result<Self> {
        let (connection, handle, _unsolicited) = rtnetlink::new_connection()?;
        Ok(Self {
            handle,
            task: tokio::spawn(connection),
        })
    }
}

impl Drop for Rtnl {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns the request for the routes of a family, of every table.
pub(super) fn list_routes_request(family: AddressFamily) -> RouteMessage {
    let mut request = RouteMessageBuilder::<IpAddr>::new().build();
    request.header.address_family = family;
    request
}

/// The kernel's answer as an operating system error.
pub(super) fn os_error(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}

/// Whether `error` is one of these error numbers.
pub(super) fn is_any(error: &io::Error, numbers: &[i32]) -> bool {
    error
        .raw_os_error()
        .is_some_and(|number| numbers.contains(&number))
}
