//! A comparison of tokens that tells nothing by its duration.
//!
//! Both sides are hashed first, so that neither the length nor the position of the first difference
//! shows in the time. A token is bytes, not text: Go clients may send anything a header can carry.

use qdt_program::Token;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Whether `offered` is `token`. An empty offer never is.
pub(super) fn matches(token: &Token, offered: &[u8]) -> bool {
    let ours = Sha256::digest(token.as_bytes());
    let theirs = Sha256::digest(offered);
    bool::from(ours.ct_eq(&theirs)) && !offered.is_empty()
}
