//! The sessions of one worker, independent of the connection that carries each.
//!
//! Invariants: a session is here from its grant until its last carrier is gone; its id and its key
//! lead to the same session; the tag of a [`Location`] distinguishes sessions that used the same
//! key one after the other.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use qdt_proto::datagram::SessionId;
use slab::Slab;

use super::table::Location;
use crate::carrier::CarrierRef;
use crate::counters::SessionCounters;
use crate::queue::Share;
use crate::rate_limit::{Bucket, SessionLimits};
use crate::session::Session;

/// The key of a session in its worker, below [`super::table::MAX_SESSIONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionKey(pub(super) u32);

/// A session and the server's state of it.
pub(super) struct ServedSession {
    pub(super) session: Session,
    pub(super) carrier: CarrierRef,
    pub(super) inner: IpAddr,
    pub(super) location: Location,
    pub(super) from_client: Bucket,
    pub(super) to_client: Bucket,
    /// Traffic of the client other than whole packets.
    pub(super) upkeep: Bucket,
    /// Its share of the TUN queue.
    pub(super) share: Share,
    /// Its traffic, for the control side.
    pub(super) counters: Arc<SessionCounters>,
}

impl ServedSession {
    pub(super) fn set_limits(&mut self, now: Instant, limits: SessionLimits) {
        let mtu = self.session.mtu;
        for bucket in [&mut self.from_client, &mut self.to_client, &mut self.upkeep] {
            bucket.change(now, limits, mtu);
        }
    }
}

#[derive(Default)]
pub(super) struct Sessions {
    slab: Slab<Box<ServedSession>>,
    by_id: HashMap<SessionId, SessionKey>,
}

impl Sessions {
    /// Adds the session that `make` returns for its key.
    pub(super) fn insert(&mut self, make: impl FnOnce(SessionKey) -> ServedSession) -> Location {
        let entry = self.slab.vacant_entry();
        let key = SessionKey(entry.key() as u32);
        let served = entry.insert(Box::new(make(key)));
        self.by_id.insert(served.session.id, key);
        served.location
    }

    /// Returns the session with this key.
    pub(super) fn get_mut(&mut self, key: SessionKey) -> Option<&mut ServedSession> {
        self.slab.get_mut(key.0 as usize).map(Box::as_mut)
    }

    /// Returns the session of `location`, which is of this worker, unless it is gone.
    pub(super) fn at(&mut self, location: Location) -> Option<&mut ServedSession> {
        self.get_mut(location.key)
            .filter(|served| served.location == location)
    }

    /// Returns the session with this id.
    pub(super) fn by_id(&mut self, id: SessionId) -> Option<&mut ServedSession> {
        let key = *self.by_id.get(&id)?;
        self.get_mut(key)
    }

    /// Removes a session whose last carrier is gone.
    pub(super) fn remove(&mut self, key: SessionKey) -> Option<Box<ServedSession>> {
        let served = self.slab.try_remove(key.0 as usize)?;
        self.by_id.remove(&served.session.id);
        Some(served)
    }
}

#[cfg(test)]
mod tests {
    use qdt_proto::datagram::Aead;
    use qdt_proto::handshake::{Capabilities, Nonce, SessionKeys};
    use quinn_proto::{ConnectionHandle, Dir, Side, StreamId};

    use super::*;
    use crate::rate_limit::{Counted, SessionUsage};
    use crate::session::Terms;

    fn add(sessions: &mut Sessions, id: u64, grant: u64) -> Location {
        let nonce = Nonce::from_bytes([1; 16]);
        let keys = SessionKeys::derive(b"token", &nonce, &nonce).expect("keys");
        let bucket = || {
            let usage = SessionUsage::default();
            Bucket::new(SessionLimits::OFF, 1350, &usage, Counted::Upkeep)
        };
        sessions.insert(|key| ServedSession {
            session: Session::new(&Terms {
                id: SessionId(id),
                aead: Aead::Aes256Gcm,
                send: &keys.server,
                receive: &keys.client,
                caps: Capabilities::NONE,
                mtu: 1350,
                max_reassembly_bytes: 65_535,
            }),
            carrier: CarrierRef::new(ConnectionHandle(0), StreamId::new(Side::Client, Dir::Bi, 0)),
            inner: [10, 8, 0, 2].into(),
            location: Location::new(0, key, grant),
            from_client: bucket(),
            to_client: bucket(),
            upkeep: bucket(),
            share: Share::default(),
            counters: Arc::default(),
        })
    }

    #[test]
    fn a_reused_key_leads_to_its_new_session_and_an_old_location_to_none() {
        let mut sessions = Sessions::default();
        let old = add(&mut sessions, 7, 1);
        let other = add(&mut sessions, 8, 2);
        assert!(sessions.remove(old.key).is_some());
        let new = add(&mut sessions, 9, 3);
        assert_eq!(new.key, old.key);
        let id = |served: Option<&mut ServedSession>| served.map(|served| served.session.id.0);
        assert_eq!(id(sessions.at(old)), None);
        assert_eq!(id(sessions.at(new)), Some(9));
        assert_eq!(id(sessions.at(other)), Some(8));
        assert_eq!(id(sessions.by_id(SessionId(7))), None);
        assert_eq!(id(sessions.by_id(SessionId(9))), Some(9));
    }
}
