//! Joining packets into super-packets.

use qdt_proto::packet::{Coalescer, Offload};

use crate::build::{Build, pattern, run_of};
use crate::reference::{resegment, sound_ipv4};
use crate::segments::split;

pub(crate) const ALL: Offload = Offload {
    vnet_header: true,
    tcp4: true,
    tcp6: true,
    udp: true,
};

/// Puts `packets` in, one after the other, and returns what is written to the device.
pub(crate) fn coalesce(offload: Offload, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut writes = Vec::new();
    let mut sink = |bytes: &[u8]| writes.push(bytes.to_vec());
    let mut coalescer = Coalescer::new(offload);
    for packet in packets {
        coalescer.slot(packet.len()).copy_from_slice(packet);
        coalescer.commit(packet.len(), &mut sink);
    }
    coalescer.flush(&mut sink);
    writes
}

fn writes_of(packets: &[Vec<u8>]) -> usize {
    let writes = coalesce(ALL, packets);
    let seen: Vec<Vec<u8>> = writes.iter().flat_map(|write| resegment(write)).collect();
    assert_eq!(
        seen, packets,
        "what the kernel makes of the writes is what was put in"
    );
    writes.len()
}

fn all_kinds() -> [Build; 4] {
    [
        Build::tcp(),
        Build {
            v6: true,
            ..Build::tcp()
        },
        Build::udp(),
        Build {
            v6: true,
            ..Build::udp()
        },
    ]
}

#[test]
fn consecutive_packets_of_one_flow_become_one_write() {
    for build in all_kinds() {
        let packets = run_of(&build, 20, 1300, 400);
        let writes = coalesce(ALL, &packets);
        assert_eq!(writes.len(), 1);
        assert_eq!(
            writes[0],
            Build {
                payload: pattern(19 * 1300 + 400, 0),
                ..build
            }
            .super_packet(1300)
        );
        assert_eq!(split(&writes[0]).unwrap(), packets);
    }
}

#[test]
fn a_super_packet_never_exceeds_what_an_ip_header_can_say() {
    for build in all_kinds() {
        let packets = run_of(&build, 120, 1300, 1300);
        let writes = coalesce(ALL, &packets);
        assert!(writes.iter().all(|write| write.len() <= 10 + 65_535));
        assert_eq!(writes.len(), 3);
        assert_eq!(
            writes
                .iter()
                .flat_map(|write| resegment(write))
                .collect::<Vec<_>>(),
            packets
        );
    }
}

#[test]
fn at_most_64_datagrams_are_joined() {
    assert_eq!(writes_of(&run_of(&Build::udp(), 65, 100, 100)), 2);
}

#[test]
fn a_pushed_or_short_segment_ends_the_super_packet_at_once() {
    let mut writes = 0;
    let mut coalescer = Coalescer::new(ALL);
    let first = run_of(&Build::tcp(), 2, 1300, 200);
    for packet in &first {
        coalescer.slot(packet.len()).copy_from_slice(packet);
        coalescer.commit(packet.len(), &mut |_| writes += 1);
    }
    assert_eq!(writes, 1, "nothing waits behind a short segment");
    let mut packets = run_of(&Build::tcp(), 6, 1300, 1300);
    packets[2] = Build {
        flags: 0x18,
        id: 9,
        seq: Build::tcp().seq.wrapping_add(2600),
        payload: pattern(1300, 2600),
        ..Build::tcp()
    }
    .packet();
    assert_eq!(writes_of(&packets), 2);
}

#[test]
fn a_longer_segment_starts_anew() {
    let mut packets = run_of(&Build::tcp(), 2, 500, 500);
    packets.extend(run_of(
        &Build {
            seq: Build::tcp().seq.wrapping_add(1000),
            id: 9,
            ..Build::tcp()
        },
        2,
        600,
        600,
    ));
    assert_eq!(writes_of(&packets), 2);
}

/// Two packets of which the second continues the first in everything that `change` leaves alone.
fn pair(first: &Build, change: impl Fn(&mut Build)) -> Vec<Vec<u8>> {
    let mut second = Build {
        seq: first.seq.wrapping_add(first.payload.len() as u32),
        id: first.id.wrapping_add(1),
        ..first.clone()
    };
    change(&mut second);
    vec![first.packet(), second.packet()]
}

type Change = fn(&mut Build);

#[test]
fn packets_that_a_receiver_could_tell_apart_are_never_joined() {
    let changes: [(&str, Change); 17] = [
        ("a gap", |b| b.seq = b.seq.wrapping_add(1)),
        ("a retransmission", |b| b.seq = b.seq.wrapping_sub(1300)),
        ("acknowledgement", |b| b.ack += 1),
        ("window", |b| b.window += 1),
        ("time stamp", |b| b.options[7] += 1),
        ("no options", |b| b.options.clear()),
        ("address", |b| b.host += 1),
        ("port", |b| b.port += 1),
        ("hop limit", |b| b.ttl -= 1),
        ("congestion experienced", |b| b.tos |= 3),
        ("flow label", |b| b.flow_label += 1),
        ("FIN", |b| b.flags |= 1),
        ("RST", |b| b.flags |= 4),
        ("urgent", |b| b.flags |= 0x20),
        ("CWR", |b| b.flags |= 0x80),
        ("accurate ECN", |b| b.reserved = 1),
        ("urgent pointer", |b| b.urgent = 1),
    ];
    for (what, change) in changes {
        for v6 in [false, true] {
            if what == "flow label" && !v6 {
                continue; // IPv4 has none
            }
            let first = Build { v6, ..Build::tcp() };
            assert_eq!(writes_of(&pair(&first, change)), 2, "{what}, IPv6: {v6}");
        }
    }
    for (what, change) in [
        ("identification", (|b| b.id += 5) as Change),
        ("DF", |b| b.fragment = 0),
    ] {
        assert_eq!(writes_of(&pair(&Build::tcp(), change)), 2, "{what}");
        assert_eq!(writes_of(&pair(&Build::udp(), change)), 2, "{what} (UDP)");
    }
    let counted = Build {
        fragment: 0,
        ..Build::udp()
    };
    assert_eq!(
        writes_of(&pair(&counted, |b| b.id -= 1)),
        2,
        "the same identification without DF"
    );
    assert_eq!(
        writes_of(&pair(&Build::tcp(), |_| ())),
        1,
        "no change at all"
    );
}

#[test]
fn atomic_datagrams_with_a_constant_identification_join() {
    let first = Build {
        id: 0,
        ..Build::udp()
    };
    let packets = [pair(&first, |b| b.id = 0), pair(&first, |b| b.id = 0)].concat();
    let writes = coalesce(ALL, &packets);
    assert_eq!(writes.len(), 1);
    for (seen, packet) in resegment(&writes[0]).iter().zip(&packets) {
        assert!(sound_ipv4(seen));
        assert_eq!(
            (&seen[..4], &seen[6..10], &seen[12..]),
            (&packet[..4], &packet[6..10], &packet[12..])
        );
    }
}

#[test]
fn fragments_options_and_lies_about_the_length_pass_alone() {
    for fragment in [0x2000, 0x0010, 0x8000] {
        let packets = run_of(
            &Build {
                fragment,
                ..Build::udp()
            },
            3,
            1000,
            1000,
        );
        assert_eq!(writes_of(&packets), 3, "fragment word {fragment:#06x}");
    }
    let mut packets = run_of(&Build::tcp(), 3, 1000, 1000);
    for packet in &mut packets {
        packet.push(0);
    }
    assert_eq!(writes_of(&packets), 3);
    let mut packets = run_of(&Build::udp(), 3, 1000, 1000);
    for packet in &mut packets {
        packet[25] -= 1;
    }
    assert_eq!(writes_of(&packets), 3);
}

#[test]
fn a_wrong_checksum_is_never_laundered() {
    for build in all_kinds() {
        for broken in 0..4 {
            for at in [build.upper_at() + 3, build.header_len() + 17, 8] {
                let mut packets = run_of(&build, 4, 1300, 1300);
                packets[broken][at] ^= 0x10;
                if build.v6 && at == 8 {
                    packets[broken][39] ^= 1; // an address: the pseudo header covers it
                }
                writes_of(&packets); // byte for byte what was put in, or it panics
            }
        }
    }
}

#[test]
fn a_checksum_of_all_ones_is_not_rewritten_as_zero() {
    // Both forms verify; a receiver can still tell them apart.
    let first = Build::tcp();
    let mut packets = run_of(&first, 2, 1000, 1000);
    let sum = u16::from_be_bytes([packets[0][10], packets[0][11]]);
    packets = run_of(
        &Build {
            id: first.id.wrapping_add(sum),
            ..first.clone()
        },
        2,
        1000,
        1000,
    );
    assert_eq!(packets[0][10..12], [0; 2]);
    packets[0][10..12].fill(0xff);
    assert_eq!(writes_of(&packets), 2, "in the IPv4 header");

    for v6 in [false, true] {
        let first = Build { v6, ..Build::tcp() };
        let mut packets = run_of(&first, 2, 1000, 1000);
        let at = first.upper_at() + 16;
        let sum = u16::from_be_bytes([packets[0][at], packets[0][at + 1]]);
        let window = (u32::from(first.window) + u32::from(sum)) % 0xffff;
        packets = run_of(
            &Build {
                window: window as u16,
                ..first
            },
            2,
            1000,
            1000,
        );
        assert_eq!(packets[0][at..at + 2], [0; 2]);
        packets[0][at..at + 2].fill(0xff);
        assert_eq!(writes_of(&packets), 2, "in the TCP header");
    }
}

#[test]
fn flags_beyond_ack_and_push_pass_alone_even_if_both_packets_carry_them() {
    let flags = [0x00, 0x12, 0x14, 0x11, 0x30, 0x50, 0x90];
    let flags = flags.map(|flags| Build {
        flags,
        ..Build::tcp()
    });
    for first in flags.into_iter().chain([Build {
        reserved: 1,
        ..Build::tcp()
    }]) {
        assert_eq!(writes_of(&pair(&first, |_| ())), 2, "{first:?}");
    }
}

#[test]
fn segments_shorter_than_their_headers_pass_alone() {
    for build in all_kinds() {
        let size = build.header_len();
        assert_eq!(writes_of(&run_of(&build, 5, size - 1, size - 1)), 5);
        assert_eq!(writes_of(&run_of(&build, 5, size, size)), 1);
    }
}

#[test]
fn datagrams_without_a_checksum_stay_without_one() {
    let mut packets = run_of(&Build::udp(), 3, 1000, 1000);
    for packet in &mut packets {
        packet[26..28].fill(0);
    }
    assert_eq!(writes_of(&packets), 3);
}

#[test]
fn interleaved_flows_keep_their_order() {
    let one = run_of(&Build::tcp(), 4, 1000, 1000);
    let two = run_of(
        &Build {
            port: 5,
            ..Build::tcp()
        },
        4,
        1000,
        1000,
    );
    let packets: Vec<Vec<u8>> = one.into_iter().zip(two).flat_map(|(a, b)| [a, b]).collect();
    assert_eq!(writes_of(&packets), 8);
}

#[test]
fn an_abandoned_slot_leaves_no_trace() {
    let packets = run_of(&Build::tcp(), 5, 1300, 1300);
    let mut writes: Vec<Vec<u8>> = Vec::new();
    let mut sink = |bytes: &[u8]| writes.push(bytes.to_vec());
    let mut coalescer = Coalescer::new(ALL);
    for (index, packet) in packets.iter().enumerate() {
        coalescer.slot(packet.len()).copy_from_slice(packet);
        coalescer.commit(packet.len(), &mut sink);
        coalescer.slot([1, 30, 52, 1400, 65_535][index]).fill(0xdd);
        coalescer.abandon();
        coalescer.slot(700).fill(0xcc); // never given back: the next call does it
    }
    coalescer.flush(&mut sink);
    assert_eq!(writes.len(), 1);
    assert_eq!(resegment(&writes[0]), packets);
}

#[test]
fn a_packet_may_be_shorter_than_its_slot() {
    let packets = run_of(&Build::tcp(), 5, 1300, 1300);
    let mut writes: Vec<Vec<u8>> = Vec::new();
    let mut sink = |bytes: &[u8]| writes.push(bytes.to_vec());
    let mut coalescer = Coalescer::new(ALL);
    for packet in &packets {
        coalescer.slot(2000)[..packet.len()].copy_from_slice(packet);
        coalescer.commit(packet.len(), &mut sink);
    }
    coalescer.commit(100, &mut sink);
    coalescer.flush(&mut sink);
    assert_eq!(
        writes
            .iter()
            .flat_map(|write| resegment(write))
            .collect::<Vec<_>>(),
        packets
    );
}

#[test]
fn only_what_the_device_takes_is_joined() {
    for (index, build) in all_kinds().into_iter().enumerate() {
        let packets = run_of(&build, 3, 1000, 1000);
        let without = match index {
            0 => Offload { tcp4: false, ..ALL },
            1 => Offload { tcp6: false, ..ALL },
            _ => Offload { udp: false, ..ALL },
        };
        assert_eq!(coalesce(without, &packets).len(), 3);
        let plain = Offload {
            vnet_header: false,
            ..ALL
        };
        assert_eq!(coalesce(plain, &packets), packets, "no header, no joining");
    }
}

#[test]
fn the_longest_packets_pass_wherever_a_run_ends() {
    let mut packets = run_of(&Build::tcp(), 49, 1300, 1300);
    for _ in 0..3 {
        packets.push(
            Build {
                payload: pattern(65_483, 3),
                ..Build::tcp()
            }
            .packet(),
        );
        packets.extend(run_of(
            &Build {
                port: 9,
                ..Build::tcp()
            },
            20,
            1300,
            1300,
        ));
    }
    writes_of(&packets);
}
