//! The packet path allocates nothing, neither sealing and opening nor splitting and joining:
//! counted by an allocator that counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Instant;

use qdt_proto::datagram::{Aead, MessageType, OVERHEAD, Opened, Opener, Sealer, SessionId};
use qdt_proto::handshake::DirectionKeys;
use qdt_proto::packet::{Coalescer, Offload, Segments, Sum};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which counts per thread how often it is asked for memory.
struct Counting;

// SAFETY: every call goes on to the system's allocator with its arguments unchanged; counting
// uses a constant-initialised thread-local, which allocates nothing itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise about `layout` is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise about `pointer` and `layout` is handed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "an Instant can be had from the clock only"
)]
fn sealing_fragmenting_and_opening_a_packet_allocates_nothing() {
    let keys = DirectionKeys::new([5; 32], [6; 4]);
    let now = Instant::now();
    for aead in [Aead::ChaCha20Poly1305, Aead::Aes256Gcm] {
        let mut sealer = Sealer::new(aead, &keys, SessionId(1));
        let mut opener = Opener::new(aead, &keys, SessionId(1), 65_535, true);
        let packet = [7; 1312];
        let mut datagram = [0; 1312 + OVERHEAD];
        let mut out = [0; 1312];
        let before = ALLOCATIONS.get();
        for _ in 0..3000 {
            let length = sealer
                .seal(MessageType::Data, &packet, &mut datagram)
                .unwrap();
            let opened = opener.open(now, &datagram[..length], &mut out);
            assert_eq!(opened, Ok(Opened::Packet(1312)));
            let mut fragments = sealer.fragments(&packet, 1200).unwrap();
            while fragments.next_into(&mut datagram).unwrap().is_some() {}
        }
        assert_eq!(ALLOCATIONS.get(), before, "{aead:?}");
    }
}

#[test]
fn splitting_a_super_packet_and_joining_it_again_allocates_nothing() {
    let read = udp_super_packet();
    let mut buffer = read.clone();
    let mut coalescer = Coalescer::new(Offload {
        vnet_header: true,
        udp: true,
        ..Offload::default()
    });
    let (mut packets, mut writes, mut same) = (0, 0, true);
    let before = ALLOCATIONS.get();
    for _ in 0..100 {
        buffer.copy_from_slice(&read);
        let mut segments = Segments::new(&mut buffer, true).unwrap();
        let mut sink = |write: &[u8]| {
            writes += 1;
            same &= write == read;
        };
        while let Some(packet) = segments.next() {
            packets += 1;
            coalescer.slot(2 * packet.len()).fill(1);
            coalescer.abandon();
            coalescer.slot(packet.len()).copy_from_slice(packet);
            coalescer.commit(packet.len(), &mut sink);
        }
        coalescer.flush(&mut sink);
    }
    assert_eq!(ALLOCATIONS.get(), before);
    assert_eq!((packets, writes, same), (4000, 100, true));
}

/// What a TUN device gives for 40 datagrams of 1200 bytes.
fn udp_super_packet() -> Vec<u8> {
    let payload = 40 * 1200;
    let mut packet = vec![
        0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 8, 0, 2, 10, 8, 0, 1,
    ];
    packet[2..4].copy_from_slice(&(28 + payload as u16).to_be_bytes());
    let checksum = Sum::of(&packet).checksum();
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend([0, 53, 0, 54]);
    packet.extend((8 + payload as u16).to_be_bytes());
    packet.extend(
        Sum::pseudo_header(&packet, 17, 8 + payload)
            .fold()
            .to_be_bytes(),
    );
    packet.extend((0..payload).map(|at| at as u8));
    let mut read = vec![1, 5];
    for field in [28u16, 1200, 20, 6] {
        read.extend(field.to_ne_bytes());
    }
    read.extend(packet);
    read
}
