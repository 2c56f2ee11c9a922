//! The host's own name servers, for queries outside the tunnel.
//!
//! Invariants: the tunnel's servers are not among them, unless the host used them before the
//! tunnel. A stub on this host is a last resort, because its queries follow the host's routes into
//! the tunnel.

use std::{fs, net::IpAddr, path::PathBuf};

use super::interface_index;
use crate::HostResolvers;

/// Parses a resolv.conf of this host.
pub(super) fn parse(content: &[u8]) -> HostResolvers {
    HostResolvers::parse(&String::from_utf8_lossy(content), |interface| {
        interface_index(interface).ok().flatten()
    })
}

/// Chooses among the servers of the host's resolv.conf, those in the files of stub resolvers (first
/// where `uses_stub`), and those known before the tunnel, whose servers are `tunnel_servers`.
pub(super) fn choose(
    host: HostResolvers,
    uses_stub: bool,
    upstreams: &[PathBuf],
    before: Option<HostResolvers>,
    tunnel_servers: &[IpAddr],
) -> HostResolvers {
    let uses_stub = uses_stub || host.only_local();
    let behind_stub = upstreams.iter().filter(|_| uses_stub).filter_map(|path| {
        let mut found = parse(&fs::read(path).ok()?);
        found.search.extend_from_slice(&host.search);
        found.search.dedup();
        found.dots = host.dots;
        Some(found)
    });
    let foreign = |mut found: HostResolvers| {
        found.servers.retain(|server| {
            let known = before.as_ref().is_some_and(|b| b.servers.contains(server));
            !server.ip().is_loopback() && (known || !tunnel_servers.contains(&server.ip()))
        });
        (!found.servers.is_empty()).then_some(found)
    };
    let mut candidates = behind_stub.chain([host.clone()]).filter_map(foreign);
    let chosen = candidates.next();
    chosen.or(before.clone()).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(found: &HostResolvers) -> Vec<String> {
        let address = |server: &std::net::SocketAddr| server.ip().to_string();
        found.servers.iter().map(address).collect()
    }

    #[test]
    fn behind_a_stub_stand_the_servers_of_its_own_file_less_those_of_the_tunnel() {
        let folder = tempfile::tempdir().unwrap();
        let upstreams = [folder.path().join("none"), folder.path().join("resolved")];
        fs::write(
            &upstreams[1],
            "nameserver 10.8.0.1\nnameserver 192.168.1.1\nsearch lan\n",
        )
        .unwrap();
        let own = ["10.8.0.1".parse().unwrap()];
        let stub = parse(b"nameserver 127.0.0.53\noptions ndots:2\nsearch lan\n");
        let found = choose(stub.clone(), true, &upstreams, None, &own);
        assert_eq!(servers(&found), ["192.168.1.1"]);
        assert_eq!((found.search, found.dots), (vec!["lan".to_owned()], 2));

        // The host had asked it before: then it is no server of the tunnel alone.
        let before = parse(b"nameserver 10.8.0.1\n");
        let found = choose(stub.clone(), true, &upstreams, Some(before.clone()), &own);
        assert_eq!(servers(&found), ["10.8.0.1", "192.168.1.1"]);

        // Nothing but the tunnel's is left in the file: what was known before.
        fs::write(&upstreams[1], "nameserver 10.8.0.1\n").unwrap();
        let before = parse(b"nameserver 192.168.1.9\n");
        let found = choose(stub.clone(), true, &upstreams, Some(before), &own);
        assert_eq!(servers(&found), ["192.168.1.9"]);

        // Nothing else is known: the stub itself.
        assert_eq!(servers(&choose(stub, true, &[], None, &[])), ["127.0.0.53"]);
    }

    #[test]
    fn a_stub_among_other_servers_is_left_out() {
        let host = parse(b"nameserver 127.0.0.1\nnameserver 192.168.1.1\n");
        let found = choose(host, false, &[PathBuf::from("/none")], None, &[]);
        assert_eq!(servers(&found), ["192.168.1.1"]);
    }
}
