//! Traffic through the tunnel: pings, bulk TCP, UDP of every size.

use conformance::{Capture, Lab, ping, ping_df, tcp_download, tcp_transfer, udp_echo_sizes};

use crate::{SECOND, pair};

#[test]
fn a_ping_passes_through_two_tun_devices() {
    let lab = Lab::new(1);
    let (_server, client) = pair(&lab);
    for size in [0, 56, 1000] {
        assert!(
            ping(client.machine(), Lab::GATEWAY.into(), size, SECOND).is_some(),
            "{size} bytes"
        );
    }
}

#[test]
fn a_packet_of_the_device_mtu_passes_the_tunnel() {
    let lab = Lab::new(1);
    let (_server, client) = pair(&lab);
    let largest = client.device_mtu() - 28;
    assert!(matches!(
        ping_df(client.machine(), Lab::GATEWAY.into(), largest, SECOND),
        Ok(Some(_))
    ));
}

#[test]
fn one_hundred_megabytes_arrive_intact_in_each_direction() {
    let lab = Lab::new(1);
    let (_server, client) = pair(&lab);
    tcp_transfer(
        client.machine(),
        &lab.server,
        Lab::GATEWAY,
        100_000_000,
        60 * SECOND,
    );
    tcp_download(
        client.machine(),
        &lab.server,
        Lab::GATEWAY,
        100_000_000,
        60 * SECOND,
    );
}

#[test]
fn udp_datagrams_of_every_size_from_0_to_9000_pass_in_both_directions() {
    let lab = Lab::new(1);
    let (_server, client) = pair(&lab);
    let missing = udp_echo_sizes(client.machine(), &lab.server, Lab::GATEWAY.into(), 0..=9000);
    assert!(
        missing.is_empty(),
        "{} sizes did not come back: {missing:?}",
        missing.len()
    );
}

/// A15: the MSS option of both ends is clamped to what fits one datagram.
#[test]
fn the_mss_of_a_tcp_connection_is_clamped_to_one_datagram() {
    let lab = Lab::new(1);
    let (_server, client) = pair(&lab);
    let fits = client.device_mtu() - 40;
    let handshakes = |captured: &conformance::Captured| {
        let packet = &captured.packet;
        packet.len() >= 40 && packet[9] == 6 && packet[33] & 0x02 != 0
    };
    let at_client = Capture::start(&lab.clients[0], "qdt0", handshakes);
    let at_server = Capture::start(&lab.server, "qdt0", handshakes);
    tcp_transfer(
        client.machine(),
        &lab.server,
        Lab::GATEWAY,
        1_000_000,
        20 * SECOND,
    );
    for capture in [at_client, at_server] {
        let sizes: Vec<_> = capture
            .packets()
            .iter()
            .filter_map(|syn| mss(&syn.packet))
            .collect();
        assert!(sizes.len() >= 2, "SYN and SYN-ACK: {sizes:?}");
        assert!(
            sizes.iter().all(|mss| usize::from(*mss) <= fits),
            "{sizes:?} with room for {fits}"
        );
    }
}

/// The MSS option of a TCP SYN, where it stands first as Linux writes it.
fn mss(packet: &[u8]) -> Option<u16> {
    let options = packet.get(40..44)?;
    (options[..2] == [2, 4]).then(|| u16::from_be_bytes([options[2], options[3]]))
}
