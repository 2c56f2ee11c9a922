//! Faults on purpose, one at a time: they prove that the tests from outside find them.
//!
//! A fault is one line in the code it spoils, `mutant!(Name => statement)`. Without the cargo
//! feature `mutants` that line is nothing; with it the statement runs when its fault is the one
//! chosen for this process. A build without debug assertions, as every release is, refuses the
//! feature.

#[cfg(all(feature = "mutants", not(debug_assertions)))]
compile_error!("the feature `mutants` puts faults into the server: no release has it");

/// Runs a statement when this fault was chosen; nothing at all without the feature `mutants`.
#[cfg(feature = "mutants")]
#[macro_export]
macro_rules! mutant {
    ($name:ident => $spoil:expr) => {
        if $crate::mutants::is_chosen($crate::mutants::Mutant::$name) {
            $spoil
        }
    };
}

/// Runs a statement when this fault was chosen; nothing at all without the feature `mutants`.
#[cfg(not(feature = "mutants"))]
#[macro_export]
macro_rules! mutant {
    ($name:ident => $spoil:expr) => {};
}

#[cfg(feature = "mutants")]
pub use chosen::{Mutant, choose, is_chosen};

#[cfg(feature = "mutants")]
mod chosen {
    use std::sync::OnceLock;

    static CHOSEN: OnceLock<Mutant> = OnceLock::new();

    /// A fault.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Mutant {
        /// A bad nonce is answered with another status.
        WrongStatus,
        /// A nonce of a wrong length counts under another label.
        WrongLabel,
        /// The token is judged before the method.
        LateCheckOrder,
        /// The stream of a session is finished behind the answer.
        FinOn200,
        /// Datagrams name the first stream of the connection, whichever the session hangs on.
        QuarterStreamId0,
        /// Refusals lack `x-content-type-options`.
        MissingNosniff,
        /// A peer without extensions gets an `mtu` that a Go program would not survive.
        UnclampedMtu,
    }

    /// Every fault by its name.
    const NAMES: [(&str, Mutant); 7] = [
        ("wrong_status", Mutant::WrongStatus),
        ("wrong_label", Mutant::WrongLabel),
        ("late_check_order", Mutant::LateCheckOrder),
        ("fin_on_200", Mutant::FinOn200),
        ("quarter_stream_id_0", Mutant::QuarterStreamId0),
        ("missing_nosniff", Mutant::MissingNosniff),
        ("unclamped_mtu", Mutant::UnclampedMtu),
    ];

    /// Chooses the fault of this process, once; says whether there is one of that name.
    pub fn choose(name: &str) -> bool {
        let found = NAMES.iter().find(|(known, _)| *known == name);
        found.is_some_and(|(_, mutant)| CHOSEN.set(*mutant).is_ok())
    }

    /// Whether this fault was chosen.
    #[must_use]
    pub fn is_chosen(mutant: Mutant) -> bool {
        CHOSEN.get() == Some(&mutant)
    }
}
