//! The one TUN device of all simulated clients, with every address of the pool behind it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context as _, Result};
use conformance::Machine;
use qdt_host::{HostTuns, TunOpener as _, TunQueue, TunSpec};
use qdt_proto::packet::Coalescer;
use qdt_transport::simulation::coalescer_for;

use super::super::server::{POOL, SINK};

/// Its name.
pub(in crate::sessions) const NAME: &str = "clients0";
/// A virtio-net header and the longest IP packet.
const READ_BUFFER: usize = 10 + 65_535 + 16;

/// See the module.
pub(super) struct Device {
    queue: TunQueue,
    pub(super) has_vnet_header: bool,
    pub(super) out: Coalescer,
    pub(super) buffer: Vec<u8>,
    /// Whether packets were committed since the last flush.
    is_open: bool,
}

impl Device {
    /// Opens the device on `machine`, makes the pool's addresses the machine's own, and sends what
    /// goes to the sink into it.
    ///
    /// # Errors
    /// When there is no TUN driver.
    pub(super) fn open(machine: &Machine, mtu: u16) -> Result<Self> {
        let spec = TunSpec {
            name: NAME.into(),
            queues: 1,
            offload: true,
        };
        let mut tun = machine.enter(|| HostTuns.open(&spec))?;
        machine.ip(&format!("link set {NAME} mtu {mtu} up"));
        machine.ip(&format!("route add local {POOL} dev lo"));
        machine.ip(&format!("route add {SINK}/32 dev {NAME}"));
        let queue = tun.queues.pop().context("a TUN device has a queue")?;
        Ok(Self {
            has_vnet_header: queue.offload().vnet_header,
            out: coalescer_for(&queue),
            queue,
            buffer: vec![0; READ_BUFFER],
            is_open: false,
        })
    }

    /// Reads one packet or super-packet into the buffer; `None` when there is none.
    ///
    /// # Errors
    /// When the device is gone.
    pub(super) fn read(&mut self) -> Result<Option<usize>> {
        match self.queue.read(&mut self.buffer) {
            Ok(len) => Ok(Some(len)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error).context("reading the simulated clients' TUN device"),
        }
    }

    /// The packet in the slot goes on, perhaps with others. What the kernel does not take is lost,
    /// as on any path.
    pub(super) fn commit(&mut self, len: usize) {
        self.is_open = true;
        let queue = &self.queue;
        self.out.commit(len, &mut |packet: &[u8]| {
            let _ = queue.write(packet);
        });
    }

    /// What was committed goes on now; says whether that was anything.
    pub(super) fn flush(&mut self) -> bool {
        let had_packets = std::mem::take(&mut self.is_open);
        let queue = &self.queue;
        self.out.flush(&mut |packet: &[u8]| {
            let _ = queue.write(packet);
        });
        had_packets
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}
