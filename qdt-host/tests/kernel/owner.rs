//! The ownership of a tunnel's name, and that nothing of an owner counts as a leftover.

use std::{
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use qdt_host::{
    HostRoutes, HostTuns, OwnerError, RouteIdentity, RouteMode, Routes, TunError, TunOpener,
    TunSpec, TunnelOwner,
};
use rustix::{
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with},
    thread::{CapabilitySet, capabilities, set_capabilities, set_thread_res_uid},
};

use crate::{client::Host, namespace::Namespace};

#[test]
fn a_name_has_one_owner_per_namespace_until_that_ends() {
    let (here, elsewhere) = (Namespace::new(), Namespace::new());
    let owner = here.run(|| TunnelOwner::claim("qdt0").unwrap());
    assert_eq!(owner.warning(), None);
    let refused = here.run(|| TunnelOwner::claim("qdt0").unwrap_err());
    assert!(matches!(refused, OwnerError::Running { .. }), "{refused}");
    assert!(refused.to_string().contains("`qdt0`"), "{refused}");
    here.run(|| TunnelOwner::claim("qdt1").unwrap());
    elsewhere.run(|| TunnelOwner::claim("qdt0").unwrap());
    drop(owner);
    // A command that another test starts has a copy of it for an instant.
    let deadline = Instant::now() + Duration::from_secs(20);
    while here.run(|| TunnelOwner::claim("qdt0").is_err()) {
        assert!(Instant::now() < deadline, "the owner is gone");
    }
}

#[test]
fn a_name_that_leads_to_the_same_table_is_refused_too() {
    let namespace = Namespace::new();
    let number = RouteIdentity::of("qdt0");
    let twin = (0..1_000_000)
        .map(|number| format!("vpn{number}"))
        .find(|name| RouteIdentity::of(name) == number)
        .expect("there are 4096 numbers");
    let _owner = namespace.run(|| TunnelOwner::claim("qdt0").unwrap());
    let refused = namespace.run(|| TunnelOwner::claim(&twin).unwrap_err());
    assert!(matches!(refused, OwnerError::Running { .. }), "{refused}");
}

#[test]
fn a_device_that_another_program_has_open_cannot_be_claimed() {
    let namespace = Namespace::new();
    let spec = TunSpec {
        name: "qdt0".to_owned(),
        queues: 1,
        offload: false,
    };
    let tun = namespace.run(|| HostTuns.open(&spec).unwrap());
    let refused = namespace.run(|| TunnelOwner::claim("qdt0").unwrap_err());
    assert!(
        matches!(refused, OwnerError::Tun(TunError::Busy { .. })),
        "{refused}"
    );
    drop(tun);
    namespace.sh("ip tuntap add dev qdt0 mode tun");
    namespace.run(|| TunnelOwner::claim("qdt0").unwrap());
}

#[test]
fn a_foreign_user_who_binds_the_owners_name_prevents_no_start() {
    let namespace = Namespace::new();
    let name = owner_name("qdt0");
    let stranger = namespace.run(|| {
        let nobody = rustix::process::Uid::from_raw(65534);
        set_thread_res_uid(nobody, nobody, nobody).unwrap();
        let mut sets = capabilities(None).unwrap();
        sets.effective = CapabilitySet::empty();
        set_capabilities(None, sets).unwrap();
        hold(&name)
    });
    let owner = namespace.run(|| TunnelOwner::claim("qdt0").unwrap());
    let warning = owner.warning().expect("it is worth a line").to_string();
    assert!(
        warning.contains("user 65534") && warning.contains(&name),
        "{warning}"
    );
    drop(stranger);
}

#[test]
fn the_rules_of_a_running_client_whose_device_is_down_are_not_leftovers() {
    let host = Host::new();
    let remove = async || HostRoutes.remove_leftovers("other0").await.unwrap();
    host.install(RouteMode::Default);
    // The routes go with that, the rules stay.
    host.namespace.sh("ip link set qdt0 down");
    let rules = host.namespace.sh("ip rule");
    // A client claims its name before it opens its device.
    let owner = host.namespace.run(|| hold(&owner_name("qdt0")));
    host.namespace.block_on(remove);
    assert_eq!(host.namespace.sh("ip rule"), rules);
    drop(owner);
    // A command that another test starts has a copy of it for an instant.
    let deadline = Instant::now() + Duration::from_secs(20);
    while host.namespace.sh("ip rule") == rules {
        assert!(Instant::now() < deadline, "these have no owner: {rules}");
        host.namespace.block_on(remove);
    }
}

fn owner_name(tun: &str) -> String {
    format!("qdt-client/{}", RouteIdentity::of(tun).table())
}

fn hold(name: &str) -> OwnedFd {
    let kind = SocketType::DGRAM;
    let socket =
        socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).expect("a socket");
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).expect("a short name");
    bind(&socket, &address).expect("the name is free");
    socket
}
