//! Tests on loopback: steering of datagrams and refused segmentation.

use super::*;

fn loopback() -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)
}

#[test]
fn a_port_that_another_server_shares_is_still_in_use() {
    let first = bind_server(loopback(), 2).expect("first");
    let addr = first[0].local_addr();
    assert!(matches!(bind_server(addr, 2), Err(BindError::InUse(taken)) if taken == addr));
    assert!(matches!(bind_server(addr, 1), Err(BindError::InUse(_))));
}

/// Returns datagrams of every shape, most with a connection id.
fn datagrams() -> impl Iterator<Item = Vec<u8>> {
    let ids = (0..=255u8).flat_map(|id| {
        [
            vec![0x40, id, 1, 2, 3, 4, 5, 6, 7, 8],
            vec![0xc0, 0, 0, 0, 1, 8, id, 1, 2, 3, 4, 5, 6, 7],
            // A zero-length id, followed by the start of a longer header.
            vec![0xc0, 0, 0, 0, 1, 0, id, 1, 2],
            vec![0x00, id],
        ]
    });
    let cut = (1..=6).map(|len| vec![0xc1; len]);
    ids.chain(cut).chain([vec![0x41]])
}

#[test]
fn every_datagram_reaches_its_owner_however_short_it_is() {
    for workers in [2, 3, 4] {
        let mut ports = bind_server(loopback(), workers).expect("bind");
        let to = ports[0].local_addr();
        let sender = std::net::UdpSocket::bind(loopback()).expect("sender");
        for datagram in datagrams() {
            sender.send_to(&datagram, to).expect("send");
        }
        let mut seen = 0;
        for (worker, port) in ports.iter_mut().enumerate() {
            let steering = steering::Steering::new(worker, workers);
            loop {
                let outcome = port.receive(|received| {
                    for datagram in received.batch.chunks(received.stride) {
                        assert_eq!(steering.other_owner(datagram), None, "{datagram:?}");
                        seen += 1;
                    }
                });
                if outcome.is_err() {
                    break;
                }
            }
        }
        assert_eq!(seen, datagrams().count());
    }
}

fn to(destination: SocketAddr, size: usize, segment_size: Option<usize>) -> Transmit {
    Transmit {
        destination,
        ecn: None,
        size,
        segment_size,
        src_ip: None,
    }
}

/// Makes the kernel refuse the port's segmented sends only: they need checksums (udp(7),
/// socket(7)).
fn refuse_segmentation(port: &UdpPort, refuse: bool) {
    let value = libc::c_int::from(refuse);
    // SAFETY: the descriptor is open for the call, and the option's value is a `c_int` of the given
    // length.
    let result = unsafe {
        libc::setsockopt(
            port.socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NO_CHECK,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// Sends 2,500 bytes in datagrams of 1,000. Returns the counted calls and datagrams.
fn send_three(
    port: &mut UdpPort,
    now: Instant,
    destination: SocketAddr,
) -> Result<(u64, u64), SendError> {
    let counters = WorkerCounters::default();
    let contents: Vec<u8> = (0..2_500).map(|at: u32| (at / 1_000) as u8).collect();
    port.send(
        now,
        &to(destination, 2_500, Some(1_000)),
        &contents,
        &counters,
    )?;
    let mut sum = crate::Counters::default();
    counters.add_to(&mut sum);
    Ok((sum.udp_writes, sum.udp_datagrams_out))
}

#[test]
fn a_refused_answer_and_a_refused_datagram_leave_segmentation_on() {
    let mut port = bind_client(None).expect("a socket");
    let nowhere = port.address_for(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0));
    let now = Instant::now();
    let before = port.max_segments(now);
    assert!(before > 1, "the kernel has UDP_SEGMENT");
    port.answer(&to(nowhere, 90, None), &[0; 90]);
    let alone = port.send(
        now,
        &to(nowhere, 90, None),
        &[0; 90],
        &WorkerCounters::default(),
    );
    let batch = send_three(&mut port, now, nowhere);
    for refused in [alone, batch.map(|_| ())] {
        let refused = refused.expect_err("port 0 is no destination");
        assert_eq!(refused.error.raw_os_error(), Some(libc::EINVAL));
        assert_eq!(refused.sent, 0);
    }
    assert_eq!(port.max_segments(now), before);
}

#[test]
fn a_batch_that_the_kernel_refuses_to_segment_arrives_in_datagrams_and_segmentation_is_retried() {
    let receiver = std::net::UdpSocket::bind(loopback()).expect("a socket");
    receiver
        .set_read_timeout(Some(std::time::Duration::from_secs(10)))
        .expect("a deadline");
    let arrived = || {
        let mut datagram = [0; 2_000];
        [0, 1, 2].map(|number| {
            let len = receiver.recv(&mut datagram).expect("a datagram");
            assert!(datagram[..len].iter().all(|byte| *byte == number));
            len
        })
    };
    let mut port = bind_client(None).expect("a socket");
    let peer = port.address_for(receiver.local_addr().expect("bound"));
    let mut now = Instant::now();
    let segments = port.max_segments(now);
    assert_eq!(send_three(&mut port, now, peer).expect("sent"), (1, 3));
    assert_eq!(arrived(), [1_000, 1_000, 500]);

    refuse_segmentation(&port, true);
    for _ in 0..3 {
        // Refused once, then not tried until a second has passed.
        for _ in 0..2 {
            assert_eq!(send_three(&mut port, now, peer).expect("sent"), (3, 3));
            assert_eq!(arrived(), [1_000, 1_000, 500]);
            assert_eq!(port.max_segments(now), 1);
        }
        now += std::time::Duration::from_secs(1);
        assert_eq!(port.max_segments(now), segments);
    }

    refuse_segmentation(&port, false);
    assert_eq!(send_three(&mut port, now, peer).expect("sent"), (1, 3));
    assert_eq!(arrived(), [1_000, 1_000, 500]);
    assert_eq!(port.max_segments(now), segments);
}
