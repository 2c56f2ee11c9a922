//! The client's side of `POST /connect` on one connection.
//!
//! Invariants: the request stream is never finished, because its end would end the session at a Go
//! server; the answer is complete with its first JSON value or the end of the stream.

use aws_lc_rs::rand;
use qdt_proto::datagram::Aead;
use qdt_proto::handshake::{
    Assignment, Capabilities, Capability, ConnectRequest, ConnectResponse, DecodeError,
    GO_PEER_MTU, Nonce, SessionKeys, Ticket,
};
use qdt_proto::http3::{ResponseEvent, ResponseStream, encode_request};
use quinn_proto::{Connection, Dir, StreamId};

use super::{ClientSettings, DialError};
use crate::http3_streams::{StreamEnd, StreamWriter, WriteStatus, read_chunks};
use crate::session::{Session, Terms};

/// A request in progress.
pub(super) struct ConnectExchange {
    stream: StreamId,
    out: Option<StreamWriter>,
    parser: ResponseStream,
    status: Option<u16>,
    body: Vec<u8>,
    nonce: Nonce,
}

/// The server's answer.
pub(super) enum Answer {
    /// 200 and a session.
    Granted(Box<GrantedSession>),
    /// Another status, with the body's text.
    Refused(u16, String),
}

/// A granted session.
pub(super) struct GrantedSession {
    pub(super) session: Session,
    /// The request's stream, which names the session on its connection.
    pub(super) stream: StreamId,
    pub(super) assignment: Assignment,
}

impl ConnectExchange {
    /// Opens the request stream and sends the request.
    pub(super) fn start(
        quic: &mut Connection,
        settings: &ClientSettings,
        resume: Option<&Ticket>,
    ) -> Result<Self, DialError> {
        let mut nonce = [0; Nonce::LEN];
        rand::fill(&mut nonce)
            .map_err(|_| DialError::Io("no randomness from the system".into()))?;
        let nonce = Nonce::from_bytes(nonce);
        let body = ConnectRequest {
            version: qdt_proto::handshake::VERSION,
            client_nonce: nonce.to_text(),
            mtu: settings.mtu.min(GO_PEER_MTU).into(),
            caps: settings.caps.to_texts(),
            client_id: settings.client_id.clone(),
            platform: std::env::consts::OS.into(),
            max_mtu: Some(settings.mtu),
            resume: resume.map(|ticket| ticket.as_str().into()),
        }
        .encode();
        let stream = quic.streams().open(Dir::Bi).ok_or_else(|| {
            DialError::InvalidAnswer("the server allows no request stream".into())
        })?;
        let request = encode_request(
            settings.authority.as_bytes(),
            b"/connect",
            &settings.token,
            &body,
        );
        let mut out = StreamWriter::new(request, false);
        let out = matches!(out.write(quic, stream), WriteStatus::Blocked).then_some(out);
        Ok(Self {
            stream,
            out,
            parser: ResponseStream::new(),
            status: None,
            body: Vec::new(),
            nonce,
        })
    }

    /// Continues a request that flow control blocked.
    pub(super) fn writable(&mut self, quic: &mut Connection, id: StreamId) {
        if id == self.stream
            && let Some(mut out) = self.out.take()
            && matches!(out.write(quic, id), WriteStatus::Blocked)
        {
            self.out = Some(out);
        }
    }

    /// Reads what has arrived. Returns the answer once it is complete.
    pub(super) fn read(
        &mut self,
        quic: &mut Connection,
        settings: &ClientSettings,
    ) -> Result<Option<Answer>, DialError> {
        let mut finished = false;
        let mut failure = None;
        let Self {
            parser,
            status,
            body,
            ..
        } = self;
        let end = read_chunks(quic, self.stream, |data, fin| {
            for event in parser.handle(data, fin) {
                match event {
                    Ok(ResponseEvent::Head(head)) => *status = Some(head.status),
                    Ok(ResponseEvent::Body(part)) => body.extend_from_slice(part),
                    Ok(ResponseEvent::End) => finished = true,
                    Err(error) => {
                        failure = Some(DialError::InvalidAnswer(error.reason.into_owned()));
                        return false;
                    }
                }
            }
            true
        });
        if let Some(error) = failure {
            return Err(error);
        }
        match self.status {
            Some(200) => match ConnectResponse::decode(&self.body) {
                Ok(response) => self.grant(&response, settings).map(Some),
                Err(DecodeError::Incomplete) if !finished && end == StreamEnd::Open => Ok(None),
                Err(error) => Err(DialError::InvalidAnswer(error.to_string())),
            },
            Some(status) if finished || end != StreamEnd::Open => Ok(Some(Answer::Refused(
                status,
                String::from_utf8_lossy(&self.body).into_owned(),
            ))),
            None if end != StreamEnd::Open => Err(DialError::InvalidAnswer(
                "the request stream ended without a response".into(),
            )),
            _ => Ok(None),
        }
    }

    fn grant(
        &self,
        response: &ConnectResponse,
        settings: &ClientSettings,
    ) -> Result<Answer, DialError> {
        let assignment = Assignment::check(response, settings.mtu)?;
        let confirmed = assignment.caps.unwrap_or(Capabilities::NONE);
        let caps = confirmed.intersection(settings.caps);
        let keys = SessionKeys::derive(&settings.token, &self.nonce, &assignment.server_nonce)
            .map_err(|error| DialError::InvalidAnswer(error.to_string()))?;
        let session = Session::new(&Terms {
            id: assignment.session_id,
            aead: if caps.contains(Capability::Aes256Gcm) {
                Aead::Aes256Gcm
            } else {
                Aead::ChaCha20Poly1305
            },
            send: &keys.client,
            receive: &keys.server,
            caps,
            mtu: assignment.mtu,
            max_reassembly_bytes: settings.max_reassembly_bytes,
        });
        Ok(Answer::Granted(Box::new(GrantedSession {
            session,
            stream: self.stream,
            assignment,
        })))
    }
}
