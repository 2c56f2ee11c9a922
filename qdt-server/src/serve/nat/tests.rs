//! NAT on an in-memory host that an administrator changes.

use std::fs;

use qdt_host::memory::{Call, MemoryHost};

use super::*;

fn config() -> HostConfig {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.yaml");
    fs::write(
        &path,
        "token: a-token-of-some-length\nnat: {enabled: true}\n",
    )
    .unwrap();
    crate::config::ServerConfig::load(&path, 1)
        .unwrap()
        .config
        .host
}

async fn installed(host: &MemoryHost) -> (Nat<MemoryHost>, Arc<HostStatus>) {
    let config = config();
    let status = Arc::new(HostStatus::default());
    let pool = "10.8.0.0/24".parse().unwrap();
    let nat = Nat::install(host.clone(), &config, "qdt0", pool, status.clone());
    (nat.await.unwrap(), status)
}

fn with_default_route() -> MemoryHost {
    let host = MemoryHost::new();
    let route = ("eth0".to_owned(), "192.0.2.7".parse().unwrap());
    host.change(|state| state.default_route = Some(route));
    host
}

#[tokio::test]
async fn removed_rules_and_forwarding_are_faults_that_are_restored() {
    let host = with_default_route();
    let (mut nat, status) = installed(&host).await;
    assert_eq!(nat.check(Changes::ALL).await, []);
    assert!(!status.nat_missing());

    host.change(|state| {
        state.nat.clear();
        state.forwards = false;
    });
    let faults = nat.check(Changes::ALL).await;
    assert_eq!(faults, [NatFault::Forwarding, NatFault::Rules]);
    assert!(status.nat_missing());
    for fault in faults {
        nat.restore(fault).await.unwrap();
    }
    assert!(!status.nat_missing());
    let state = host.state();
    assert!(state.forwards && state.nat.contains_key("qdt0"));
}

#[tokio::test]
async fn nat_waits_for_a_default_route_and_health_says_so() {
    let host = MemoryHost::new();
    let (mut nat, status) = installed(&host).await;
    assert_eq!(host.state().nat["qdt0"].external_interface, None);
    assert!(status.nat_missing());

    let route = ("wan0".to_owned(), "192.0.2.7".parse().unwrap());
    host.change(|state| state.default_route = Some(route));
    // The route is read again only after a multiple of the last read's duration.
    while status.nat_missing() {
        nat.check(Changes::ALL).await;
    }
    let state = host.state();
    assert_eq!(
        state.nat["qdt0"].external_interface.as_deref(),
        Some("wan0")
    );
}

#[tokio::test]
async fn rules_that_cannot_be_installed_are_an_error_and_leave_none() {
    let host = with_default_route();
    host.fail_next("install_nat");
    let status = Arc::new(HostStatus::default());
    let config = config();
    let pool = "10.8.0.0/24".parse().unwrap();
    let nat = Nat::install(host.clone(), &config, "qdt0", pool, status).await;
    assert!(matches!(nat, Err(FirewallError::Permission { .. })));
    let removed = Call::RemoveNat("qdt0".to_owned());
    assert_eq!(host.take_calls().last(), Some(&removed));
}
