//! The clear header of a datagram, written and read.

use std::hint::black_box;

use qdt_proto::datagram::{Header, MessageType, OVERHEAD, SessionId};

use super::Case;

const BATCH: usize = 100;

const fn header(counter: u64) -> Header {
    Header {
        kind: MessageType::Data as u8,
        flags: 0,
        session: SessionId(0x0123_4567_89ab_cdef),
        counter,
    }
}

/// [`Header::encode`].
pub(super) struct Encode;

impl Case for Encode {
    fn turn(&mut self) {
        for counter in 0..BATCH as u64 {
            black_box(black_box(header(counter)).encode());
        }
    }

    fn packets(&self) -> usize {
        BATCH
    }
}

/// [`Header::parse`].
pub(super) struct Decode {
    datagram: [u8; OVERHEAD],
}

impl Decode {
    pub(super) fn new() -> Self {
        let mut datagram = [0; OVERHEAD];
        let bytes = header(77).encode();
        datagram[..bytes.len()].copy_from_slice(&bytes);
        Self { datagram }
    }
}

impl Case for Decode {
    fn turn(&mut self) {
        for _ in 0..BATCH {
            let read = Header::parse(black_box(&self.datagram));
            black_box(read.expect("the header is valid"));
        }
    }

    fn packets(&self) -> usize {
        BATCH
    }
}
