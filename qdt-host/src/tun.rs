//! The TUN device as the programs see it: what is asked for, what one gets, and its packet queues.
//!
//! A device is opened once and handed out as a list of [`TunQueue`]s, one per packet worker. It
//! lives as long as one of its queues does, unless it was made persistent by somebody else; such a
//! device is used as it is found (its number of queues, its offload) and left as it was found.

use std::io;

#[cfg(target_os = "linux")]
pub use crate::linux::TunQueue;
#[cfg(not(target_os = "linux"))]
pub use crate::no_tun::TunQueue;

/// What to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunSpec {
    /// The device's name, for example `qdt0`. Created when there is none of that name.
    pub name: String,
    /// How many queues are wanted, 1 to 256: one per packet worker. An existing device with one
    /// queue gives one, whatever is asked for here.
    pub queues: u16,
    /// Whether segmentation and checksum offload shall be used where the kernel has it.
    pub offload: bool,
}

/// What a queue hands out and accepts beside plain IP packets.
///
/// `Documentation/networking/tuntap.rst` and `include/uapi/linux/if_tun.h` of Linux.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offload {
    /// Every packet, read and written, is preceded by a 10-byte `virtio_net_hdr` in host byte
    /// order. Without it the queue carries plain packets and the other fields are false.
    pub vnet_header: bool,
    /// TCP over IPv4 may come and go as super-packets of up to 64 KiB.
    pub tcp4: bool,
    /// TCP over IPv6 may come and go as super-packets.
    pub tcp6: bool,
    /// UDP may come and go as super-packets (`UDP_L4`; Linux 6.2 and later).
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
    /// Its queues: at least one, at most as many as were asked for.
    pub queues: Vec<TunQueue>,
}

/// Opens TUN devices. The seam between the programs and the platform.
pub trait TunOpener: Send + Sync {
    /// Opens the device that `spec` describes, creating it when there is none.
    ///
    /// # Errors
    /// Every variant of [`TunError`]; nothing is left behind then.
    fn open(&self, spec: &TunSpec) -> Result<Tun, TunError>;
}

/// Why a TUN device could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum TunError {
    /// The name cannot be one.
    #[error("TUN device: {0}")]
    Name(#[from] crate::InterfaceNameError),
    /// No queue, or more than the kernel can give one device.
    #[error("TUN device `{name}`: {queues} queues were asked for, 1 to 256 are possible")]
    Queues {
        /// The device's name.
        name: String,
        /// What was asked for.
        queues: u16,
    },
    /// The kernel's TUN driver is not reachable.
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
    /// Another process holds the device.
    #[error(
        "TUN device `{name}` is in use by another process: stop that process or set another \
         `tun_name`"
    )]
    Busy {
        /// The device's name.
        name: String,
    },
    /// There is an interface of that name, but of another kind.
    #[error(
        "interface `{name}` exists and is no TUN device: set another `tun_name` or remove that \
         interface"
    )]
    OtherKind {
        /// The interface's name.
        name: String,
    },
    /// A call to the kernel failed for another reason.
    #[error("TUN device `{name}`: {step} failed: {source}")]
    Kernel {
        /// The device's name.
        name: String,
        /// The call or ioctl that failed.
        step: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}
