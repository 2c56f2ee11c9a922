//! The IPv4 sockets of this network namespace, parsed from /proc/net.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
};

/// The state numbers of `include/net/tcp_states.h`.
const ESTABLISHED: u8 = 0x01;
const LISTEN: u8 = 0x0a;

/// The sockets at one moment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sockets {
    /// The listening TCP ports.
    pub(super) listening: Vec<u16>,
    /// TCP connections that are established or closing: local address, peer.
    pub(super) established: Vec<(SocketAddr, SocketAddr)>,
    /// The bound UDP ports.
    pub(super) udp_ports: Vec<u16>,
}

/// Reads the sockets, including IPv6 sockets that carry IPv4. Skips unreadable tables.
pub(super) fn ipv4() -> Sockets {
    let read = |table: &str| {
        // This crate works in the thread's namespace; `/proc/net` is that of the process.
        fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default()
    };
    let mut found = Sockets::default();
    for table in ["tcp", "tcp6"] {
        found.add_tcp(&read(table));
    }
    for table in ["udp", "udp6"] {
        found
            .udp_ports
            .extend(parse(&read(table)).map(|(local, ..)| local.port()));
    }
    found
}

impl Sockets {
    fn add_tcp(&mut self, text: &str) {
        for (local, peer, state) in parse(text) {
            match state {
                LISTEN => self.listening.push(local.port()),
                ESTABLISHED..LISTEN if local.is_ipv4() && peer.is_ipv4() => {
                    self.established.push((local, peer));
                }
                _ => {}
            }
        }
    }
}

/// Parses `sl local_address rem_address st ...`: local address, peer and state of each socket.
fn parse(text: &str) -> impl Iterator<Item = (SocketAddr, SocketAddr, u8)> {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let local = socket_address(words.next()?)?;
        let peer = socket_address(words.next()?)?;
        let state = u8::from_str_radix(words.next()?, 16).ok()?;
        Some((local, peer, state))
    })
}

/// Parses `0100007F:0016`: the address as 32-bit words in host byte order, the port as a number.
/// Returns an IPv4-mapped address as IPv4.
fn socket_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Option<Vec<[u8; 4]>> = (0..address.len())
        .step_by(8)
        .map(|at| {
            let word = u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?;
            Some(word.to_ne_bytes())
        })
        .collect();
    let address = match *words?.as_slice() {
        [word] => IpAddr::from(word),
        [a, b, c, d] => {
            let mut octets = [0; 16];
            for (at, word) in [a, b, c, d].into_iter().enumerate() {
                octets[4 * at..4 * at + 4].copy_from_slice(&word);
            }
            IpAddr::from(octets).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::Sockets;

    #[cfg(target_endian = "little")]
    #[test]
    fn connections_of_both_families_are_read_as_the_kernel_writes_them() {
        let mut sockets = Sockets::default();
        sockets.add_tcp(
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n\
             \x20  0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000\n\
             \x20  1: 0201A8C0:0016 097100CB:C350 01 00000000:00000000 02:00000000 00000000\n",
        );
        sockets.add_tcp(
            &[
                [
                    "00000000000000000000000000000000:1F90",
                    "00000000000000000000000000000000:0000",
                    "0A",
                ],
                [
                    "0000000000000000FFFF00000201A8C0:1F90",
                    "0000000000000000FFFF0000097100CB:C351",
                    "01",
                ],
                [
                    "B80D0120000000000000000001000000:1F90",
                    "B80D0120000000000000000002000000:C352",
                    "01",
                ],
            ]
            .map(|words| format!("0: {} 0", words.join(" ")))
            .join("\n"),
        );
        assert_eq!(sockets.listening, [22, 8080]);
        let text: Vec<_> = sockets
            .established
            .iter()
            .map(|(local, peer)| format!("{local} {peer}"))
            .collect();
        assert_eq!(
            text,
            [
                "192.168.1.2:22 203.0.113.9:50000",
                "192.168.1.2:8080 203.0.113.9:50001"
            ]
        );
        let mut nothing = Sockets::default();
        nothing.add_tcp("junk\n 0: zz:1 2:3 4\n1:\n 2: 00:16 00:00 0A\n");
        assert_eq!(nothing, Sockets::default());
    }
}
