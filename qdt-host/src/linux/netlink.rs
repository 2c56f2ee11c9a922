//! A synchronous netlink socket: one request, its answers, its acknowledgement.
//!
//! For callers that cannot use the crate rtnetlink: opening a TUN device is synchronous, and for
//! the other families there is no maintained encoder. RFC 3549 and
//! `Documentation/userspace-api/netlink/intro.rst` of Linux.

use std::{
    io,
    os::fd::OwnedFd,
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

/// `struct nlmsghdr`: length, type, flags, sequence number, port id.
const HEADER_LEN: usize = 16;
/// The upper two bits of an attribute's type are flags (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`).
const TYPE_MASK: u16 = 0x3fff;
/// Answers to a dump come in messages of at most 32 KiB (`netlink_dump`).
const BUFFER_LEN: usize = 64 * 1024;

/// A socket of one netlink family. Its requests are sequential.
#[derive(Debug)]
pub(super) struct NetlinkSocket {
    fd: OwnedFd,
    /// The number of the latest request. Answers to an earlier, failed one are skipped by it.
    sequence: AtomicU32,
}

impl NetlinkSocket {
    /// Opens a socket for `family` in this thread's network namespace. `None` is protocol 0,
    /// `NETLINK_ROUTE`.
    pub(super) fn open(family: Option<Protocol>) -> io::Result<Self> {
        let kind = SocketType::RAW;
        let fd = socket_with(AddressFamily::NETLINK, kind, SocketFlags::CLOEXEC, family)?;
        Ok(Self {
            fd,
            sequence: AtomicU32::new(0),
        })
    }

    /// Sends one request and calls `each` with type and body of every answer, until the kernel has
    /// acknowledged the request or ended the dump (`flags` with `NLM_F_DUMP`).
    ///
    /// # Errors
    /// The kernel's error; `EINTR` when the dumped objects changed concurrently, so that the
    /// answers may be incomplete.
    pub(super) fn request(
        &self,
        kind: u16,
        flags: u16,
        body: &[u8],
        each: &mut dyn FnMut(u16, &[u8]),
    ) -> io::Result<()> {
        let dump = flags & libc::NLM_F_DUMP as u16 == libc::NLM_F_DUMP as u16;
        let ack = if dump { 0 } else { libc::NLM_F_ACK as u16 };
        let flags = flags | ack | libc::NLM_F_REQUEST as u16;
        let len = u32::try_from(HEADER_LEN + body.len()).expect("a request is short");
        let mut message = Vec::with_capacity(HEADER_LEN + body.len());
        message.extend_from_slice(&len.to_ne_bytes());
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&flags.to_ne_bytes());
        let sequence = self
            .sequence
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_add(1);
        message.extend_from_slice(&sequence.to_ne_bytes());
        message.extend_from_slice(&[0; 4]);
        message.extend_from_slice(body);
        rustix::io::retry_on_intr(|| send(&self.fd, &message, SendFlags::empty()))?;

        let mut buffer = vec![0; BUFFER_LEN];
        let mut interrupted = false;
        loop {
            let (len, _) = rustix::io::retry_on_intr(|| {
                recv(&self.fd, buffer.as_mut_slice(), RecvFlags::empty())
            })?;
            let mut rest = &buffer[..len];
            while let Some((header, body, next)) = split_message(rest) {
                rest = next;
                if header.sequence != sequence {
                    continue;
                }
                interrupted |= header.flags & libc::NLM_F_DUMP_INTR as u16 != 0;
                match i32::from(header.kind) {
                    libc::NLMSG_ERROR => {
                        let code = body
                            .first_chunk()
                            .map_or(0, |code| i32::from_ne_bytes(*code));
                        if code != 0 {
                            return Err(io::Error::from_raw_os_error(-code));
                        }
                        return Ok(());
                    }
                    libc::NLMSG_DONE if interrupted => {
                        return Err(io::Error::from_raw_os_error(libc::EINTR));
                    }
                    libc::NLMSG_DONE => return Ok(()),
                    libc::NLMSG_NOOP => {}
                    _ => each(header.kind, body),
                }
            }
        }
    }
}

struct Header {
    kind: u16,
    flags: u16,
    sequence: u32,
}

/// Splits the first message off `bytes`: header, body, rest.
fn split_message(bytes: &[u8]) -> Option<(Header, &[u8], &[u8])> {
    let len = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let message = bytes
        .get(..len)
        .filter(|message| message.len() >= HEADER_LEN)?;
    let header = Header {
        kind: u16::from_ne_bytes([message[4], message[5]]),
        flags: u16::from_ne_bytes([message[6], message[7]]),
        sequence: u32::from_ne_bytes([message[8], message[9], message[10], message[11]]),
    };
    let next = bytes.get(aligned(len)..).unwrap_or_default();
    Some((header, &message[HEADER_LEN..], next))
}

/// The types of the messages in `bytes`. Ends at the first that is not whole, which it includes.
pub(super) fn kinds(mut bytes: &[u8]) -> impl Iterator<Item = u16> {
    std::iter::from_fn(move || {
        let kind = u16::from_ne_bytes([*bytes.get(4)?, *bytes.get(5)?]);
        bytes = split_message(bytes).map_or(&[], |(_, _, next)| next);
        Some(kind)
    })
}

/// The attributes in `bytes`: type without flags, value. Ends at the first that is not whole.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes([*bytes.get(2)?, *bytes.get(3)?]) & TYPE_MASK;
        let value = bytes.get(4..len)?;
        bytes = bytes.get(aligned(len)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Appends one attribute with its padding; `kind` carries its flags. `value` is short.
pub(super) fn push_attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let len = u16::try_from(4 + value.len()).expect("an attribute of a request is short");
    message.extend_from_slice(&len.to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(value);
    message.resize(aligned(message.len()), 0);
}

/// Netlink aligns messages and attributes to four bytes.
const fn aligned(len: usize) -> usize {
    len.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{attributes, kinds, push_attribute, split_message};

    #[test]
    fn attributes_come_back_as_they_were_pushed() {
        let mut message = Vec::new();
        push_attribute(&mut message, 1, b"tun\0");
        push_attribute(&mut message, 0x8002, b"x");
        push_attribute(&mut message, 3, b"");
        let read: Vec<_> = attributes(&message).collect();
        assert_eq!(read, [(1, &b"tun\0"[..]), (2, b"x"), (3, b"")]);
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..96)) {
            attributes(&bytes).for_each(drop);
            kinds(&bytes).for_each(drop);
            let mut rest = bytes.as_slice();
            while let Some((_, body, next)) = split_message(rest) {
                attributes(body).for_each(drop);
                rest = next;
            }
        }
    }
}
