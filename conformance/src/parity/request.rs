//! Requests to the byte: heads in any form that HTTP/3 has, bodies in any pieces, and what no
//! client should send.
//!
//! The encoder is not the server's own, except for the form that uses the static table: a fault
//! that both ends share would not show.

use qdt_proto::http3::FieldSectionEncoder;

const DATA: u64 = 0x0;
const HEADERS: u64 = 0x1;

/// How the fields of a head are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Every name and value as a literal.
    Literal,
    /// Every name and value in Huffman code.
    Huffman,
    /// By the static table where it has a row.
    Table,
}

/// The fields of a request.
#[derive(Debug, Clone)]
pub(super) struct Head {
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    form: Form,
}

impl Head {
    /// `POST /connect` with this token.
    pub(super) fn connect(token: &[u8]) -> Self {
        let fields: [(&str, &[u8]); 5] = [
            (":method", b"POST"),
            (":scheme", b"https"),
            (":authority", b"qdt.test"),
            (":path", b"/connect"),
            ("x-qdt-token", token),
        ];
        let fields = fields.map(|(name, value)| (name.into(), value.into()));
        Self {
            fields: fields.into(),
            form: Form::Literal,
        }
    }

    /// With another value of a field, which stays where it is.
    pub(super) fn set(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        for (known, old) in &mut self.fields {
            if known == name.as_bytes() {
                *old = value.as_ref().into();
            }
        }
        self
    }

    /// With one more field at the end.
    pub(super) fn add(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name.into(), value.as_ref().into()));
        self
    }

    /// Without a field.
    pub(super) fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(known, _)| known != name.as_bytes());
        self
    }

    /// Written in another form.
    pub(super) fn form(mut self, form: Form) -> Self {
        self.form = form;
        self
    }

    fn value(&self, name: &str) -> Option<&[u8]> {
        let found = self
            .fields
            .iter()
            .find(|(known, _)| known == name.as_bytes());
        found.map(|(_, value)| value.as_slice())
    }

    /// The payload of the HEADERS frame.
    fn section(&self) -> Vec<u8> {
        if self.form == Form::Table {
            let mut section = FieldSectionEncoder::new();
            for (name, value) in &self.fields {
                section.field(name, value);
            }
            return section.finish();
        }
        let mut out = vec![0, 0];
        for (name, value) in &self.fields {
            self.string(&mut out, 0b0010_0000, 3, name);
            self.string(&mut out, 0, 7, value);
        }
        out
    }

    /// A string of QPACK: its length behind `flags` in a prefix of that many bits, the Huffman bit
    /// above it.
    fn string(&self, out: &mut Vec<u8>, flags: u8, prefix: u32, text: &[u8]) {
        let mut coded = text.to_vec();
        let mut flags = flags;
        if self.form == Form::Huffman {
            coded.clear();
            httlib_huffman::encode(text, &mut coded).expect("every byte has a code");
            flags |= 1 << prefix;
        }
        let most = (1 << prefix) - 1;
        if coded.len() < most {
            out.push(flags | coded.len() as u8);
        } else {
            out.push(flags | most as u8);
            let mut rest = coded.len() - most;
            while rest >= 0x80 {
                out.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            out.push(rest as u8);
        }
        out.extend_from_slice(&coded);
    }
}

/// What is done on the stream.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Bytes are written.
    Write(Vec<u8>),
    /// What was written leaves in packets of its own before more is written.
    Flush,
    /// The stream is finished.
    Finish,
    /// The stream is given up with H3_REQUEST_CANCELLED.
    GiveUp,
}

/// A request as it goes out.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// What is done, in order.
    pub(super) steps: Vec<Step>,
    /// One line for the report, without any secret.
    pub(super) shown: String,
    is_head: bool,
}

impl Request {
    /// A request that begins with this head.
    pub(super) fn new(head: &Head) -> Self {
        let word = |name| head.value(name).unwrap_or_default().escape_ascii();
        let mut shown = format!("{} {}", word(":method"), word(":path"));
        shown.truncate(60);
        Self {
            steps: Vec::new(),
            shown,
            is_head: head.value(":method") == Some(b"HEAD"),
        }
        .frame(HEADERS, &head.section())
    }

    /// Bytes without any head.
    pub(super) fn raw(shown: &str, bytes: &[u8]) -> Self {
        Self {
            steps: vec![Step::Write(bytes.into())],
            shown: shown.into(),
            is_head: false,
        }
    }

    /// Whether the answer has no body.
    pub(super) fn is_head(&self) -> bool {
        self.is_head
    }

    /// Some of the body in one DATA frame.
    pub(super) fn data(mut self, body: &[u8]) -> Self {
        let text = readable(body);
        match text.char_indices().nth(90) {
            None => self.shown += &format!(" {text}"),
            Some((cut, _)) => {
                self.shown += &format!(" {}... ({} bytes)", &text[..cut], body.len());
            }
        }
        self.frame(DATA, body)
    }

    /// A frame of any type.
    pub(super) fn frame(mut self, kind: u64, payload: &[u8]) -> Self {
        let mut bytes = varint(kind);
        bytes.extend(varint(payload.len() as u64));
        bytes.extend_from_slice(payload);
        self.steps.push(Step::Write(bytes));
        self
    }

    /// Bytes that are no frame.
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.steps.push(Step::Write(bytes.into()));
        self
    }

    /// A section of fields behind the body.
    pub(super) fn trailers(self, name: &str, value: &str) -> Self {
        let mut head = Head::connect(b"");
        head.fields = vec![(name.into(), value.into())];
        self.frame(HEADERS, &head.section())
    }

    /// One more step.
    pub(super) fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

/// Bytes as text in one line; what is not text or not printable shows as a replacement or an
/// escape.
fn readable(bytes: &[u8]) -> String {
    let mut line = String::new();
    for letter in String::from_utf8_lossy(bytes).chars() {
        if letter.is_control() {
            line.extend(letter.escape_default());
        } else {
            line.push(letter);
        }
    }
    line
}

/// A QUIC variable-length integer in its shortest form.
pub(super) fn varint(value: u64) -> Vec<u8> {
    match value {
        0..0x40 => vec![value as u8],
        0x40..0x4000 => (value as u16 | 0x4000).to_be_bytes().into(),
        0x4000..0x4000_0000 => (value as u32 | 0x8000_0000).to_be_bytes().into(),
        _ => (value | 0xc000_0000_0000_0000).to_be_bytes().into(),
    }
}

/// Reads a variable-length integer from the front of `bytes`; gives it and its length.
pub(super) fn read_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let length = 1 << (bytes.first()? >> 6);
    let mut value = u64::from(bytes[0] & 0x3f);
    for byte in bytes.get(1..length)? {
        value = value << 8 | u64::from(*byte);
    }
    Some((value, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use qdt_proto::http3::decode_field_section;

    #[test]
    fn every_form_of_a_head_encodes_the_same_fields() {
        let head = Head::connect(&[0xe9; 200]).add("content-length", "12");
        for form in [Form::Literal, Form::Huffman, Form::Table] {
            let section = head.clone().form(form).section();
            let fields = decode_field_section(&section, 8192).expect("a section");
            assert_eq!(fields, head.fields, "{form:?}");
        }
    }

    #[test]
    fn a_body_is_shown_in_one_line_and_cut_where_it_is_long() {
        let head = Head::connect(b"a secret token");
        let shown = Request::new(&head).data(b"{\"a\":\n\xff}").shown;
        assert_eq!(shown, "POST /connect {\"a\":\\n\u{fffd}}");
        let shown = Request::new(&head).data(&[b'x'; 5000]).shown;
        assert!(
            shown.ends_with("x... (5000 bytes)") && shown.len() < 130,
            "{shown}"
        );
    }

    #[test]
    fn integers_are_read_as_they_were_written() {
        for value in [0, 63, 64, 16383, 16384, 1 << 29, 1 << 30, (1 << 62) - 1] {
            let written = varint(value);
            assert_eq!(read_varint(&written), Some((value, written.len())));
        }
    }
}
