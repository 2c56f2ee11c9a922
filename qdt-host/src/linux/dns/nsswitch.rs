//! The C library's order of name services: nsswitch.conf(5).

/// Returns whether the C library queries systemd-resolved through its module (`nss-resolve`) before
/// the servers of resolv.conf.
pub(super) fn asks_resolved(nsswitch: &str) -> bool {
    let hosts = nsswitch
        .lines()
        .filter_map(|line| line.split('#').next()?.trim_start().strip_prefix("hosts:"))
        .next_back();
    let mut services = hosts.unwrap_or_default().split_ascii_whitespace();
    services.find(|service| matches!(*service, "resolve" | "dns")) == Some("resolve")
}

#[cfg(test)]
mod tests {
    use super::asks_resolved;

    #[test]
    fn resolve_counts_where_it_stands_before_dns() {
        for (hosts, asked) in [
            (
                "hosts: files myhostname resolve [!UNAVAIL=return] dns",
                true,
            ),
            ("passwd: files\nhosts:\tmymachines resolve\n", true),
            ("hosts: files dns resolve", false),
            ("hosts: files mdns4_minimal [NOTFOUND=return] dns", false),
            ("#hosts: resolve\nhosts: files # resolve\n", false),
            ("", false),
        ] {
            assert_eq!(asks_resolved(hosts), asked, "{hosts}");
        }
    }
}
