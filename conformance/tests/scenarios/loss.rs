//! A12: loss slows the tunnel down and does nothing else to it.

use conformance::{Lab, tcp_download, tcp_transfer, wait_until};

use crate::{SECOND, pair, pings};

#[test]
fn twenty_megabytes_arrive_intact_at_1_5_and_20_percent_loss_without_a_lost_session() {
    let lab = Lab::new(1);
    let (server, mut client) = pair(&lab);
    let mtu = client.device_mtu();
    let sessions = server.metrics().handshakes("ok");
    for (percent, megabytes) in amounts() {
        lab.lose_percent(percent);
        let bytes = megabytes * 1_000_000;
        tcp_download(
            client.machine(),
            &lab.server,
            Lab::GATEWAY,
            bytes,
            300 * SECOND,
        );
        tcp_transfer(
            client.machine(),
            &lab.server,
            Lab::GATEWAY,
            bytes,
            300 * SECOND,
        );
        assert_eq!(
            client.device_mtu(),
            mtu,
            "{percent} % loss must not shrink the tunnel"
        );
        assert_eq!(
            server.metrics().handshakes("ok"),
            sessions,
            "the session is the first one still"
        );
    }
    lab.heal();
    wait_until("the tunnel is as before", 5 * SECOND, || pings(&client));
    assert!(client.ended().is_none());
}

/// Loss in percent and megabytes each way; 20 % shortened unless at full
/// length, because TCP itself takes minutes there.
fn amounts() -> [(u32, u64); 3] {
    let heavy = if conformance::at_full_length() { 20 } else { 1 };
    [(1, 20), (5, 20), (20, heavy)]
}
