//! QUIC variable-length integers (RFC 9000 section 16): 1, 2, 4 or 8 bytes, at most 2^62 - 1.
//!
//! The first two bits give the length. Any of the lengths that hold a value is valid when it is
//! read; writing uses the shortest.

/// The largest value a variable-length integer carries, 2^62 - 1.
pub const MAX_VARINT: u64 = (1 << 62) - 1;

/// A variable-length integer in its shortest encoding, kept on the stack.
///
/// Dereferences to the 1 to 8 bytes that go on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodedVarint {
    bytes: [u8; 8],
    len: u8,
}

impl EncodedVarint {
    /// Encodes `value`; `None` above [`MAX_VARINT`], which no variable-length integer carries.
    pub const fn new(value: u64) -> Option<Self> {
        let len: u8 = match value {
            0..=0x3f => 1,
            0x40..=0x3fff => 2,
            0x4000..=0x3fff_ffff => 4,
            0x4000_0000..=MAX_VARINT => 8,
            _ => return None,
        };
        // The length's logarithm stands in the two highest bits of the first byte.
        let shifted = value << (64 - 8 * len as u32);
        let marked = shifted | ((len.trailing_zeros() as u64) << 62);
        Some(Self {
            bytes: marked.to_be_bytes(),
            len,
        })
    }

    /// The bytes on the wire.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl std::ops::Deref for EncodedVarint {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

/// Reads the variable-length integer at the start of `bytes`: its value and its length in bytes.
///
/// `None` when `bytes` ends before the integer does.
pub fn decode_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let len = 1usize << (first >> 6);
    let rest = bytes.get(1..len)?;
    let value = rest.iter().fold(u64::from(first & 0x3f), |value, byte| {
        value << 8 | u64::from(*byte)
    });
    Some((value, len))
}

/// Appends `length`, the size of something in memory, as a variable-length integer.
pub(super) fn append_length(out: &mut Vec<u8>, length: usize) {
    let length = EncodedVarint::new(length as u64).expect("no buffer in memory has 2^62 bytes");
    out.extend_from_slice(&length);
}
