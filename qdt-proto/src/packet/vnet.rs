//! `struct virtio_net_hdr` (Linux `include/uapi/linux/virtio_net.h`): what stands before every
//! packet of a TUN device opened with `IFF_VNET_HDR`, in both directions.
//!
//! Fields are in the machine's byte order, as TUN devices have them unless told otherwise.

/// The offloads of a TUN device.
///
/// Without `vnet_header` the other three mean nothing: there is no place to announce a
/// super-packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// Every packet is preceded by a [`VnetHeader`].
    pub vnet_header: bool,
    /// The device takes TCP over IPv4 super-packets (`TUN_F_TSO4`).
    pub tcp4: bool,
    /// The device takes TCP over IPv6 super-packets (`TUN_F_TSO6`).
    pub tcp6: bool,
    /// The device takes UDP super-packets of either version (`TUN_F_USO4`, `TUN_F_USO6`; Linux
    /// 6.2).
    pub udp: bool,
}

/// The reason why bytes are not a supported header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VnetError {
    /// Fewer than [`VnetHeader::LEN`] bytes.
    #[error("{0} bytes are too few for a virtio_net_hdr of 10 bytes")]
    Truncated(usize),
    /// A `gso_type` that was never asked for.
    #[error("unknown gso_type {0:#04x} in the virtio_net_hdr")]
    GsoType(u8),
}

/// Which kind of super-packet follows (`gso_type` without the ECN bit).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GsoKind {
    /// A packet as it is (`VIRTIO_NET_HDR_GSO_NONE`).
    #[default]
    None,
    /// TCP over IPv4 (`VIRTIO_NET_HDR_GSO_TCPV4`).
    Tcp4,
    /// TCP over IPv6 (`VIRTIO_NET_HDR_GSO_TCPV6`).
    Tcp6,
    /// UDP over either version, every segment a datagram of its own (`VIRTIO_NET_HDR_GSO_UDP_L4`).
    Udp,
}

const F_NEEDS_CSUM: u8 = 1;
const F_DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// One header. The default is that of a plain packet: ten zero bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// The upper-layer checksum field holds the pseudo-header sum only and the rest is to be added
    /// (`VIRTIO_NET_HDR_F_NEEDS_CSUM`).
    pub needs_checksum: bool,
    /// The checksum was verified already (`VIRTIO_NET_HDR_F_DATA_VALID`).
    pub data_valid: bool,
    /// What follows.
    pub kind: GsoKind,
    /// The super-packet's first segment carries CWR (`VIRTIO_NET_HDR_GSO_ECN`).
    pub ecn: bool,
    /// Length of all headers in bytes. A hint only: the kernel may write anything from the true
    /// length up.
    pub header_len: u16,
    /// Payload bytes of every segment but the last.
    pub segment_size: u16,
    /// Where summing begins, in bytes from the start of the packet.
    pub checksum_start: u16,
    /// Where the checksum is written, in bytes from `checksum_start`.
    pub checksum_offset: u16,
}

impl VnetHeader {
    /// Length in bytes of the header without `num_buffers`: what a TUN device uses unless told
    /// otherwise.
    pub const LEN: usize = 10;

    /// Reads the header at the beginning of `bytes`.
    ///
    /// # Errors
    /// [`VnetError`] for fewer than [`Self::LEN`] bytes and for a `gso_type` outside [`GsoKind`].
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, VnetError> {
        let Some((header, _)) = bytes.split_first_chunk::<{ Self::LEN }>() else {
            return Err(VnetError::Truncated(bytes.len()));
        };
        let kind = match header[1] & !GSO_ECN {
            GSO_NONE => GsoKind::None,
            GSO_TCPV4 => GsoKind::Tcp4,
            GSO_TCPV6 => GsoKind::Tcp6,
            GSO_UDP_L4 => GsoKind::Udp,
            _ => return Err(VnetError::GsoType(header[1])),
        };
        let field = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        Ok(Self {
            needs_checksum: header[0] & F_NEEDS_CSUM != 0,
            data_valid: header[0] & F_DATA_VALID != 0,
            kind,
            ecn: header[1] & GSO_ECN != 0,
            header_len: field(2),
            segment_size: field(4),
            checksum_start: field(6),
            checksum_offset: field(8),
        })
    }

    /// Returns the header as the device reads it.
    #[inline]
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0] =
            u8::from(self.needs_checksum) * F_NEEDS_CSUM + u8::from(self.data_valid) * F_DATA_VALID;
        bytes[1] = match self.kind {
            GsoKind::None => GSO_NONE,
            GsoKind::Tcp4 => GSO_TCPV4,
            GsoKind::Tcp6 => GSO_TCPV6,
            GsoKind::Udp => GSO_UDP_L4,
        } | (u8::from(self.ecn) * GSO_ECN);
        bytes[2..4].copy_from_slice(&self.header_len.to_ne_bytes());
        bytes[4..6].copy_from_slice(&self.segment_size.to_ne_bytes());
        bytes[6..8].copy_from_slice(&self.checksum_start.to_ne_bytes());
        bytes[8..10].copy_from_slice(&self.checksum_offset.to_ne_bytes());
        bytes
    }
}
