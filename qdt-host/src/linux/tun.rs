//! [`TunOpener`] for Linux: new and existing devices, with offload and several queues.
//!
//! The properties of an existing device are queried first (rtnetlink, `IFLA_LINKINFO`), because
//! attaching changes it: `TUNSETIFF` sets its header flag, and a program that expects plain packets
//! would later read super-packets. So a persistent device keeps its number of queues, and gets
//! offload only where it already has the header.

use std::io;

use libc::c_uint;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::{
    netlink::{NetlinkSocket, attributes},
    tun_driver,
};
use crate::tun::{Offload, Tun, TunError, TunOpener, TunQueue, TunSpec};

/// The most queues of a device (`MAX_TAP_QUEUES` in `drivers/net/tun.c`).
const MAX_QUEUES: u16 = 256;

/// Opens TUN devices through /dev/net/tun.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostTuns;

impl TunOpener for HostTuns {
    fn open(&self, spec: &TunSpec) -> Result<Tun, TunError> {
        crate::check_interface_name(&spec.name)?;
        if !(1..=MAX_QUEUES).contains(&spec.queues) {
            return Err(TunError::Queues {
                name: spec.name.clone(),
                queues: spec.queues,
            });
        }
        let kernel = |step| move |source| from_kernel(&spec.name, step, source);
        let existing = existing(&spec.name).map_err(kernel("asking for the interface"))?;
        let wanted = match &existing {
            None => Wanted {
                multi_queue: spec.queues > 1,
                vnet_header: spec.offload,
                queues: spec.queues,
            },
            Some(found) if !found.is_tun => {
                return Err(TunError::OtherKind {
                    name: spec.name.clone(),
                });
            }
            Some(found) if found.attached_queues > 0 => {
                return Err(TunError::Busy {
                    name: spec.name.clone(),
                });
            }
            Some(found) => Wanted {
                multi_queue: found.multi_queue,
                vnet_header: spec.offload && found.vnet_header,
                queues: if found.multi_queue { spec.queues } else { 1 },
            },
        };

        let mut queues = Vec::with_capacity(wanted.queues.into());
        for _ in 0..wanted.queues {
            let fd = tun_driver::open().map_err(kernel("opening /dev/net/tun"))?;
            let has_header =
                tun_driver::attach(&fd, &spec.name, wanted.vnet_header, wanted.multi_queue)
                    .map_err(kernel("TUNSETIFF"))?;
            let offload = if has_header {
                tun_driver::set_vnet_header_len(&fd).map_err(kernel("TUNSETVNETHDRSZ"))?;
                set_best_offload(&fd)
            } else {
                // A device keeps the offload that an earlier program set; without the header a
                // super-packet looks like a corrupt packet.
                tun_driver::set_offload(&fd, 0).map_err(kernel("TUNSETOFFLOAD"))?;
                Offload::NONE
            };
            queues.push(TunQueue::from_fd(fd, offload));
        }
        Ok(Tun {
            name: spec.name.clone(),
            queues,
        })
    }
}

struct Wanted {
    multi_queue: bool,
    vnet_header: bool,
    queues: u16,
}

/// Enables the super-packets that this kernel supports: UDP since Linux 6.2, TCP long before.
fn set_best_offload(fd: &std::os::fd::OwnedFd) -> Offload {
    const TCP: c_uint = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
    const UDP: c_uint = libc::TUN_F_USO4 | libc::TUN_F_USO6;
    let (tcp, udp) = if tun_driver::set_offload(fd, TCP | UDP).is_ok() {
        (true, true)
    } else {
        (tun_driver::set_offload(fd, TCP).is_ok(), false)
    };
    Offload {
        vnet_header: true,
        tcp4: tcp,
        tcp6: tcp,
        udp,
    }
}

fn from_kernel(name: &str, step: &'static str, source: io::Error) -> TunError {
    let name = name.to_owned();
    match source.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) if step.ends_with("/dev/net/tun") => {
            TunError::DriverMissing
        }
        Some(libc::EPERM | libc::EACCES) => TunError::Permission { name },
        Some(libc::EBUSY) => TunError::Busy { name },
        _ => TunError::Kernel { name, step, source },
    }
}

/// Fails when a process has the device `name` open. Succeeds without such a device.
pub(super) fn check_unused(name: &str) -> Result<(), TunError> {
    let asked = existing(name);
    let found = asked.map_err(|source| from_kernel(name, "asking for the interface", source))?;
    match found {
        Some(found) if found.is_tun && found.is_attached() => Err(TunError::Busy {
            name: name.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// The properties of an existing interface.
struct Existing {
    is_tun: bool,
    multi_queue: bool,
    vnet_header: bool,
    attached_queues: u32,
    carrier: bool,
}

impl Existing {
    /// Returns whether a process has the device open. The kernel reports the number of queues of a
    /// multi-queue device; a single-queue one has a carrier while its queue is attached.
    fn is_attached(&self) -> bool {
        self.attached_queues > 0 || (!self.multi_queue && self.carrier)
    }
}

/// Queries the interface `name`; `None` where it does not exist.
fn existing(name: &str) -> io::Result<Option<Existing>> {
    // `include/uapi/linux/if_link.h`
    const IFLA_INFO_KIND: u16 = 1;
    const IFLA_INFO_DATA: u16 = 2;
    const IFLA_TUN_TYPE: u16 = 3;
    const IFLA_TUN_VNET_HDR: u16 = 5;
    const IFLA_TUN_MULTI_QUEUE: u16 = 7;
    const IFLA_TUN_NUM_QUEUES: u16 = 8;
    /// `struct ifinfomsg`
    const HEADER_LEN: usize = 16;

    let mut request = vec![0; HEADER_LEN];
    let mut terminated = name.as_bytes().to_vec();
    terminated.push(0);
    super::netlink::push_attribute(&mut request, libc::IFLA_IFNAME, &terminated);

    let mut found = None;
    let mut read = |_kind: u16, message: &[u8]| {
        let mut interface = Existing {
            is_tun: false,
            multi_queue: false,
            vnet_header: false,
            attached_queues: 0,
            carrier: attributes(message.get(HEADER_LEN..).unwrap_or_default())
                .any(|(kind, value)| kind == libc::IFLA_CARRIER && value == [1]),
        };
        let info = attributes(message.get(HEADER_LEN..).unwrap_or_default())
            .find(|(kind, _)| *kind == libc::IFLA_LINKINFO);
        let mut kind_is_tun = false;
        let mut type_is_tun = true;
        for (kind, value) in attributes(info.map_or(&[], |(_, value)| value)) {
            match kind {
                IFLA_INFO_KIND => {
                    kind_is_tun = value.strip_suffix(b"\0").unwrap_or(value) == b"tun"
                }
                IFLA_INFO_DATA => {
                    for (kind, value) in attributes(value) {
                        let byte = value.first().copied().unwrap_or_default();
                        match kind {
                            IFLA_TUN_TYPE => type_is_tun = i32::from(byte) == libc::IFF_TUN,
                            IFLA_TUN_VNET_HDR => interface.vnet_header = byte != 0,
                            IFLA_TUN_MULTI_QUEUE => interface.multi_queue = byte != 0,
                            IFLA_TUN_NUM_QUEUES => {
                                let number = value.try_into().map_or(0, u32::from_ne_bytes);
                                interface.attached_queues = number;
                            }
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        interface.is_tun = kind_is_tun && type_is_tun;
        found = Some(interface);
    };
    let socket = NetlinkSocket::open(None)?;
    match socket.request(libc::RTM_GETLINK, 0, &request, &mut read) {
        Ok(()) => Ok(found),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the index of the interface `name` in this network namespace; `None` where it does not
/// exist.
pub(super) fn interface_index(name: &str) -> io::Result<Option<u32>> {
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    match rustix::net::netdevice::name_to_index(&socket, name) {
        Ok(index) => Ok(Some(index)),
        Err(rustix::io::Errno::NODEV) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns whether the interface exists. An unknown state counts as existing, so that nothing of a
/// running program is removed.
pub(super) fn exists(interface: &str) -> bool {
    !matches!(interface_index(interface), Ok(None))
}
