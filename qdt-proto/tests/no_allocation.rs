//! Sealing and opening whole packets allocates nothing: counted by an allocator that counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Instant;

use qdt_proto::datagram::{Aead, MessageType, OVERHEAD, Opened, Opener, Sealer, SessionId};
use qdt_proto::handshake::DirectionKeys;

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
