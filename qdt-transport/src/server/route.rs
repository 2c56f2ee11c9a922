//! Which endpoint a request's path names: decided before admission, which judges the endpoint's
//! requests only.

use qdt_proto::http3::RequestHead;

use super::admission::Refusal;

/// The answer to a path that names no endpoint. It is nobody's handshake, so nothing counts it.
pub(super) const NOT_FOUND: Refusal = Refusal {
    status: 404,
    body: "404 page not found",
};

/// What a server offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// `/connect`: a QDT session.
    Connect,
}

impl Endpoint {
    /// Returns the endpoint that the request's path names, without its query.
    pub(super) fn of(head: &RequestHead) -> Option<Self> {
        match head.path.split(|byte| *byte == b'?').next() {
            Some(b"/connect") => Some(Self::Connect),
            _ => None,
        }
    }

    /// How many more STREAM frames a connection may send once it has a session of this endpoint.
    pub(super) const fn stream_frames(self) -> u64 {
        match self {
            // For what was on its way: from then on datagrams carry everything, and what is left
            // for streams is less than a dozen frames.
            Self::Connect => 128,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_exact_and_a_query_is_no_part_of_it() {
        for (path, found) in [
            ("/connect", true),
            ("/connect?x=1", true),
            ("/connect?", true),
            ("/Connect", false),
            ("/connect/", false),
            ("//connect", false),
            ("/connect%20", false),
            ("/", false),
            ("", false),
        ] {
            let head = RequestHead {
                method: b"POST".to_vec(),
                path: path.into(),
                headers: Vec::new(),
                scheme: b"https".to_vec(),
                authority: None,
                protocol: None,
            };
            assert_eq!(Endpoint::of(&head).is_some(), found, "{path}");
        }
    }
}
