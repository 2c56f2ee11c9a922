//! The Huffman code of HTTP header strings (RFC 7541 section 5.2 and appendix B).
//!
//! The table comes from a crate. That crate judges the padding by its value alone, so that
//! `0000` or `0011` pass where only ones are allowed; here a string counts as valid only if it is
//! exactly what encoding its text again gives, which the code's definition makes unique.

use httlib_huffman::{DecoderSpeed, decode, encode};

/// The text of the Huffman string `coded`; `None` for a code that does not exist, the EOS symbol,
/// padding other than ones, or padding of eight bits and more.
pub(super) fn decode_huffman(coded: &[u8]) -> Option<Vec<u8>> {
    // The shortest code has five bits: a string grows by 8/5 at most.
    let mut text = Vec::with_capacity(coded.len() * 8 / 5);
    decode(coded, &mut text, DecoderSpeed::FourBits).ok()?;
    (encode_huffman(&text) == coded).then_some(text)
}

/// The Huffman string of `text`.
pub(super) fn encode_huffman(text: &[u8]) -> Vec<u8> {
    let mut coded = Vec::with_capacity(text.len());
    encode(text, &mut coded).expect("every byte has a code");
    coded
}
