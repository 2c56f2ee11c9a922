//! A JSON reader (RFC 8259) over bytes that a peer sent, with the tolerance of Go's
//! `encoding/json`: invalid UTF-8 inside strings is fine, bytes after the first value are not
//! looked at, and nesting may be as deep as the input is long.
//!
//! General JSON crates refuse one or the other of these, so the grammar is walked here.
//!
//! Invariants: no recursion, every loop advances through the input, and running out of input is
//! told apart from input that no continuation could repair.

use super::{BadMessage, DecodeError};

/// One value of the input, found and checked for syntax but not interpreted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Null,
    Bool,
    /// The digits as they stand, for instance `-1.5e3`.
    Number(&'a str),
    /// What stands between the quotes, escapes still in place.
    String(&'a [u8]),
    /// From the opening to the closing bracket.
    Array(&'a [u8]),
    Object,
}

/// A position in the input.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0 }
    }

    /// Walks the members of the object that the input begins with, in order and duplicates
    /// included; `member` gets the key's raw bytes and the value.
    pub(super) fn object<F>(&mut self, mut member: F) -> Result<(), DecodeError>
    where
        F: FnMut(&'a [u8], Value<'a>) -> Result<(), DecodeError>,
    {
        match self.peek()? {
            b'{' => self.at += 1,
            b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                return Err(BadMessage::NotAnObject.into());
            }
            _ => return Err(self.unexpected()),
        }
        if self.take_if(b'}')? {
            return Ok(());
        }
        loop {
            let key = self.key()?;
            let value = self.value()?;
            member(key, value)?;
            if self.end_of(b'}')? {
                return Ok(());
            }
        }
    }

    /// Walks the elements of the array that the input begins with.
    pub(super) fn array<F>(&mut self, mut element: F) -> Result<(), DecodeError>
    where
        F: FnMut(Value<'a>) -> Result<(), DecodeError>,
    {
        if !self.take_if(b'[')? {
            return Err(self.unexpected());
        }
        if self.take_if(b']')? {
            return Ok(());
        }
        loop {
            let value = self.value()?;
            element(value)?;
            if self.end_of(b']')? {
                return Ok(());
            }
        }
    }

    /// Reads one value of any kind, containers to their end.
    fn value(&mut self) -> Result<Value<'a>, DecodeError> {
        let first = self.peek()?;
        if first != b'{' && first != b'[' {
            return self.scalar();
        }
        let start = self.at;
        self.skip_container()?;
        Ok(if first == b'[' {
            Value::Array(&self.input[start..self.at])
        } else {
            Value::Object
        })
    }

    /// Skips a whole array or object. The brackets that are still open stand in a list of our own
    /// instead of on the call stack.
    fn skip_container(&mut self) -> Result<(), DecodeError> {
        let mut open = Vec::new();
        loop {
            // A value begins here.
            match self.peek()? {
                b'{' => {
                    self.at += 1;
                    if !self.take_if(b'}')? {
                        open.push(b'}');
                        self.key()?;
                        continue;
                    }
                }
                b'[' => {
                    self.at += 1;
                    if !self.take_if(b']')? {
                        open.push(b']');
                        continue;
                    }
                }
                _ => {
                    self.scalar()?;
                }
            }
            // A value has ended here, and perhaps containers around it with it.
            loop {
                let Some(&closing) = open.last() else {
                    return Ok(());
                };
                if self.end_of(closing)? {
                    open.pop();
                } else {
                    if closing == b'}' {
                        self.key()?;
                    }
                    break;
                }
            }
        }
    }

    /// A key and its colon; the bytes between the key's quotes.
    fn key(&mut self) -> Result<&'a [u8], DecodeError> {
        if self.peek()? != b'"' {
            return Err(self.unexpected());
        }
        let key = self.string()?;
        if !self.take_if(b':')? {
            return Err(self.unexpected());
        }
        Ok(key)
    }

    fn scalar(&mut self) -> Result<Value<'a>, DecodeError> {
        match self.peek()? {
            b'"' => Ok(Value::String(self.string()?)),
            b'-' | b'0'..=b'9' => self.number(),
            b'n' => self.literal(b"null").map(|()| Value::Null),
            b't' => self.literal(b"true").map(|()| Value::Bool),
            b'f' => self.literal(b"false").map(|()| Value::Bool),
            _ => Err(self.unexpected()),
        }
    }

    fn literal(&mut self, text: &[u8]) -> Result<(), DecodeError> {
        for expected in text {
            if self.byte()? != *expected {
                return Err(self.unexpected());
            }
            self.at += 1;
        }
        Ok(())
    }

    /// RFC 8259 section 6: `[ minus ] int [ frac ] [ exp ]`. A number at the end of the input may
    /// go on in bytes still to come, so it counts as incomplete.
    fn number(&mut self) -> Result<Value<'a>, DecodeError> {
        let start = self.at;
        if self.byte()? == b'-' {
            self.at += 1;
        }
        if self.byte()? == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.byte()? == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte()?, b'e' | b'E') {
            self.at += 1;
            if matches!(self.byte()?, b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = str::from_utf8(&self.input[start..self.at]).expect("a number is ASCII");
        Ok(Value::Number(text))
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), DecodeError> {
        if !self.byte()?.is_ascii_digit() {
            return Err(self.unexpected());
        }
        while self.byte()?.is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    /// A string from quote to quote; the bytes between them. Control characters must be escaped
    /// (RFC 8259 section 7); bytes of 0x80 and above pass unchecked.
    fn string(&mut self) -> Result<&'a [u8], DecodeError> {
        self.at += 1;
        let start = self.at;
        loop {
            match self.byte()? {
                b'"' => {
                    self.at += 1;
                    return Ok(&self.input[start..self.at - 1]);
                }
                b'\\' => {
                    self.at += 1;
                    self.escape()?;
                }
                0..=0x1f => return Err(self.unexpected()),
                _ => self.at += 1,
            }
        }
    }

    /// What may follow a backslash.
    fn escape(&mut self) -> Result<(), DecodeError> {
        match self.byte()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
            b'u' => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.byte()?.is_ascii_hexdigit() {
                        return Err(self.unexpected());
                    }
                    self.at += 1;
                }
            }
            _ => return Err(self.unexpected()),
        }
        Ok(())
    }

    /// After a value: `closing` ends the container (true), a comma announces more (false).
    fn end_of(&mut self, closing: u8) -> Result<bool, DecodeError> {
        let next = self.peek()?;
        if next != closing && next != b',' {
            return Err(self.unexpected());
        }
        self.at += 1;
        Ok(next == closing)
    }

    fn take_if(&mut self, wanted: u8) -> Result<bool, DecodeError> {
        let found = self.peek()? == wanted;
        if found {
            self.at += 1;
        }
        Ok(found)
    }

    /// The next byte that is not white space (RFC 8259 section 2).
    fn peek(&mut self) -> Result<u8, DecodeError> {
        while matches!(self.byte()?, b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        self.byte()
    }

    fn byte(&self) -> Result<u8, DecodeError> {
        self.input
            .get(self.at)
            .copied()
            .ok_or(DecodeError::Incomplete)
    }

    fn unexpected(&self) -> DecodeError {
        BadMessage::Syntax { at: self.at }.into()
    }
}
