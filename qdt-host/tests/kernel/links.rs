//! Addresses, MTU, queue length and state of a device, set through rtnetlink and read with `ip`.

use qdt_host::{HostLinks, LinkError, Links};

use crate::namespace::Namespace;

fn with_tun() -> Namespace {
    let namespace = Namespace::new();
    namespace.sh("ip tuntap add dev qdt0 mode tun");
    namespace
}

fn addresses(namespace: &Namespace) -> Vec<String> {
    let shown = namespace.sh("ip -o -4 addr show dev qdt0");
    shown
        .lines()
        .filter_map(|line| line.split_whitespace().nth(3))
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_device_is_set_up_for_a_server() {
    let namespace = with_tun();
    namespace.block_on(async || {
        HostLinks
            .set_address("qdt0", "10.8.0.1/24".parse().unwrap())
            .await
            .unwrap();
        HostLinks.set_mtu("qdt0", 1312).await.unwrap();
        HostLinks.set_up("qdt0").await.unwrap();
    });
    let shown = namespace.sh("ip addr show dev qdt0");
    assert!(shown.contains("mtu 1312"), "{shown}");
    assert!(
        shown.contains("NO-CARRIER,POINTOPOINT,MULTICAST,NOARP,UP"),
        "{shown}"
    );
    assert_eq!(addresses(&namespace), ["10.8.0.1/24"]);
    assert!(namespace.sh("ip route").contains("10.8.0.0/24 dev qdt0"));
}

#[test]
fn setting_the_same_again_changes_nothing() {
    let namespace = with_tun();
    let set = async || {
        HostLinks
            .set_address("qdt0", "10.8.0.1/24".parse().unwrap())
            .await
            .unwrap();
        HostLinks.set_up("qdt0").await.unwrap();
    };
    namespace.block_on(set);
    let before = namespace.sh("ip addr; ip route");
    namespace.block_on(set);
    assert_eq!(namespace.sh("ip addr; ip route"), before);
}

#[test]
fn another_address_replaces_the_existing_ones() {
    let namespace = with_tun();
    namespace.sh(
        "ip addr add 10.8.0.7/24 dev qdt0; ip addr add 10.8.0.9/24 dev qdt0
                  ip addr add 192.0.2.1/32 dev qdt0",
    );
    for address in ["10.8.0.9/24", "10.8.0.9/32", "10.8.0.5/32", "10.9.0.5/16"] {
        namespace.block_on(async || {
            HostLinks
                .set_address("qdt0", address.parse().unwrap())
                .await
                .unwrap();
        });
        assert_eq!(addresses(&namespace), [address]);
    }
}

#[test]
fn a_client_address_of_prefix_32_gives_the_main_table_no_route() {
    let namespace = with_tun();
    namespace.block_on(async || {
        HostLinks
            .set_address("qdt0", "10.8.0.5/32".parse().unwrap())
            .await
            .unwrap();
        HostLinks.set_up("qdt0").await.unwrap();
    });
    assert_eq!(namespace.sh("ip route show table main"), "");
}

#[test]
fn errors_name_the_interface_and_the_step() {
    let namespace = with_tun();
    let (missing, mtu) = namespace.block_on(async || {
        let missing = HostLinks.set_up("qdt9").await.unwrap_err();
        let mtu = HostLinks.set_mtu("qdt0", 20).await.unwrap_err();
        (missing, mtu)
    });
    assert!(matches!(missing, LinkError::Missing { .. }), "{missing}");
    assert_eq!(missing.to_string(), "interface `qdt9` does not exist");
    assert_eq!(
        mtu.to_string(),
        "interface `qdt0`: cannot set the MTU to 20: Invalid argument (os error 22)"
    );
    let refused = namespace.block_on(async || {
        let mut sets = rustix::thread::capabilities(None).unwrap();
        sets.effective
            .remove(rustix::thread::CapabilitySet::NET_ADMIN);
        rustix::thread::set_capabilities(None, sets).unwrap();
        HostLinks.set_up("qdt0").await.unwrap_err()
    });
    assert!(matches!(refused, LinkError::Permission { .. }), "{refused}");
}
