//! A16: packets of a flow leave the tunnel in the order they entered it,
//! whatever the number of workers.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use conformance::{Client, Config, Lab, Machine, Server};

use crate::SECOND;

/// Packets of one flood.
const COUNT: u32 = 50_000;

/// Sends numbered datagrams and returns how many arrived and how many of them
/// after one with a higher number.
fn flood(from: &Machine, to: &Machine, address: IpAddr) -> (usize, usize) {
    let receiver = to
        .enter(|| UdpSocket::bind(SocketAddr::new(address, 0)))
        .expect("the address is there");
    receiver
        .set_read_timeout(Some(SECOND))
        .expect("a time-out that is not zero");
    socket2::SockRef::from(&receiver)
        .set_recv_buffer_size(8 << 20)
        .expect("a buffer");
    let target = receiver
        .local_addr()
        .expect("a bound socket has an address");
    let sender = from
        .enter(|| UdpSocket::bind("0.0.0.0:0"))
        .expect("a UDP socket");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..COUNT {
                let mut payload = [0_u8; 300];
                payload[..4].copy_from_slice(&number.to_be_bytes());
                let _ = sender.send_to(&payload, target);
            }
        });
        let (mut arrived, mut late, mut highest) = (0, 0, 0);
        let mut buffer = [0_u8; 512];
        while receiver.recv(&mut buffer).is_ok() {
            let number = u32::from_be_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]);
            arrived += 1;
            if number < highest {
                late += 1;
            }
            highest = highest.max(number);
        }
        (arrived, late)
    })
}

#[test]
fn a_flood_of_numbered_datagrams_stays_in_order_with_every_number_of_workers() {
    let lab = Lab::new(1);
    for workers in ["1", "2", "8"] {
        let _server = Server::start(&lab.server, Config::server().set("send_workers", workers));
        let client = Client::start(&lab.clients[0], Config::client());
        let inner = client.inner_address().expect("a connected client");
        for (way, (arrived, late)) in [
            (
                "up",
                flood(client.machine(), &lab.server, Lab::GATEWAY.into()),
            ),
            ("down", flood(&lab.server, client.machine(), inner.into())),
        ] {
            assert!(
                arrived > 1000,
                "{way}, {workers} workers: only {arrived} arrived"
            );
            assert_eq!(
                late, 0,
                "{way}, {workers} workers: out of order, of {arrived}"
            );
        }
    }
}
