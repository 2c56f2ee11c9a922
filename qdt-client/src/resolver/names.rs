//! The names to query, and the names in the hosts file: resolv.conf(5), hosts(5).

use std::net::IpAddr;

use qdt_host::HostResolvers;

/// Returns the names to query in turn until one exists. A trailing dot excludes the search domains.
pub(super) fn candidates(name: &str, resolvers: &HostResolvers) -> Vec<String> {
    if let Some(absolute) = name.strip_suffix('.') {
        return vec![absolute.to_owned()];
    }
    let mut names: Vec<String> = resolvers
        .search
        .iter()
        .map(|domain| format!("{name}.{domain}"))
        .collect();
    let as_it_is = if name.matches('.').count() >= resolvers.dots {
        0
    } else {
        names.len()
    };
    names.insert(as_it_is, name.to_owned());
    names
}

/// Returns the addresses of `name` in a hosts file.
pub(super) fn in_hosts(hosts: &str, name: &str) -> Vec<IpAddr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let address = |line: &str| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let address = words.next()?.parse().ok()?;
        words
            .any(|word| word.eq_ignore_ascii_case(name))
            .then_some(address)
    };
    hosts.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_domains_come_after_a_name_with_dots_and_before_one_without() {
        let resolvers = HostResolvers {
            search: vec!["lan".to_owned(), "home.arpa".to_owned()],
            ..HostResolvers::default()
        };
        let names = |name| candidates(name, &resolvers);
        assert_eq!(names("vpn"), ["vpn.lan", "vpn.home.arpa", "vpn"]);
        assert_eq!(names("vpn.x"), ["vpn.x", "vpn.x.lan", "vpn.x.home.arpa"]);
        assert_eq!(names("vpn.x."), ["vpn.x"]);
    }

    #[test]
    fn a_hosts_file_gives_every_address_of_a_name_or_of_its_alias() {
        let hosts = "# 192.0.2.9 vpn\n192.0.2.1 a.b VPN # c\n::1%lo vpn\n2001:db8::1\tvpn\n";
        let expected: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        assert_eq!(in_hosts(hosts, "vpn."), expected);
        assert!(in_hosts(hosts, "c").is_empty());
    }
}
