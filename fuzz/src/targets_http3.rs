//! Targets for `qdt_proto::http3`: what a peer writes on its streams and in its datagrams.
//!
//! Stream targets read their input twice, whole and in chunks, and compare what comes out; the
//! first byte of their input gives the size of the chunks.

use qdt_proto::http3::{
    CriticalStreams, FieldSectionEncoder, Http3Error, MAX_HEADER_SECTION, MAX_HEADERS_PAYLOAD,
    MAX_RESPONSE_BODY, RequestEvent, RequestStream, ResponseEvent, ResponseStream, Settings, Side,
    UniStream, datagram_prefix, decode_field_section, split_datagram,
};

/// A datagram's stream id stands in front of its payload, and comes out as it went in.
pub fn http3_datagram(data: &[u8]) {
    if let Ok((stream_id, payload)) = split_datagram(data) {
        assert!(payload.len() < data.len() && data.ends_with(payload));
        let again = [datagram_prefix(stream_id).as_slice(), payload].concat();
        assert_eq!(split_datagram(&again), Ok((stream_id, payload)));
    }
}

/// A field section keeps its limit, and what was decoded survives our own encoding.
pub fn http3_field_section(data: &[u8]) {
    let Ok(fields) = decode_field_section(data, MAX_HEADER_SECTION) else {
        return;
    };
    let size: usize = fields
        .iter()
        .map(|(name, value)| name.len() + value.len() + 32)
        .sum();
    assert!(size <= MAX_HEADER_SECTION);
    let mut encoder = FieldSectionEncoder::new();
    for (index, (name, value)) in fields.iter().enumerate() {
        if index % 4 == 3 {
            encoder.secret(name, value);
        } else {
            encoder.field(name, value);
        }
    }
    assert_eq!(
        decode_field_section(&encoder.finish(), MAX_HEADER_SECTION),
        Ok(fields)
    );
}

/// A request is the same in any chunks, and no more is held than promised.
pub fn http3_request(data: &[u8]) {
    let (chunk, fin, stream) = plan(data);
    let whole = read_request(stream, stream.len(), fin);
    assert_eq!(read_request(stream, chunk, fin), whole);
}

/// A response is the same in any chunks, and no more is held and given out than promised.
pub fn http3_response(data: &[u8]) {
    let (chunk, fin, stream) = plan(data);
    let whole = read_response(stream, stream.len(), fin);
    assert_eq!(read_response(stream, chunk, fin), whole);
}

/// A unidirectional stream is the same in any chunks, to a client and to a server.
pub fn http3_uni_stream(data: &[u8]) {
    let (chunk, fin, stream) = plan(data);
    for side in [Side::Client, Side::Server] {
        let whole = read_uni_stream(side, stream, stream.len(), fin);
        assert_eq!(read_uni_stream(side, stream, chunk, fin), whole);
    }
}

/// Chunk size, whether the stream ends, and the stream's bytes.
fn plan(data: &[u8]) -> (usize, bool, &[u8]) {
    match data.split_first() {
        None => (1, true, data),
        Some((first, stream)) => (usize::from(first >> 1) + 1, first & 1 == 1, stream),
    }
}

/// `stream` in pieces of `chunk` bytes, at least one, the last one marked as the end if `fin`.
fn pieces(stream: &[u8], chunk: usize, fin: bool) -> impl Iterator<Item = (&[u8], bool)> {
    let count = stream.len().div_ceil(chunk.max(1)).max(1);
    let rest = stream
        .chunks(chunk.max(1))
        .chain(stream.is_empty().then_some(stream));
    rest.enumerate()
        .map(move |(index, piece)| (piece, fin && index + 1 == count))
}

/// What a stream gave: a line per head or end, the body, the error.
#[derive(Debug, Default, PartialEq, Eq)]
struct Transcript {
    lines: Vec<String>,
    body: Vec<u8>,
    error: Option<Http3Error>,
}

fn read_request(bytes: &[u8], chunk: usize, fin: bool) -> Transcript {
    let mut stream = RequestStream::new();
    let mut transcript = Transcript::default();
    for (piece, last) in pieces(bytes, chunk, fin) {
        for event in stream.handle(piece, last) {
            match event {
                Ok(RequestEvent::Head(head)) => {
                    assert!(transcript.lines.is_empty(), "one head, first");
                    assert!(!head.method.is_empty());
                    transcript
                        .lines
                        .push(format!("{head:?} {:?}", head.headers));
                }
                Ok(RequestEvent::Body(body)) => {
                    assert_eq!(
                        transcript.lines.len(),
                        1,
                        "the body is between head and end"
                    );
                    transcript.body.extend_from_slice(body);
                }
                Ok(RequestEvent::End) => transcript.lines.push("end".to_owned()),
                Err(error) => transcript.error = Some(error),
            }
        }
        assert!(stream.buffered() <= MAX_HEADERS_PAYLOAD);
        if transcript.error.is_some() {
            break;
        }
    }
    transcript
}

fn read_response(bytes: &[u8], chunk: usize, fin: bool) -> Transcript {
    let mut stream = ResponseStream::new();
    let mut transcript = Transcript::default();
    for (piece, last) in pieces(bytes, chunk, fin) {
        for event in stream.handle(piece, last) {
            match event {
                Ok(ResponseEvent::Head(head)) => {
                    assert!(transcript.lines.is_empty(), "one head, first");
                    assert!((200..1000).contains(&head.status));
                    transcript.lines.push(format!("{head:?}"));
                }
                Ok(ResponseEvent::Body(body)) => {
                    assert_eq!(
                        transcript.lines.len(),
                        1,
                        "the body is between head and end"
                    );
                    transcript.body.extend_from_slice(body);
                }
                Ok(ResponseEvent::End) => transcript.lines.push("end".to_owned()),
                Err(error) => transcript.error = Some(error),
            }
        }
        assert!(stream.buffered() <= MAX_HEADERS_PAYLOAD);
        assert!(transcript.body.len() <= MAX_RESPONSE_BODY);
        if transcript.error.is_some() {
            // A body that is too long is refused at the chunk that makes it so: how much of it
            // was given out before depends on the chunks.
            transcript.body.clear();
            break;
        }
    }
    transcript
}

fn read_uni_stream(
    side: Side,
    bytes: &[u8],
    chunk: usize,
    fin: bool,
) -> Result<(Option<Settings>, bool, Option<u64>), Http3Error> {
    let mut stream = UniStream::new(side);
    let mut critical = CriticalStreams::default();
    let mut settings = None;
    for (piece, last) in pieces(bytes, chunk, fin) {
        if let Some(found) = stream.handle(&mut critical, piece, last)? {
            assert_eq!(settings.replace(found), None, "settings come once");
        }
    }
    Ok((settings, stream.is_ignored(), stream.goaway()))
}
