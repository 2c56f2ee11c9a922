//! A machine's interfaces and sockets, as its kernel reports them.

use std::fs;
use std::net::Ipv4Addr;

use super::machine::Machine;

impl Machine {
    /// Bytes received and sent by an interface since it was made.
    ///
    /// # Panics
    /// When there is no such interface.
    #[must_use]
    #[track_caller]
    pub fn bytes(&self, interface: &str) -> (u64, u64) {
        let of = |way: &str| {
            let path = format!("/sys/class/net/{interface}/statistics/{way}_bytes");
            self.run("cat", &[&path])
                .trim()
                .parse()
                .expect("a counter is a number")
        };
        (of("rx"), of("tx"))
    }

    /// The first IPv4 address of an interface; `None` where there is no such
    /// interface or it has none.
    #[must_use]
    pub fn ipv4(&self, interface: &str) -> Option<Ipv4Addr> {
        let output = self
            .command("ip")
            .args(["-4", "-o", "address", "show", "dev", interface])
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let address = word_after(&text, "inet")?;
        address.split('/').next()?.parse().ok()
    }

    /// The MTU of an interface in bytes.
    ///
    /// # Panics
    /// When there is no such interface.
    #[must_use]
    #[track_caller]
    pub fn mtu(&self, interface: &str) -> usize {
        let text = self.ip(&format!("-o link show dev {interface}"));
        word_after(&text, "mtu")
            .and_then(|mtu| mtu.parse().ok())
            .expect("a device has an MTU")
    }

    /// Whether a UDP socket is bound to that port, in either family.
    #[must_use]
    pub fn udp_port_is_bound(&self, port: u16) -> bool {
        let wanted = format!(":{port:04X}");
        self.enter(|| {
            ["udp", "udp6"].iter().any(|table| {
                fs::read_to_string(format!("/proc/thread-self/net/{table}"))
                    .unwrap_or_default()
                    .lines()
                    .skip(1)
                    .filter_map(|line| line.split_whitespace().nth(1))
                    .any(|local| local.ends_with(&wanted))
            })
        })
    }
}

fn word_after<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    text.split_whitespace()
        .skip_while(|candidate| *candidate != word)
        .nth(1)
}
