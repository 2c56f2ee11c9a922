//! The kernel parameters of a server.

use qdt_host::{Firewall, HostFirewall};

use crate::namespace::{Namespace, mount, private_mounts};

#[test]
fn forwarding_is_enabled_and_stays_enabled() {
    let namespace = Namespace::new();
    let read = || namespace.sh("cat /proc/sys/net/ipv4/ip_forward");
    // A new namespace has what the host has, and a container engine switches it on there.
    namespace.sh("echo 0 > /proc/sys/net/ipv4/ip_forward");
    assert_eq!(read(), "0\n");
    for _ in 0..2 {
        namespace.run(|| HostFirewall.enable_forwarding().unwrap());
        assert_eq!(read(), "1\n");
    }
}

#[test]
fn where_forwarding_is_on_a_read_only_file_is_not_an_error() {
    let namespace = Namespace::new();
    namespace.run(|| {
        HostFirewall.enable_forwarding().unwrap();
        let file = "/proc/sys/net/ipv4/ip_forward";
        private_mounts();
        mount(&["--bind", file, file]);
        mount(&["-o", "remount,ro,bind", file]);
        std::fs::write(file, "1").unwrap_err();
        HostFirewall.enable_forwarding().unwrap();
    });
}
