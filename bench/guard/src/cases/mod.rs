//! The cases: for each step of a packet's way the work that is counted.
//!
//! A case prepares what its next turn needs, which is not counted, then does the turn, which is.
//! Invariants: every run of a case does the same work on the same bytes, and a step that
//! fails ends the run, so that no count is one of errors.

mod aead;
mod header;
mod join;
mod pipeline;
mod split;

use anyhow::{Result, ensure};
use qdt_proto::datagram::Aead;

use crate::packets::{FULL, SMALL};

/// Turns in a run. What is done once in a program's life is spread over them: there is none that is
/// not counted, because callgrind numbers calls also where it adds up no instructions.
const TURNS: usize = 40;

/// A step of a packet's way.
pub(crate) trait Case {
    /// Makes ready what the next turn works on.
    fn prepare(&mut self) {}

    /// Takes the step for a batch of packets.
    fn turn(&mut self);

    /// Packets in every turn.
    fn packets(&self) -> usize;
}

/// How a case is made: nothing is, until it is to run.
type Make = fn() -> Box<dyn Case>;

/// Every case with its name, along a packet's way.
const CASES: &[(&str, Make)] = &[
    ("split 1300 B", || Box::new(split::Split::super_packet())),
    ("split 52 B", || Box::new(split::Split::small())),
    ("encode header", || Box::new(header::Encode)),
    ("seal AES 1300 B", || {
        Box::new(aead::Seal::new(Aead::Aes256Gcm, FULL))
    }),
    ("seal AES 52 B", || {
        Box::new(aead::Seal::new(Aead::Aes256Gcm, SMALL))
    }),
    ("seal ChaCha 1300 B", || {
        Box::new(aead::Seal::new(Aead::ChaCha20Poly1305, FULL))
    }),
    ("seal ChaCha 52 B", || {
        Box::new(aead::Seal::new(Aead::ChaCha20Poly1305, SMALL))
    }),
    ("decode header", || Box::new(header::Decode::new())),
    ("open AES 1300 B", || {
        Box::new(aead::Open::new(Aead::Aes256Gcm, FULL))
    }),
    ("open AES 52 B", || {
        Box::new(aead::Open::new(Aead::Aes256Gcm, SMALL))
    }),
    ("open ChaCha 1300 B", || {
        Box::new(aead::Open::new(Aead::ChaCha20Poly1305, FULL))
    }),
    ("open ChaCha 52 B", || {
        Box::new(aead::Open::new(Aead::ChaCha20Poly1305, SMALL))
    }),
    ("coalesce 1300 B", || Box::new(join::Join::new(FULL))),
    ("coalesce 52 B", || Box::new(join::Join::new(SMALL))),
    ("out: split check clamp seal", || {
        Box::new(pipeline::Out::new())
    }),
    ("in: open check clamp coalesce", || {
        Box::new(pipeline::In::new())
    }),
];

/// The names of all cases, or of those that `only` lists.
///
/// # Errors
/// A name that no case has.
pub(crate) fn names(only: &[String]) -> Result<Vec<&'static str>> {
    for name in only {
        make(name)?;
    }
    let wanted = |name: &str| only.is_empty() || only.iter().any(|listed| listed == name);
    Ok(CASES
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| wanted(name))
        .collect())
}

/// Does the work of a case, in [`counted_turn`]s.
///
/// # Errors
/// No case has this name.
pub(crate) fn run(name: &str) -> Result<()> {
    let mut case = make(name)?();
    for _ in 0..TURNS {
        case.prepare();
        counted_turn(case.as_mut());
    }
    Ok(())
}

/// Packets in all counted turns of a case.
///
/// # Errors
/// No case has this name.
pub(crate) fn packets(name: &str) -> Result<usize> {
    Ok(make(name)?().packets() * TURNS)
}

/// What callgrind counts: it looks for this function's name.
#[inline(never)]
fn counted_turn(case: &mut dyn Case) {
    case.turn();
}

fn make(name: &str) -> Result<Make> {
    let found = CASES.iter().find(|(case, _)| *case == name);
    ensure!(
        found.is_some(),
        "there is no case {name:?}; there are {:?}",
        CASES.iter().map(|(name, _)| *name).collect::<Vec<_>>()
    );
    Ok(found.expect("it was looked at just now").1)
}
