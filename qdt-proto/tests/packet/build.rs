//! Packets made field by field, with checksums computed the slow way.

/// The Internet checksum one byte pair after the other.
pub(crate) fn slow_checksum(pieces: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for piece in pieces {
        for pair in piece.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    !(sum as u16)
}

/// Everything a test may want to set in a TCP or UDP packet.
#[derive(Clone, Debug)]
pub(crate) struct Build {
    pub(crate) v6: bool,
    pub(crate) udp: bool,
    pub(crate) host: u8,
    pub(crate) port: u16,
    pub(crate) tos: u8,
    pub(crate) ttl: u8,
    pub(crate) id: u16,
    /// Flags and fragment offset word of IPv4.
    pub(crate) fragment: u16,
    pub(crate) flow_label: u16,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) reserved: u8,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Build {
    pub(crate) fn tcp() -> Self {
        Self {
            v6: false,
            udp: false,
            host: 2,
            port: 40_000,
            tos: 0,
            ttl: 64,
            id: 7,
            fragment: 0x4000,
            flow_label: 0x1234,
            seq: 0xffff_fc00,
            ack: 99,
            flags: 0x10,
            reserved: 0,
            window: 501,
            urgent: 0,
            options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
            payload: pattern(1300, 0),
        }
    }

    pub(crate) fn udp() -> Self {
        Self {
            udp: true,
            options: vec![],
            ..Self::tcp()
        }
    }

    pub(crate) fn upper_at(&self) -> usize {
        if self.v6 { 40 } else { 20 }
    }

    pub(crate) fn header_len(&self) -> usize {
        self.upper_at() + if self.udp { 8 } else { 20 + self.options.len() }
    }

    fn upper(&self) -> Vec<u8> {
        let mut upper = Vec::new();
        upper.extend(self.port.to_be_bytes());
        upper.extend(443u16.to_be_bytes());
        if self.udp {
            upper.extend(((8 + self.payload.len()) as u16).to_be_bytes());
            upper.extend([0, 0]);
        } else {
            upper.extend(self.seq.to_be_bytes());
            upper.extend(self.ack.to_be_bytes());
            upper.push((((20 + self.options.len()) / 4) << 4) as u8 | self.reserved);
            upper.push(self.flags);
            upper.extend(self.window.to_be_bytes());
            upper.extend([0, 0]);
            upper.extend(self.urgent.to_be_bytes());
            upper.extend(&self.options);
        }
        upper.extend(&self.payload);
        upper
    }

    /// The complete packet.
    pub(crate) fn packet(&self) -> Vec<u8> {
        let upper = self.upper();
        let mut packet = self.ip_header(upper.len());
        packet.extend(upper);
        let at = self.upper_at();
        let checksum = match !self.pseudo_and(&packet[at..]) {
            sum if self.udp && !sum == 0 => sum,
            sum => !sum,
        };
        let field = at + if self.udp { 6 } else { 16 };
        packet[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
        packet
    }

    /// The same headers over a long payload, as a TUN read or write has it: virtio_net_hdr, then
    /// the packet with the pseudo-header sum in its checksum field.
    pub(crate) fn super_packet(&self, segment_size: u16) -> Vec<u8> {
        let mut packet = self.packet();
        let at = self.upper_at();
        let (field, kind) = match (self.udp, self.v6) {
            (true, _) => (6, 5u8),
            (false, false) => (16, 1),
            (false, true) => (16, 4),
        };
        let pseudo = !self.pseudo_and_length(&[], packet.len() - at);
        packet[at + field..at + field + 2].copy_from_slice(&pseudo.to_be_bytes());
        let mut read = vec![1, kind];
        for value in [
            self.header_len() as u16,
            segment_size,
            at as u16,
            field as u16,
        ] {
            read.extend(value.to_ne_bytes());
        }
        read.extend(packet);
        read
    }

    fn pseudo_and(&self, upper: &[u8]) -> u16 {
        self.pseudo_and_length(upper, upper.len())
    }

    fn pseudo_and_length(&self, upper: &[u8], length: usize) -> u16 {
        let protocol = if self.udp { 17 } else { 6 };
        let mut pseudo = self.source();
        pseudo.extend(self.destination());
        pseudo.extend((length as u32).to_be_bytes());
        pseudo.extend([0, 0, 0, protocol]);
        slow_checksum(&[&pseudo, upper])
    }

    fn source(&self) -> Vec<u8> {
        if self.v6 {
            v6_address(self.host).to_vec()
        } else {
            vec![10, 8, 0, self.host]
        }
    }

    fn destination(&self) -> Vec<u8> {
        if self.v6 {
            v6_address(1).to_vec()
        } else {
            vec![10, 8, 0, 1]
        }
    }

    fn ip_header(&self, upper_len: usize) -> Vec<u8> {
        let protocol = if self.udp { 17 } else { 6 };
        let mut header = Vec::new();
        if self.v6 {
            header.extend([0x60 | self.tos >> 4, self.tos << 4]);
            header.extend(self.flow_label.to_be_bytes());
            header.extend((upper_len as u16).to_be_bytes());
            header.extend([protocol, self.ttl]);
        } else {
            header.extend([0x45, self.tos]);
            header.extend(((20 + upper_len) as u16).to_be_bytes());
            header.extend(self.id.to_be_bytes());
            header.extend(self.fragment.to_be_bytes());
            header.extend([self.ttl, protocol, 0, 0]);
        }
        header.extend(self.source());
        header.extend(self.destination());
        if !self.v6 {
            let checksum = slow_checksum(&[&header]);
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        header
    }
}

fn v6_address(host: u8) -> [u8; 16] {
    let mut address = [0; 16];
    address[0] = 0xfd;
    address[15] = host;
    address
}

/// Bytes that tell where they come from.
pub(crate) fn pattern(length: usize, from: usize) -> Vec<u8> {
    (from..from + length)
        .map(|i| (i * 31 + (i >> 8) * 7 + 1) as u8)
        .collect()
}

/// `count` consecutive packets of a flow, each with `size` bytes of payload, the last with `last`.
pub(crate) fn run_of(first: &Build, count: usize, size: usize, last: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|i| {
            let length = if i + 1 == count { last } else { size };
            Build {
                id: first.id.wrapping_add(i as u16),
                seq: first.seq.wrapping_add((i * size) as u32),
                payload: pattern(length, i * size),
                ..first.clone()
            }
            .packet()
        })
        .collect()
}
