//! The reports of a watch about changes by other programs.

use std::time::Duration;

use qdt_host::{Changes, HostWatch, Watch};

use crate::namespace::Namespace;

/// A report is due after some seconds anyway; this is for a machine that is busy.
const DEADLINE: Duration = Duration::from_secs(60);

async fn next(watch: &mut HostWatch) -> Changes {
    tokio::time::timeout(DEADLINE, watch.changed())
        .await
        .expect("a report comes every few seconds")
}

/// What `script` makes a watch report first, other than that it is time for a look.
fn reported(namespace: &Namespace, script: &str) -> Changes {
    namespace.block_on(async || {
        let mut watch = HostWatch::open();
        namespace.sh(script);
        loop {
            let changes = next(&mut watch).await;
            if changes != Changes::ALL {
                return changes;
            }
        }
    })
}

#[test]
fn each_kind_of_change_is_reported_as_what_it_is() {
    let namespace = Namespace::new();
    namespace.sh("ip tuntap add dev qdt0 mode tun; ip addr add 10.8.0.5/32 dev qdt0");
    let only = |edit: fn(&mut Changes)| {
        let mut changes = Changes::NONE;
        edit(&mut changes);
        changes
    };
    for (script, expected) in [
        ("ip link set qdt0 mtu 1300", only(|seen| seen.links = true)),
        (
            "ip rule add pref 77 lookup 77",
            only(|seen| seen.rules = true),
        ),
        ("ip -6 rule del pref 32766", only(|seen| seen.rules = true)),
        (
            "ip route add blackhole 192.0.2.0/24",
            only(|seen| seen.routes = true),
        ),
        (
            "ip -6 route add blackhole 2001:db8::/64",
            only(|seen| seen.routes = true),
        ),
        (
            "sysctl -qw net.ipv4.conf.qdt0.rp_filter=1",
            only(|seen| seen.links = true),
        ),
        ("nft add table ip other", only(|seen| seen.firewall = true)),
        ("nft flush ruleset", only(|seen| seen.firewall = true)),
    ] {
        assert_eq!(reported(&namespace, script), expected, "{script}");
    }
    let flushed = reported(&namespace, "ip addr flush dev qdt0");
    assert!(flushed.addresses && !flushed.rules, "{flushed:?}");
}

#[test]
fn a_burst_of_changes_is_one_report_and_none_is_lost_without_a_waiter() {
    let namespace = Namespace::new();
    namespace.block_on(async || {
        let mut watch = HostWatch::open();
        namespace.sh("ip tuntap add dev qdt0 mode tun; ip link set qdt0 up");
        // A look at the clock wins against the watch again and again: its future is dropped.
        let mut seen = Changes::NONE;
        while !seen.links {
            tokio::select! {
                biased;
                () = tokio::task::yield_now() => {}
                changes = watch.changed() => seen = changes,
            }
            tokio::select! {
                changes = watch.changed() => seen = changes,
                () = tokio::time::sleep(Duration::from_millis(1)) => {}
            }
        }
    });
}

#[test]
fn without_any_event_a_full_check_is_due_every_few_seconds() {
    let namespace = Namespace::new();
    namespace.block_on(async || {
        let mut watch = HostWatch::open();
        assert_eq!(next(&mut watch).await, Changes::ALL);
        assert_eq!(next(&mut watch).await, Changes::ALL);
    });
}

#[test]
fn events_that_did_not_fit_count_as_a_change_of_everything() {
    let namespace = Namespace::new();
    let commands: String = (0..4000)
        .map(|number| {
            format!(
                "route add blackhole 10.{}.{}.0/24\n",
                number / 250,
                number % 250
            )
        })
        .collect();
    let file = tempfile::NamedTempFile::new().expect("a file can be made");
    std::fs::write(file.path(), commands).expect("it can be written");
    let changes = namespace.block_on(async || {
        let mut watch = HostWatch::open();
        // There is no reader meanwhile.
        namespace.sh(&format!("ip -batch {}", file.path().display()));
        next(&mut watch).await
    });
    assert_eq!(changes, Changes::ALL);
}

#[test]
fn a_process_that_may_not_subscribe_checks_every_few_seconds() {
    let namespace = Namespace::new();
    namespace.block_on(async || {
        let mut sets = rustix::thread::capabilities(None).expect("they can be read");
        sets.effective = rustix::thread::CapabilitySet::empty();
        rustix::thread::set_capabilities(None, sets).expect("they can be dropped");
        let mut watch = HostWatch::open();
        assert_eq!(next(&mut watch).await, Changes::ALL);
    });
}
