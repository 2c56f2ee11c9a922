//! How JSON values fill the typed fields of a message, by the rules of Go's `encoding/json`:
//! null changes nothing (a list it empties), the last duplicate wins, and a value of another type
//! makes the whole message bad, even if a later duplicate would be right.
//!
//! Fields of our own are unknown to Go peers, which ignore them whatever they hold. They are read
//! as such a peer reads them: a value of another type or out of range counts as absent.

use std::str::FromStr;

use super::json::{Reader, Value};
use super::json_text::unescape;
use super::{BadMessage, DecodeError, MAX_BODY};

/// Reads the first JSON object of `body`, looking at [`MAX_BODY`] bytes at most.
pub(super) fn read_object<'a, F>(body: &'a [u8], member: F) -> Result<(), DecodeError>
where
    F: FnMut(&'a [u8], Value<'a>) -> Result<(), DecodeError>,
{
    let readable = &body[..body.len().min(MAX_BODY)];
    match Reader::new(readable).object(member) {
        Err(DecodeError::Incomplete) if readable.len() == MAX_BODY => {
            Err(BadMessage::TooLong.into())
        }
        result => result,
    }
}

/// An integer type of a field.
pub(super) trait Integer: FromStr {
    /// Its range in words.
    const EXPECTED: &'static str;
}

impl Integer for u8 {
    const EXPECTED: &'static str = "an integer from 0 to 255";
}

impl Integer for u64 {
    const EXPECTED: &'static str = "an integer from 0 to 2^64-1";
}

impl Integer for i64 {
    const EXPECTED: &'static str = "an integer of 64 bits";
}

/// A number that fits the field's integer type, written without fraction and exponent.
pub(super) fn set_integer<T: Integer>(
    field: &'static str,
    target: &mut T,
    value: Value<'_>,
) -> Result<(), DecodeError> {
    let number = match value {
        Value::Null => return Ok(()),
        Value::Number(digits) => digits.parse().ok(),
        _ => None,
    };
    *target = number.ok_or_else(|| wrong(field, T::EXPECTED))?;
    Ok(())
}

pub(super) fn set_string(
    field: &'static str,
    target: &mut String,
    value: Value<'_>,
) -> Result<(), DecodeError> {
    match value {
        Value::Null => Ok(()),
        Value::String(raw) => {
            *target = unescape(raw);
            Ok(())
        }
        _ => Err(wrong(field, "a string")),
    }
}

/// Sets a text of our own, unless the value is of another type.
pub(super) fn set_if_string(target: &mut Option<String>, value: Value<'_>) {
    if let Value::String(raw) = value {
        *target = Some(unescape(raw));
    }
}

fn wrong(field: &'static str, expected: &'static str) -> DecodeError {
    BadMessage::WrongType { field, expected }.into()
}

/// A list of strings that duplicates of its key overwrite element by element: a null element
/// keeps what stood at its place before, as in a Go slice whose storage is used again.
#[derive(Debug, Default)]
pub(super) struct StringList {
    storage: Vec<String>,
    length: usize,
}

impl StringList {
    pub(super) fn set(&mut self, field: &'static str, value: Value<'_>) -> Result<(), DecodeError> {
        let array = match value {
            Value::Null => {
                *self = Self::default();
                return Ok(());
            }
            Value::Array(array) => array,
            _ => return Err(wrong(field, "an array of strings")),
        };
        let mut length = 0;
        Reader::new(array).array(|element| {
            if length == self.storage.len() {
                self.storage.push(String::new());
            }
            match element {
                Value::Null => {}
                Value::String(raw) => self.storage[length] = unescape(raw),
                _ => return Err(wrong(field, "an array of strings")),
            }
            length += 1;
            Ok(())
        })?;
        if length == 0 {
            self.storage.clear();
        }
        self.length = length;
        Ok(())
    }

    pub(super) fn into_vec(mut self) -> Vec<String> {
        self.storage.truncate(self.length);
        self.storage
    }
}
