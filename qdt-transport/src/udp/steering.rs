//! Steering: the kernel delivers a QUIC packet to the worker that owns its connection.
//!
//! Workers share a port (`SO_REUSEPORT`). A classic BPF program on the group
//! (`SO_ATTACH_REUSEPORT_CBPF`, socket(7)) returns the index of the socket: the first byte of the
//! destination connection id modulo the number of workers. That byte is at offset 1 of short
//! headers and at offset 6 of long ones (RFC 8999 section 5). Worker k issues connection ids whose
//! first byte is k modulo that number, so every later packet of a connection reaches the worker
//! that accepted it, whatever its source address.
//!
//! The program sees only the first datagram of those that the kernel merged (GRO), by addresses and
//! ports. So the worker that gets them applies [`Steering`] to each datagram and hands over those
//! of others: a worker must not answer for another's connection id (RFC 9000 section 21.11),
//! because its stateless reset would be valid.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use quinn_proto::{ConnectionId, ConnectionIdGenerator};
use rand::RngCore;

/// Length of our connection ids: a byte for the worker and 56 random bits.
const ID_LEN: usize = 8;

/// Attaches the program to a group of `workers` sockets, bound in the order of their workers.
///
/// # Errors
/// The kernel lacks the option or refuses the program.
pub(super) fn attach(socket: BorrowedFd<'_>, workers: usize) -> io::Result<()> {
    let op = |code: u32, jt, jf, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let load_byte = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
    let mut program = [
        op(load_byte, 0, 0, 0),
        op(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0, 2, 0x80),
        op(load_byte, 0, 0, 6),
        op(libc::BPF_JMP | libc::BPF_JA, 0, 0, 1),
        op(load_byte, 0, 0, 1),
        op(
            libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K,
            0,
            0,
            workers as u32,
        ),
        op(libc::BPF_RET | libc::BPF_A, 0, 0, 0),
    ];
    let filter = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the descriptor is open, `filter` points to a program that lives for the call, and the
    // kernel copies it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const filter).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Tells which datagrams belong to a worker, like the program of [`attach`]. Datagrams too short
/// for a connection id belong to the first worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steering {
    worker: u8,
    workers: u8,
}

impl Steering {
    /// The steering of a socket's only worker.
    pub(crate) const ALONE: Self = Self {
        worker: 0,
        workers: 1,
    };

    /// Returns the steering of worker `worker` of `workers`.
    pub(crate) fn new(worker: usize, workers: usize) -> Self {
        Self {
            worker: byte(worker),
            workers: byte(workers),
        }
    }

    /// Returns the number of workers.
    pub(crate) fn workers(self) -> usize {
        self.workers.into()
    }

    /// Returns the owner of a datagram if it is another worker.
    pub(crate) fn other_owner(self, datagram: &[u8]) -> Option<usize> {
        if self.workers == 1 {
            return None;
        }
        let is_long = datagram.first().is_some_and(|first| first & 0x80 != 0);
        let owner = match datagram.get(if is_long { 6 } else { 1 }) {
            Some(id) => id % self.workers,
            None => 0,
        };
        (owner != self.worker).then_some(owner.into())
    }
}

fn byte(n: usize) -> u8 {
    u8::try_from(n).expect("a server has at most 128 workers")
}

/// A generator of connection ids that lead to one worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SteeredConnectionIds {
    worker: u8,
    workers: u8,
}

impl SteeredConnectionIds {
    /// Returns a generator for worker `worker` of `workers`.
    pub(crate) fn new(worker: usize, workers: usize) -> Self {
        Self {
            worker: byte(worker),
            workers: byte(workers),
        }
    }
}

impl ConnectionIdGenerator for SteeredConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; ID_LEN];
        rand::rng().fill_bytes(&mut id);
        let rows = 256 / u16::from(self.workers);
        let row = u16::from(id[0]) % rows;
        id[0] = (row * u16::from(self.workers)) as u8 + self.worker;
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        ID_LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_of_a_worker_lead_to_it_for_every_number_of_workers() {
        for workers in 1..=128 {
            for worker in [0, workers / 2, workers - 1] {
                let mut ids = SteeredConnectionIds::new(worker, workers);
                for _ in 0..50 {
                    assert_eq!(usize::from(ids.generate_cid()[0]) % workers, worker);
                }
            }
        }
    }
}
