//! `host:port`: split, looked up, listened on, dialled.

use std::net::SocketAddr;

use qdt_program::{HostPort, ListenAddress, Protocol};

fn parsed(text: &str) -> HostPort {
    text.parse()
        .unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn refused(text: &str) -> String {
    match text.parse::<HostPort>() {
        Ok(address) => panic!("{text:?} was taken as {address:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_host_and_a_port_are_told_apart_and_written_back() {
    let cases = [
        (":443", "", "443"),
        ("vpn.example.org:443", "vpn.example.org", "443"),
        ("192.0.2.1:https", "192.0.2.1", "https"),
        ("[2001:db8::1]:443", "2001:db8::1", "443"),
        ("[fe80::1%eth0]:443", "fe80::1%eth0", "443"),
        ("host:", "host", ""),
        (":", "", ""),
    ];
    for (text, host, port) in cases {
        let address = parsed(text);
        assert_eq!((address.host(), address.port()), (host, port), "{text}");
        assert_eq!(address.to_string(), text);
    }
}

#[test]
fn what_is_no_host_and_port_is_named_with_a_remedy() {
    let cases = [
        (
            "443",
            "address 443: missing port in address; write host:port",
        ),
        ("", "missing port in address"),
        ("vpn.example.org", "missing port in address"),
        ("[2001:db8::1]", "missing port in address"),
        (
            "2001:db8::1",
            "too many colons in address; put an IPv6 address in brackets",
        ),
        ("a:b:c", "too many colons"),
        (
            "https://vpn.example.org:443/",
            "is a URL; write host:port without https:// and without a path",
        ),
        ("[::1]:4:3", "too many colons"),
        ("[::1", "missing ']'"),
        ("[::1:443", "missing ']'"),
        ("[::1]x:443", "missing port"),
        ("a[b]:443", "unexpected '['"),
        ("ab]:443", "unexpected ']'"),
        ("[a[b]:443", "unexpected '['"),
        (
            "[fe80::1]:443",
            "a link-local IPv6 address needs its interface; write [address%interface]:port",
        ),
        ("[fe80::1%]:443", "a link-local IPv6 address needs"),
        ("[febf::1]:443", "a link-local IPv6 address needs"),
        (
            "vpn.example.org%eth0:443",
            "only an IPv6 address has a zone",
        ),
        ("[192.0.2.1%eth0]:443", "only an IPv6 address has a zone"),
        ("host:65536", "invalid port; it must be between 0 and 65535"),
        ("host:-1", "invalid port"),
    ];
    for (text, part) in cases {
        let error = refused(text);
        assert!(error.contains(part), "{text:?}: {error}");
    }
}

#[test]
fn an_empty_host_and_both_unspecified_addresses_listen_everywhere() {
    for text in [":443", "0.0.0.0:443", "[::]:443", ":https"] {
        let address = parsed(text)
            .listen_address(Protocol::Udp)
            .expect("no look-up needed");
        assert_eq!(address, ListenAddress::Any { port: 443 }, "{text}");
        let [v6, v4] = address.candidates()[..] else {
            panic!("two candidates")
        };
        assert_eq!(
            (v6.to_string(), v4.to_string()),
            ("[::]:443".into(), "0.0.0.0:443".into())
        );
    }
}

#[test]
fn a_named_address_listens_there_only() {
    let address = parsed("127.0.0.1:0")
        .listen_address(Protocol::Tcp)
        .expect("no look-up needed");
    let expected: SocketAddr = "127.0.0.1:0".parse().unwrap();
    assert_eq!(address, ListenAddress::One(expected));
    assert_eq!(address.candidates(), [expected]);
}

#[test]
fn names_are_looked_up_and_ipv4_comes_first() {
    let addresses = parsed("localhost:4433")
        .dial_addresses(Protocol::Udp)
        .expect("localhost");
    assert!(
        addresses.contains(&"127.0.0.1:4433".parse().unwrap()),
        "{addresses:?}"
    );
    assert!(
        addresses.is_sorted_by_key(SocketAddr::is_ipv6),
        "{addresses:?}"
    );
    let itself = parsed(":4433")
        .dial_addresses(Protocol::Udp)
        .expect("no look-up needed");
    assert_eq!(
        itself,
        [
            "127.0.0.1:4433".parse().unwrap(),
            "[::1]:4433".parse().unwrap()
        ]
    );
}

#[test]
fn a_name_nobody_knows_is_named_in_the_error() {
    let error = parsed("no-such-host.invalid:443").dial_addresses(Protocol::Udp);
    let error = error
        .expect_err("the name is reserved for this (RFC 6761)")
        .to_string();
    assert!(
        error.starts_with("address no-such-host.invalid:443: cannot look up"),
        "{error}"
    );
}

#[test]
fn service_names_become_ports_and_unknown_ones_are_named() {
    assert_eq!(parsed(":https").port_number(Protocol::Udp).unwrap(), 443);
    assert_eq!(parsed(":").port_number(Protocol::Udp).unwrap(), 0);
    let error = parsed(":no-such-service")
        .port_number(Protocol::Udp)
        .expect_err("unknown");
    assert_eq!(
        error.to_string(),
        "address :no-such-service: unknown port: udp/no-such-service; use its number"
    );
}

#[test]
fn a_link_local_address_is_dialled_and_listened_on_at_the_interface_that_it_names() {
    let address = parsed("[fe80::1%lo]:443");
    let dialled = address.dial_addresses(Protocol::Udp).expect("an address");
    let [SocketAddr::V6(v6)] = dialled[..] else {
        panic!("{dialled:?}");
    };
    assert_eq!(v6.ip().to_string(), "fe80::1");
    assert_ne!(v6.scope_id(), 0, "the interface's number");
    let by_number = parsed(&format!("[fe80::1%{}]:443", v6.scope_id()));
    assert_eq!(by_number.dial_addresses(Protocol::Udp).unwrap(), dialled);
    assert_eq!(
        address.listen_address(Protocol::Udp).unwrap(),
        ListenAddress::One(dialled[0])
    );
    assert_eq!(address.host_without_zone(), "fe80::1");
}

#[test]
fn an_interface_that_does_not_exist_is_named() {
    let error = parsed("[fe80::1%nowhere0]:443").dial_addresses(Protocol::Udp);
    assert_eq!(
        error.expect_err("no such interface").to_string(),
        "address [fe80::1%nowhere0]:443: there is no interface `nowhere0` on this machine; `ip link` lists them"
    );
}

#[test]
fn the_zone_of_an_address_that_needs_none_is_ignored() {
    let address = parsed("[2001:db8::1%eth0]:443");
    let expected: SocketAddr = "[2001:db8::1]:443".parse().unwrap();
    assert_eq!(address.dial_addresses(Protocol::Udp).unwrap(), [expected]);
    assert_eq!(address.host_without_zone(), "2001:db8::1");
    assert_eq!(parsed("a.example:1").host_without_zone(), "a.example");
}
