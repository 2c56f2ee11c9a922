//! TUN devices and their packet queues.
//!
//! Opening a device returns its [`TunQueue`]s, one per packet worker. The device exists while one
//! of its queues is open, unless another program made it persistent. A persistent device keeps its
//! number of queues and its offload.

use std::io;

#[cfg(target_os = "linux")]
pub use crate::linux::TunQueue;
#[cfg(not(target_os = "linux"))]
pub use crate::no_tun::TunQueue;

/// Parameters of a device to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunSpec {
    /// The device's name, for example `qdt0`. A missing device is created.
    pub name: String,
    /// The number of queues, 1 to 256: one per packet worker. An existing single-queue device gives
    /// one queue regardless.
    pub queues: u16,
    /// Whether to use segmentation and checksum offload where the kernel supports it.
    pub offload: bool,
}

/// The offload of a queue: the super-packets that it delivers and accepts.
///
/// `Documentation/networking/tuntap.rst` and `include/uapi/linux/if_tun.h` of Linux.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offload {
    /// Every packet, read and written, is preceded by a 10-byte `virtio_net_hdr` in host byte
    /// order. Without it the queue carries plain packets and the other fields are false.
    pub vnet_header: bool,
    /// TCP over IPv4 as super-packets of up to 64 KiB, in both directions.
    pub tcp4: bool,
    /// TCP over IPv6 as super-packets.
    pub tcp6: bool,
    /// UDP as super-packets (`UDP_L4`; Linux 6.2 and later).
    pub udp: bool,
}

impl Offload {
    /// Plain packets, no header before them.
    pub const NONE: Self = Self {
        vnet_header: false,
        tcp4: false,
        tcp6: false,
        udp: false,
    };
}

/// An open TUN device.
#[derive(Debug)]
pub struct Tun {
    /// The device's name as the kernel knows it.
    pub name: String,
    /// Its queues: at least one, at most [`TunSpec::queues`].
    pub queues: Vec<TunQueue>,
}

/// Opens TUN devices.
pub trait TunOpener: Send + Sync {
    /// Opens the device that `spec` describes; creates a missing one.
    ///
    /// # Errors
    /// Every variant of [`TunError`]; no device is left behind then.
    fn open(&self, spec: &TunSpec) -> Result<Tun, TunError>;
}

/// Why a TUN device could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum TunError {
    /// The name is invalid.
    #[error("TUN device: {0}")]
    Name(#[from] crate::InterfaceNameError),
    /// Zero queues, or more than a device can have.
    #[error("TUN device `{name}`: {queues} queues were asked for, 1 to 256 are possible")]
    Queues {
        /// The device's name.
        name: String,
        /// The number that was asked for.
        queues: u16,
    },
    /// The kernel's TUN driver is not available.
    #[error(
        "/dev/net/tun is missing: load the driver (`modprobe tun`), or hand the device to the \
         container (`--device /dev/net/tun`)"
    )]
    DriverMissing,
    /// The process may not open or create TUN devices.
    #[error(
        "TUN device `{name}`: permission denied: run as root or give the program CAP_NET_ADMIN and \
         read and write access to /dev/net/tun"
    )]
    Permission {
        /// The device's name.
        name: String,
    },
    /// Another process has the device open.
    #[error(
        "TUN device `{name}` is in use by another process: stop that process or set another \
         `tun_name`"
    )]
    Busy {
        /// The device's name.
        name: String,
    },
    /// An interface of another kind has that name.
    #[error(
        "interface `{name}` exists and is no TUN device: set another `tun_name` or remove that \
         interface"
    )]
    OtherKind {
        /// The interface's name.
        name: String,
    },
    /// The kernel returned another error.
    #[error("TUN device `{name}`: {step} failed: {source}")]
    Kernel {
        /// The device's name.
        name: String,
        /// The call or ioctl that failed.
        step: &'static str,
        /// The kernel's error.
        #[source]
        source: io::Error,
    },
}
