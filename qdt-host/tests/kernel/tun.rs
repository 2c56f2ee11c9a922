//! Opening TUN devices: new ones, persistent ones as they are found, and what cannot be opened.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    time::{Duration, Instant},
};

use qdt_host::{HostTuns, Offload, Tun, TunError, TunOpener, TunQueue, TunSpec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    namespace::{Namespace, hide_directory},
    router::receive,
};

fn spec(queues: u16, offload: bool) -> TunSpec {
    TunSpec {
        name: "qdt0".to_owned(),
        queues,
        offload,
    }
}

/// Whether `queue` has a packet within this many milliseconds.
fn has_packet(queue: &TunQueue, milliseconds: i64) -> bool {
    let deadline = Timespec {
        tv_sec: milliseconds / 1000,
        tv_nsec: milliseconds % 1000 * 1_000_000,
    };
    let mut waiting = [PollFd::new(queue, PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| poll(&mut waiting, Some(&deadline)));
    ready.expect("a queue can be polled") == 1
}

/// Waits until `queue` has a packet, at most five seconds, and reads it.
fn read(queue: &TunQueue) -> Vec<u8> {
    let mut buffer = vec![0; 66_000];
    assert!(has_packet(queue, 5000), "no packet came");
    let len = queue.read(&mut buffer).expect("a packet is there");
    buffer.truncate(len);
    buffer
}

/// Opens a device that was closed a moment ago. A command that another test starts right then holds
/// a copy of every descriptor until its own program runs: at most five seconds are waited for that.
fn reopen(spec: &TunSpec) -> Tun {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match HostTuns.open(spec) {
            Err(TunError::Busy { .. }) if Instant::now() < deadline => std::thread::yield_now(),
            other => return other.expect("the device can be opened again"),
        }
    }
}

fn up(namespace: &Namespace) {
    namespace.sh("sysctl -qw net.ipv6.conf.qdt0.disable_ipv6=1
                  ip addr add 10.8.0.1/24 dev qdt0; ip link set qdt0 up");
}

#[test]
fn a_new_device_has_offload_and_disappears_with_its_last_queue() {
    let namespace = Namespace::new();
    namespace.run(|| {
        let tun = HostTuns.open(&spec(1, true)).unwrap();
        assert_eq!((tun.name.as_str(), tun.queues.len()), ("qdt0", 1));
        let offload = tun.queues[0].offload();
        assert!(
            offload.vnet_header && offload.tcp4 && offload.tcp6,
            "{offload:?}"
        );
        let shown = namespace.sh("ip -d -o link show qdt0");
        assert!(shown.contains("vnet_hdr on"), "{shown}");
    });
    let deadline = Instant::now() + Duration::from_secs(5);
    while namespace.sh("ip link").contains("qdt0") {
        assert!(Instant::now() < deadline, "the device is still there");
    }
}

#[test]
fn every_worker_gets_a_queue_of_one_device() {
    let namespace = Namespace::new();
    namespace.run(|| {
        let tun = HostTuns.open(&spec(3, true)).unwrap();
        assert_eq!(tun.queues.len(), 3);
        let shown = namespace.sh("ip -d link show qdt0");
        assert!(shown.contains("multi_queue numqueues 3"), "{shown}");
    });
}

#[test]
fn packets_pass_in_both_directions_and_nothing_blocks() {
    let namespace = Namespace::new();
    namespace.run(|| {
        let tun = HostTuns.open(&spec(1, false)).unwrap();
        let queue = &tun.queues[0];
        assert_eq!(queue.offload(), Offload::NONE);
        up(&namespace);
        let nothing = queue.read(&mut [0; 2048]).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);

        let socket = std::net::UdpSocket::bind("10.8.0.1:0").unwrap();
        socket.send_to(b"down", "10.8.0.2:9").unwrap();
        let mut packet = read(queue);
        assert_eq!(packet[packet.len() - 4..], *b"down");

        // The answer: addresses and ports exchanged, so that both checksums stay right.
        let (source, destination) = ([10, 8, 0, 2], [10, 8, 0, 1]);
        packet[12..16].copy_from_slice(&source);
        packet[16..20].copy_from_slice(&destination);
        let ports = packet[20..24].to_vec();
        packet[20..22].copy_from_slice(&ports[2..]);
        packet[22..24].copy_from_slice(&ports[..2]);
        assert_eq!(queue.write(&packet).unwrap(), packet.len());
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let (data, peer) = receive(&socket);
        assert_eq!(
            (data.as_slice(), peer.to_string().as_str()),
            (&b"down"[..], "10.8.0.2:9")
        );
    });
}

#[test]
fn with_offload_every_packet_has_a_header_of_ten_bytes() {
    let namespace = Namespace::new();
    namespace.run(|| {
        let tun = HostTuns.open(&spec(1, true)).unwrap();
        up(&namespace);
        let socket = std::net::UdpSocket::bind("10.8.0.1:0").unwrap();
        socket.send_to(b"down", "10.8.0.2:9").unwrap();
        let packet = read(&tun.queues[0]);
        assert_eq!(packet.len(), 10 + 20 + 8 + 4);
        assert_eq!(
            packet[10], 0x45,
            "the IPv4 header starts behind the virtio_net_hdr"
        );
    });
}

#[test]
fn a_persistent_device_of_one_queue_is_used_and_left_unchanged() {
    let namespace = Namespace::new();
    namespace.sh("ip tuntap add dev qdt0 mode tun");
    let before = namespace.sh("ip -d link show qdt0");
    namespace.run(|| {
        let tun = HostTuns.open(&spec(4, true)).unwrap();
        assert_eq!(tun.queues.len(), 1);
        assert_eq!(tun.queues[0].offload(), Offload::NONE);
    });
    let deadline = Instant::now() + Duration::from_secs(5);
    while namespace.sh("ip -d link show qdt0") != before {
        assert!(Instant::now() < deadline, "{before}");
    }
}

#[test]
fn a_persistent_device_with_queues_and_header_gives_both() {
    let namespace = Namespace::new();
    namespace.sh("ip tuntap add dev qdt0 mode tun multi_queue vnet_hdr");
    namespace.run(|| {
        let tun = HostTuns.open(&spec(2, true)).unwrap();
        assert!(tun.queues[1].offload().tcp4);
        assert_eq!(tun.queues.len(), 2);
    });
}

#[test]
fn super_packets_reach_only_a_queue_with_headers() {
    let namespace = Namespace::new();
    namespace.sh("ip tuntap add dev qdt0 mode tun vnet_hdr");
    up(&namespace);
    let payload = 3000;
    namespace.run(|| {
        let tun = reopen(&spec(1, true));
        let packet = send_train(&tun);
        let whole = 10 + 28 + payload;
        let first = 10 + 28 + 1000;
        let expected = if tun.queues[0].offload().udp {
            whole
        } else {
            first
        };
        assert_eq!(packet.len(), expected);
        drop(tun);
        // The device remembers what that use allowed; the next one reads plain packets.
        let tun = reopen(&spec(1, false));
        assert_eq!(tun.queues[0].offload(), Offload::NONE);
        assert_eq!(send_train(&tun).len(), 28 + 1000);
    });
}

/// Sends three UDP datagrams of 1000 bytes in one call (UDP GSO) and returns the first read.
///
/// A persistent device has its carrier a moment after it is opened, and until then the kernel drops
/// what is sent: it is sent again until something comes.
fn send_train(tun: &Tun) -> Vec<u8> {
    let socket = std::net::UdpSocket::bind("10.8.0.1:0").expect("the address is there");
    let size: libc::c_int = 1000;
    // SAFETY: UDP_SEGMENT reads one `int` of the length given; `size` outlives the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const size).cast(),
            size_of_val(&size) as libc::socklen_t,
        )
    };
    assert_eq!(set, 0, "UDP_SEGMENT");
    let deadline = Instant::now() + Duration::from_secs(5);
    while !has_packet(&tun.queues[0], 20) {
        assert!(Instant::now() < deadline, "no packet came");
        socket
            .send_to(&[7; 3000], "10.8.0.2:9")
            .expect("it can be sent");
    }
    read(&tun.queues[0])
}

#[test]
fn a_device_that_another_process_holds_is_busy() {
    let namespace = Namespace::new();
    for queues in [1, 2] {
        namespace.run(|| {
            let held = HostTuns.open(&spec(queues, true)).unwrap();
            let error = HostTuns.open(&spec(queues, true)).unwrap_err();
            assert!(matches!(error, TunError::Busy { .. }), "{error}");
            assert_eq!(
                error.to_string(),
                "TUN device `qdt0` is in use by another process: stop that process or set another \
                 `tun_name`"
            );
            assert!(held.queues[0].as_fd().try_clone_to_owned().is_ok());
        });
    }
}

#[test]
fn an_interface_of_another_kind_is_not_touched() {
    let namespace = Namespace::new();
    namespace.sh("ip link add qdt0 type veth peer name far0; ip tuntap add dev tap0 mode tap");
    namespace.run(|| {
        for name in ["qdt0", "tap0", "lo"] {
            let error = HostTuns
                .open(&TunSpec {
                    name: name.to_owned(),
                    ..spec(1, true)
                })
                .unwrap_err();
            assert!(
                matches!(error, TunError::OtherKind { .. }),
                "{name}: {error}"
            );
        }
    });
}

#[test]
fn bad_names_and_numbers_of_queues_are_refused_before_anything_happens() {
    for name in ["", "a/b", "a name", "a-name-that-is-too-long"] {
        let error = HostTuns
            .open(&TunSpec {
                name: name.to_owned(),
                ..spec(1, true)
            })
            .unwrap_err();
        assert!(matches!(error, TunError::Name(_)), "{name:?}: {error}");
    }
    for queues in [0, 257] {
        let error = HostTuns.open(&spec(queues, true)).unwrap_err();
        assert!(matches!(error, TunError::Queues { .. }), "{error}");
    }
}

#[test]
fn without_the_privilege_the_error_names_it() {
    let namespace = Namespace::new();
    let error = namespace.run(|| {
        // Only this thread loses it.
        let mut sets = rustix::thread::capabilities(None).unwrap();
        sets.effective
            .remove(rustix::thread::CapabilitySet::NET_ADMIN);
        rustix::thread::set_capabilities(None, sets).unwrap();
        HostTuns.open(&spec(1, true)).unwrap_err()
    });
    assert!(matches!(error, TunError::Permission { .. }), "{error}");
    assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
}

#[test]
fn a_missing_driver_is_an_error_with_the_remedy() {
    let namespace = Namespace::new();
    let error = namespace.run(|| {
        hide_directory("/dev/net");
        HostTuns.open(&spec(1, true)).unwrap_err()
    });
    assert_eq!(
        error.to_string(),
        "/dev/net/tun is missing: load the driver (`modprobe tun`), or hand the device to the \
         container (`--device /dev/net/tun`)"
    );
}
