//! A constant-time comparison of tokens.
//!
//! Hashing both sides first hides their lengths and the position of the first difference. A token
//! is bytes, not text: Go clients may send any header value.

use qdt_program::Token;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Returns whether `offered` equals `token`; an empty offer never does.
pub(super) fn matches(token: &Token, offered: &[u8]) -> bool {
    let ours = Sha256::digest(token.as_bytes());
    let theirs = Sha256::digest(offered);
    bool::from(ours.ct_eq(&theirs)) && !offered.is_empty()
}
