//! The endpoint that a request's path names, determined before admission.

use qdt_proto::http3::RequestHead;

use super::admission::Refusal;

/// The answer to any other path. It is not a handshake, so nothing counts it.
pub(super) const NOT_FOUND: Refusal = Refusal {
    status: 404,
    body: "404 page not found",
};

/// The endpoints of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// `/connect`: a QDT session.
    Connect,
}

impl Endpoint {
    /// Returns the endpoint of the request's path, without its query.
    pub(super) fn of(head: &RequestHead) -> Option<Self> {
        match head.path.split(|byte| *byte == b'?').next() {
            Some(b"/connect") => Some(Self::Connect),
            _ => None,
        }
    }

    /// Returns how many more STREAM frames a connection may send once it has a session of this
    /// endpoint.
    pub(super) const fn stream_frames(self) -> u64 {
        match self {
            // For frames in flight: from now on datagrams carry everything, and streams need less
            // than a dozen frames.
            Self::Connect => 128,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_exact_and_excludes_the_query() {
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
