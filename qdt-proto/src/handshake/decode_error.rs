//! Why a body was refused: either more bytes could still make it right, or nothing can.

use thiserror::Error;

/// The result of decoding bytes that are no acceptable message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// What has come so far is the beginning of a JSON value: wait for more, or for the deadline.
    #[error("the JSON value is not complete yet")]
    Incomplete,
    /// No further byte can make an acceptable message out of this.
    #[error("bad message: {0}")]
    Bad(#[from] BadMessage),
}

/// What exactly makes a message unacceptable.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadMessage {
    /// A byte that JSON (RFC 8259) does not allow where it stands.
    #[error("not JSON: unexpected byte at offset {at}")]
    Syntax {
        /// Offset of the byte from the start of the body.
        at: usize,
    },
    /// The value is not complete within [`MAX_BODY`](super::MAX_BODY) bytes.
    #[error("no complete JSON value within {} bytes", super::MAX_BODY)]
    TooLong,
    /// It begins like an array, a string, a number or a literal, so it cannot become a message.
    #[error("the message is not a JSON object")]
    NotAnObject,
    /// A field that the protocol defines holds a value of another type or out of range.
    #[error("field `{field}` must be {expected}")]
    WrongType {
        /// The field's name as the protocol spells it.
        field: &'static str,
        /// What it must hold.
        expected: &'static str,
    },
    /// The message is well-formed but of another protocol version (0: none was given).
    #[error("version {0} is not supported, only version {only}", only = super::VERSION)]
    Version(u8),
}
