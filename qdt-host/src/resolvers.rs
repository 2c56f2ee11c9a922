//! The host's own name servers, parsed from resolv.conf.
//!
//! Invariants: the parser is as lenient as the C library's (resolv.conf(5)): it skips lines that it
//! does not understand.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// The port of DNS.
const PORT: u16 = 53;
/// The C library's limits of search domains and of `ndots`.
const MAX_SEARCH_DOMAINS: usize = 32;
const MAX_NDOTS: usize = 15;
/// A look-up times out before it reaches more servers than these.
const MAX_SERVERS: usize = 8;

/// The name servers that the host has without a tunnel, and its search list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostResolvers {
    /// The servers in order of preference.
    pub servers: Vec<SocketAddr>,
    /// The search list in order; domains without a dot at either end.
    pub search: Vec<String>,
    /// A name with at least this many dots is first queried as it is (`ndots`).
    pub dots: usize,
}

impl Default for HostResolvers {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            search: Vec::new(),
            dots: 1,
        }
    }
}

impl HostResolvers {
    /// Parses a resolv.conf. `zone` returns the index of the interface that a link-local address
    /// names (`fe80::1%eth0`).
    pub fn parse(text: &str, zone: impl Fn(&str) -> Option<u32>) -> Self {
        let mut found = Self::default();
        for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let server = words.next().and_then(|word| server(word, &zone));
                    if let Some(server) = server.filter(|server| !found.servers.contains(server))
                        && found.servers.len() < MAX_SERVERS
                    {
                        found.servers.push(server);
                    }
                }
                // The last of these lines wins.
                Some("search") => found.search = words.filter_map(domain).collect(),
                Some("domain") => {
                    found.search = words.next().and_then(domain).into_iter().collect()
                }
                Some("options") => {
                    for word in words {
                        if let Some(dots) = word.strip_prefix("ndots:") {
                            found.dots = dots.parse().unwrap_or(found.dots).min(MAX_NDOTS);
                        }
                    }
                }
                _ => {}
            }
        }
        found.search.truncate(MAX_SEARCH_DOMAINS);
        found
    }

    /// Returns whether every server is a stub on this host, which queries others by the host's
    /// routes. False without a server.
    #[must_use]
    pub fn only_local(&self) -> bool {
        !self.servers.is_empty() && self.servers.iter().all(|server| server.ip().is_loopback())
    }
}

fn server(word: &str, zone: &impl Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    if let Some((address, interface)) = word.split_once('%') {
        let address: Ipv6Addr = address.parse().ok()?;
        let scope = interface.parse().ok().or_else(|| zone(interface))?;
        return Some(SocketAddrV6::new(address, PORT, 0, scope).into());
    }
    let address: IpAddr = word.parse().ok()?;
    // The C library takes the unspecified address for the loopback.
    let address = match address {
        IpAddr::V4(v4) if v4.is_unspecified() => [127, 0, 0, 1].into(),
        IpAddr::V6(v6) if v6.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        address => address,
    };
    Some(SocketAddr::new(address, PORT))
}

fn domain(word: &str) -> Option<String> {
    let word = word.trim_matches('.');
    (!word.is_empty()).then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::HostResolvers;

    fn parse(text: &str) -> HostResolvers {
        HostResolvers::parse(text, |zone| (zone == "eth0").then_some(7))
    }

    #[test]
    fn a_resolv_conf_is_read_as_the_c_library_reads_it() {
        let found = parse(
            "# nameserver 1.1.1.1\n; nameserver 1.1.1.2\nnameserver 192.168.1.1 # home\n\
             \tnameserver 2001:db8::1\nnameserver fe80::1%eth0\nnameserver fe80::1%gone\n\
             nameserver x.y\nnameserver 192.168.1.1\nnameserver\ndomain one\n\
             search lan. home.arpa .\noptions edns0 ndots:2 timeout:1\nsortlist 1.2.3.4\n",
        );
        let servers: Vec<_> = found.servers.iter().map(ToString::to_string).collect();
        assert_eq!(
            servers,
            ["192.168.1.1:53", "[2001:db8::1]:53", "[fe80::1%7]:53"]
        );
        assert_eq!(found.search, ["lan", "home.arpa"]);
        assert_eq!(found.dots, 2);
        assert_eq!(parse(""), HostResolvers::default());
        assert_eq!(parse("options ndots:99\noptions ndots:x\n").dots, 15);
    }

    #[test]
    fn stubs_on_the_host_itself_are_told_from_other_servers() {
        assert!(parse("nameserver 127.0.0.53\nnameserver ::1\nnameserver 0.0.0.0\n").only_local());
        assert!(!parse("nameserver 127.0.0.53\nnameserver 192.168.1.1\n").only_local());
        assert!(!parse("search lan\n").only_local());
    }
}
