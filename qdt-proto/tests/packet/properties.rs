//! Properties that hold for any packets and any bytes.

use proptest::collection::vec;
use proptest::prelude::*;
use qdt_proto::packet::{
    Coalescer, InnerPacket, Offload, Segments, Sum, VnetHeader, clamp_mss, echo_reply_sequence,
    icmp_packet_too_big, ipv4_addresses, update_checksum,
};

use crate::build::{Build, pattern, slow_checksum};
use crate::coalescer::{ALL, coalesce};
use crate::reference::{checksum_of, resegment, sound_ipv4};
use crate::segments::split;

/// What makes a packet of a stream different from the plain continuation of its flow.
#[derive(Clone, Copy, Debug)]
enum Twist {
    None,
    Gap,
    Acknowledge,
    Window,
    Hops,
    Congestion,
    Push,
    Fin,
    Short,
    Long,
    Empty,
    Identification,
    Fragment,
    Options,
    BrokenPayload,
    BrokenIpChecksum,
    LyingLength,
    Junk,
}

fn twist() -> impl Strategy<Value = Twist> {
    use Twist::*;
    let some = [
        Gap,
        Acknowledge,
        Window,
        Hops,
        Congestion,
        Push,
        Fin,
        Short,
        Long,
        Empty,
        Identification,
        Fragment,
        Options,
        BrokenPayload,
        BrokenIpChecksum,
        LyingLength,
        Junk,
    ];
    prop_oneof![6 => Just(None), 1 => proptest::sample::select(some.to_vec())]
}

fn flow() -> impl Strategy<Value = Build> {
    (
        any::<bool>(),
        any::<bool>(),
        1u16..3,
        any::<u32>(),
        any::<u16>(),
        any::<bool>(),
        60usize..700,
    )
        .prop_map(|(v6, udp, port, seq, id, df, size)| Build {
            v6,
            port,
            seq,
            id,
            fragment: if df { 0x4000 } else { 0 },
            payload: pattern(size, port.into()),
            ..if udp { Build::udp() } else { Build::tcp() }
        })
}

/// Packets of a few flows, mostly in long runs, with twists; some of the flows keep their
/// identification.
fn stream() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let step = (
        prop_oneof![8 => Just(0usize), 1 => 0usize..3],
        twist(),
        any::<u16>(),
    );
    (vec((flow(), any::<bool>()), 3), vec(step, 1..60)).prop_map(|(mut flows, steps)| {
        let mut current = 0;
        let mut packets = Vec::new();
        for (switch, twist, noise) in steps {
            current = (current + switch) % flows.len();
            let (flow, constant) = &mut flows[current];
            let (build, packet) = twisted(flow, twist, noise);
            flow.seq = build.seq.wrapping_add(build.payload.len() as u32);
            if !*constant {
                flow.id = build.id.wrapping_add(1);
            }
            packets.push(packet);
        }
        packets
    })
}

fn twisted(flow: &Build, twist: Twist, noise: u16) -> (Build, Vec<u8>) {
    let mut build = flow.clone();
    match twist {
        Twist::Gap => build.seq = build.seq.wrapping_add(noise.into()),
        Twist::Acknowledge => build.ack += 1,
        Twist::Window => build.window ^= noise,
        Twist::Hops => build.ttl ^= 1,
        Twist::Congestion => build.tos |= 3,
        Twist::Push => build.flags |= 8,
        Twist::Fin => build.flags |= 1,
        Twist::Short => build
            .payload
            .truncate(1 + usize::from(noise) % build.payload.len()),
        Twist::Long => build.payload.push(1),
        Twist::Empty => build.payload.clear(),
        Twist::Identification => build.id = noise,
        Twist::Fragment => build.fragment |= noise & 0x3fff,
        Twist::Options if !build.udp => build.options = vec![1; 4 * (usize::from(noise) % 11)],
        _ => {}
    }
    let mut packet = build.packet();
    match twist {
        Twist::BrokenPayload => *packet.last_mut().unwrap() ^= 0x20,
        Twist::BrokenIpChecksum if !build.v6 => packet[10] ^= 0x20,
        Twist::LyingLength => packet[if build.v6 { 5 } else { 3 }] ^= 1,
        Twist::Junk => packet = pattern(usize::from(noise) % 300, 0),
        _ => {}
    }
    (build, packet)
}

/// Sound atomic IPv4 packets without their identification, everything else as it is.
fn without_atomic_identification(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut packets = packets.to_vec();
    for packet in &mut packets {
        if sound_ipv4(packet) && packet[6] & 0x40 != 0 {
            packet[4..6].fill(0);
            packet[10..12].fill(0);
        }
    }
    packets
}

fn super_packet() -> impl Strategy<Value = (Build, u16)> {
    let fields = (
        any::<bool>(),
        any::<bool>(),
        any::<u8>(),
        any::<u16>(),
        any::<u32>(),
        any::<u8>(),
    );
    (fields, 0usize..=10, vec(any::<u8>(), 0..6000), 1u16..2000).prop_map(
        |((v6, udp, tos, id, seq, flags), options, payload, size)| {
            let build = if udp { Build::udp() } else { Build::tcp() };
            let options = if udp { vec![] } else { vec![1; options * 4] };
            (
                Build {
                    v6,
                    tos,
                    id,
                    seq,
                    flags,
                    options,
                    payload,
                    ..build
                },
                size,
            )
        },
    )
}

/// What a worker does with one read from the device.
fn walk(read: &[u8], vnet_header: bool) {
    let mut buffer = read.to_vec();
    let mut out = [0; 1500];
    if let Ok(mut segments) = Segments::new(&mut buffer, vnet_header) {
        while let Some(packet) = segments.next() {
            let _ = clamp_mss(packet, 1200);
            look(packet, &mut out);
        }
    }
}

fn look(packet: &[u8], out: &mut [u8]) {
    let _ = ipv4_addresses(packet);
    let _ = echo_reply_sequence(packet, 1);
    let _ = icmp_packet_too_big(packet, 1200, "10.8.0.1".parse().unwrap(), out);
    let _ = icmp_packet_too_big(packet, 1200, "fd00::1".parse().unwrap(), out);
    if let Ok(view) = InnerPacket::parse(packet) {
        let _ = (view.source(), view.destination(), view.protocol());
    }
}

proptest! {
    #[test]
    fn any_stream_comes_out_as_it_went_in(packets in stream()) {
        let writes = coalesce(ALL, &packets);
        prop_assert!(writes.len() <= packets.len());
        let seen: Vec<Vec<u8>> = writes.iter().flat_map(|write| resegment(write)).collect();
        let expected = without_atomic_identification(&packets);
        prop_assert_eq!(without_atomic_identification(&seen), expected);
        let ours: Vec<Vec<u8>> = writes.iter().flat_map(|write| split(write).unwrap()).collect();
        prop_assert_eq!(ours, seen);
    }

    #[test]
    fn a_stream_with_failed_and_oversized_slots_between_comes_out_as_it_went_in(
        packets in stream(),
        between in vec((0usize..2000, any::<bool>()), 60),
    ) {
        let mut writes: Vec<Vec<u8>> = Vec::new();
        let mut sink = |bytes: &[u8]| writes.push(bytes.to_vec());
        let mut coalescer = Coalescer::new(ALL);
        for (packet, (length, flush)) in packets.iter().zip(&between) {
            coalescer.slot(*length).fill(0x5a);
            if *flush {
                coalescer.abandon();
            }
            coalescer.slot(packet.len() + length)[..packet.len()].copy_from_slice(packet);
            coalescer.commit(packet.len(), &mut sink);
            if *length < 100 {
                coalescer.flush(&mut sink);
            }
        }
        coalescer.flush(&mut sink);
        let seen: Vec<Vec<u8>> = writes.iter().flat_map(|write| resegment(write)).collect();
        let expected = without_atomic_identification(&packets);
        prop_assert_eq!(without_atomic_identification(&seen), expected);
    }

    #[test]
    fn splitting_agrees_with_the_reference((build, size) in super_packet()) {
        let read = build.super_packet(size);
        prop_assert_eq!(split(&read).unwrap(), resegment(&read));
    }

    #[test]
    fn sums_agree_with_the_slow_way(bytes in vec(any::<u8>(), 0..3000), cut in 0usize..1500) {
        prop_assert_eq!(Sum::of(&bytes).checksum(), slow_checksum(&[&bytes]));
        let (head, tail) = bytes.split_at((cut * 2).min(bytes.len() / 2 * 2));
        prop_assert_eq!(Sum::of(head).plus(Sum::of(tail)).checksum(), slow_checksum(&[&bytes]));
    }

    #[test]
    fn an_updated_checksum_verifies(
        mut bytes in vec(any::<u8>(), 4..200),
        at in 0usize..100,
        new: u16,
    ) {
        let at = 2 + at * 2 % (bytes.len() / 2 * 2 - 2);
        bytes[..2].fill(0);
        let checksum = slow_checksum(&[&bytes]);
        let old = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
        bytes[..2].copy_from_slice(&update_checksum(checksum, old, new).to_be_bytes());
        prop_assert_eq!(slow_checksum(&[&bytes]), 0);
    }

    #[test]
    fn a_clamped_packet_verifies_if_it_did_before(
        v6: bool,
        options in vec(prop_oneof![Just(1u8), Just(2), Just(4), any::<u8>()], 0..=40),
        limit in 0usize..2000,
    ) {
        let options = options[..options.len() / 4 * 4].to_vec();
        let build = Build { v6, flags: 2, options, ..Build::tcp() };
        let mut packet = build.packet();
        clamp_mss(&mut packet, limit);
        prop_assert_eq!(checksum_of(&packet, build.upper_at(), 6), 0);
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200), flags: u8, vnet_header: bool) {
        walk(&bytes, vnet_header);
        for kind in [0, 1, 4, 5] {
            let mut read = bytes.clone();
            if let [first, second, ..] = &mut read[..] {
                (*first, *second) = (flags, kind);
            }
            walk(&read, true);
        }
    }

    #[test]
    fn mutated_super_packets_never_panic(
        (build, size) in super_packet(),
        changes in vec((0usize..120, any::<u8>()), 1..4),
        cut in 0usize..7000,
    ) {
        let mut read = build.super_packet(size);
        for (at, value) in changes {
            if at < read.len() {
                read[at] = value;
            }
        }
        read.truncate(cut.max(1));
        walk(&read, true);
        walk(&read, false);
    }

    #[test]
    fn random_packets_pass_the_coalescer_unchanged(
        packets in vec(vec(any::<u8>(), 0..100), 0..10),
        version in prop_oneof![Just(0x45u8), Just(0x60), any::<u8>()],
        offload in any::<[bool; 4]>(),
    ) {
        let [vnet_header, tcp4, tcp6, udp] = offload;
        let packets: Vec<Vec<u8>> = packets
            .into_iter()
            .map(|mut packet| {
                if let Some(first) = packet.first_mut() {
                    *first = version;
                }
                packet
            })
            .collect();
        let writes = coalesce(Offload { vnet_header, tcp4, tcp6, udp }, &packets);
        let header = if vnet_header { VnetHeader::LEN } else { 0 };
        let seen: Vec<Vec<u8>> = writes.iter().map(|write| write[header..].to_vec()).collect();
        prop_assert_eq!(seen, packets);
    }
}
