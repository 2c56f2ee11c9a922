//! Reassembly of fragmented inner packets.
//!
//! Invariants:
//! - A packet comes out only when every byte of it has come in exactly once, all under one total.
//! - A fragment that is refused leaves everything as it was.
//! - The bytes held, counted as the full length of each packet begun, never exceed the cap,
//!   nor does the number of incomplete packets exceed [`MAX_PENDING`]; the oldest is evicted.
//! - What is not complete after [`REASSEMBLY_TIMEOUT`] is dropped, however little is pending.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::FRAGMENT_HEADER_LEN;

/// How long the fragments of one packet may take to arrive.
pub const REASSEMBLY_TIMEOUT: Duration = Duration::from_secs(5);
/// Packets that may be incomplete at the same time, per session.
pub const MAX_PENDING: usize = 64;
/// Separate pieces that an incomplete packet may consist of: bounds what a peer can make us
/// remember besides the bytes themselves. In-order arrival needs one.
const MAX_PIECES: usize = 64;

/// The reason why a fragment was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FragmentError {
    /// The plaintext is shorter than a fragment header.
    #[error("{0} bytes are no fragment header")]
    TooShort(usize),
    /// It says that the whole packet is empty.
    #[error("a packet of length zero cannot be fragmented")]
    TotalZero,
    /// The whole packet would be longer than `max_reassembly_bytes`.
    #[error("a fragmented packet of {total} bytes is over the limit of {limit}")]
    TotalTooLarge {
        /// The length that the fragment gives.
        total: u32,
        /// The limit.
        limit: usize,
    },
    /// It carries no data.
    #[error("the fragment is empty")]
    Empty,
    /// It reaches beyond the end of the packet.
    #[error("the fragment exceeds the packet's total length")]
    BeyondTotal,
    /// It gives another total than the fragments before it.
    #[error("the fragment says {total} bytes in total, those before it said {expected}")]
    TotalMismatch {
        /// The length that this fragment gives.
        total: u32,
        /// The length that the first one gave.
        expected: u32,
    },
    /// Some of its bytes have come already.
    #[error("the fragment overlaps another")]
    Overlap,
    /// The packet would lie in too many separate pieces.
    #[error("the packet is in more than {MAX_PIECES} pieces")]
    TooScattered,
}

/// An incomplete packet.
#[derive(Debug)]
struct Pending {
    id: u32,
    total: u32,
    since: Instant,
    /// As long as the whole packet from the start; zero where nothing has come yet.
    bytes: Vec<u8>,
    /// The ranges received: ascending, not adjacent.
    pieces: Vec<Range<u32>>,
}

/// The incomplete packets of one direction of one session.
#[derive(Debug)]
pub(super) struct Reassembly {
    limit: usize,
    /// Oldest first.
    pending: VecDeque<Pending>,
    /// Sum of the totals of `pending`.
    pending_bytes: usize,
    /// The packet returned last, kept while the caller borrows it.
    complete: Vec<u8>,
}

/// The fields before a fragment's data.
struct FragmentHeader {
    id: u32,
    total: u32,
    place: Range<u32>,
}

impl FragmentHeader {
    fn parse(plaintext: &[u8], limit: usize) -> Result<(Self, &[u8]), FragmentError> {
        let Some((header, data)) = plaintext.split_at_checked(FRAGMENT_HEADER_LEN) else {
            return Err(FragmentError::TooShort(plaintext.len()));
        };
        let number = |at: usize| {
            u32::from_be_bytes(
                header[at..at + 4]
                    .try_into()
                    .expect("the slice has four bytes"),
            )
        };
        let (id, offset, total) = (number(0), number(4), number(8));
        if total == 0 {
            return Err(FragmentError::TotalZero);
        }
        if total as usize > limit {
            return Err(FragmentError::TotalTooLarge { total, limit });
        }
        if data.is_empty() {
            return Err(FragmentError::Empty);
        }
        let end = u32::try_from(data.len())
            .ok()
            .and_then(|length| offset.checked_add(length))
            .filter(|end| *end <= total)
            .ok_or(FragmentError::BeyondTotal)?;
        Ok((
            Self {
                id,
                total,
                place: offset..end,
            },
            data,
        ))
    }
}

impl Pending {
    /// Adds the data of one fragment; returns true when it completes the packet.
    fn add(&mut self, place: Range<u32>, data: &[u8]) -> Result<bool, FragmentError> {
        let after = self
            .pieces
            .partition_point(|piece| piece.end <= place.start);
        let next = self.pieces.get(after);
        if next.is_some_and(|next| next.start < place.end) {
            return Err(FragmentError::Overlap);
        }
        let joins_next = next.is_some_and(|next| next.start == place.end);
        let joins_previous = after > 0 && self.pieces[after - 1].end == place.start;
        match (joins_previous, joins_next) {
            (true, true) => {
                self.pieces[after - 1].end = self.pieces[after].end;
                self.pieces.remove(after);
            }
            (true, false) => self.pieces[after - 1].end = place.end,
            (false, true) => self.pieces[after].start = place.start,
            (false, false) if self.pieces.len() == MAX_PIECES => {
                return Err(FragmentError::TooScattered);
            }
            (false, false) => self.pieces.insert(after, place.clone()),
        }
        self.bytes[place.start as usize..place.end as usize].copy_from_slice(data);
        Ok(self.pieces.len() == 1 && self.pieces[0] == (0..self.total))
    }
}

impl Reassembly {
    /// `limit`: bytes held at most, and with it the longest packet that can be put together.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            pending: VecDeque::new(),
            pending_bytes: 0,
            complete: Vec::new(),
        }
    }

    /// Adds the plaintext of one fragment; returns the whole packet if it completes it.
    pub(super) fn add(
        &mut self,
        now: Instant,
        plaintext: &[u8],
    ) -> Result<Option<&[u8]>, FragmentError> {
        self.complete = Vec::new();
        let (header, data) = FragmentHeader::parse(plaintext, self.limit)?;
        let known = self
            .pending
            .iter()
            .position(|pending| pending.id == header.id);
        let index = match known {
            Some(index) => index,
            None => self.begin(now, &header),
        };
        let pending = &mut self.pending[index];
        if pending.total != header.total {
            return Err(FragmentError::TotalMismatch {
                total: header.total,
                expected: pending.total,
            });
        }
        if !pending.add(header.place, data)? {
            return Ok(None);
        }
        let done = self.pending.remove(index).expect("the index was just used");
        self.pending_bytes -= done.bytes.len();
        self.complete = done.bytes;
        Ok(Some(&self.complete))
    }

    /// Evicts what a new packet needs, inserts it and returns its index.
    fn begin(&mut self, now: Instant, header: &FragmentHeader) -> usize {
        let total = header.total as usize;
        while self.pending.len() == MAX_PENDING || self.pending_bytes + total > self.limit {
            self.drop_oldest();
        }
        self.pending_bytes += total;
        self.pending.push_back(Pending {
            id: header.id,
            total: header.total,
            since: now,
            bytes: vec![0; total],
            pieces: Vec::new(),
        });
        self.pending.len() - 1
    }

    fn drop_oldest(&mut self) {
        let oldest = self
            .pending
            .pop_front()
            .expect("the cap holds one packet of any length");
        self.pending_bytes -= oldest.bytes.len();
    }

    /// Drops packets older than [`REASSEMBLY_TIMEOUT`].
    pub(super) fn expire(&mut self, now: Instant) {
        while self.next_expiry().is_some_and(|expiry| expiry <= now) {
            self.drop_oldest();
        }
    }

    /// Returns when the oldest incomplete packet expires.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.pending
            .front()
            .map(|oldest| oldest.since + REASSEMBLY_TIMEOUT)
    }

    /// Returns the bytes held for packets, incomplete or returned last.
    pub(super) fn bytes(&self) -> usize {
        self.pending_bytes + self.complete.len()
    }

    /// Returns how many packets are incomplete.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }
}
