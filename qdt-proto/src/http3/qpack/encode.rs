//! Field sections from us (RFC 9204 section 4.5): static table where it has the field, otherwise
//! literals, in Huffman code where that is shorter.
//!
//! A secret is written as a never-indexed literal without Huffman code: an intermediary may not put
//! it into a table, where it could be guessed at by the length of other messages, and its own
//! length on the wire tells nothing about which characters it has.

use super::huffman::encode_huffman;
use super::integer::append_integer;
use super::static_table::STATIC_TABLE;

/// Builds one field section, field by field.
pub struct FieldSectionEncoder {
    out: Vec<u8>,
}

impl Default for FieldSectionEncoder {
    fn default() -> Self {
        Self::new()
    }
}

impl FieldSectionEncoder {
    /// An empty section: Required Insert Count 0, Base 0.
    pub fn new() -> Self {
        Self { out: vec![0, 0] }
    }

    /// Appends a field. `name` is lower case and `value` free of control characters; what is
    /// given is what is written.
    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        if let Some(index) = STATIC_TABLE.iter().position(|row| *row == (name, value)) {
            append_integer(&mut self.out, 0b1100_0000, 6, index);
        } else if let Some(index) = STATIC_TABLE.iter().position(|row| row.0 == name) {
            append_integer(&mut self.out, 0b0101_0000, 4, index);
            self.string(0, 7, value);
        } else {
            self.string(0b0010_0000, 3, name);
            self.string(0, 7, value);
        }
    }

    /// Appends a field whose value is a secret: never indexed (N = 1, section 4.5.6), not in
    /// Huffman code.
    pub fn secret(&mut self, name: &[u8], value: &[u8]) {
        self.string(0b0011_0000, 3, name);
        append_integer(&mut self.out, 0, 7, value.len());
        self.out.extend_from_slice(value);
    }

    /// The section, as it stands in a HEADERS frame.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    /// A string literal: the bit above the length's prefix marks Huffman (section 4.1.2).
    fn string(&mut self, flags: u8, prefix: u32, text: &[u8]) {
        let huffman = encode_huffman(text);
        if huffman.len() < text.len() {
            append_integer(&mut self.out, flags | 1 << prefix, prefix, huffman.len());
            self.out.extend_from_slice(&huffman);
        } else {
            append_integer(&mut self.out, flags, prefix, text.len());
            self.out.extend_from_slice(text);
        }
    }
}

impl std::fmt::Debug for FieldSectionEncoder {
    /// The length only: the bytes may hold a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FieldSectionEncoder")
            .field("len", &self.out.len())
            .finish()
    }
}
