//! An rtnetlink connection for one operation, and its errors.
//!
//! A connection belongs to the network namespace of the thread that opened it. It is not kept,
//! since the control side needs it only for single operations.

use std::{io, net::IpAddr};

use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::{AddressFamily, route::RouteMessage},
};
use tokio::task::JoinHandle;

/// An open connection. Dropping it ends its task.
pub(super) struct Rtnl {
    /// Sends requests.
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

/// Converts the kernel's answer into an operating system error.
pub(super) fn os_error(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}

/// Returns whether `error` has one of these numbers.
pub(super) fn is_any(error: &io::Error, numbers: &[i32]) -> bool {
    error
        .raw_os_error()
        .is_some_and(|number| numbers.contains(&number))
}
