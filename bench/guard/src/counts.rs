//! Callgrind's output, read: whose instructions they are.
//!
//! Three owners. The AEAD library in C and assembler chooses its code by the processor, so its
//! instructions say nothing about ours: everything beneath a call from Rust into it is its own, and
//! only such calls are ours. The C library is called to copy and to compare, would be called to
//! allocate, and differs from one release to the next: here too the calls are ours. All the rest is
//! our own code, with the standard library's and other crates' that it calls. What always holds:
//! the three together are all that was counted.
//!
//! The format is that of valgrind's manual, "Callgrind Format Specification", without compression.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

/// What one packet costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PerPacket {
    /// Instructions of our own code.
    pub(crate) own: f64,
    /// Calls into the C library: memcpy and its kin.
    pub(crate) libc_calls: f64,
    /// Calls into the AEAD library.
    pub(crate) aead_calls: f64,
    /// Instructions beneath them; other processors have others.
    pub(crate) aead: f64,
}

/// The name of the function in which callgrind counts, however the compiler spells the rest.
pub(crate) const COUNTED: &str = "counted_turn";

/// A function as callgrind names it: its object file and its symbol.
type Function = (String, String);

/// Calls from one function to another.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Calls {
    count: u64,
    /// Instructions of the called function and of all that it called.
    inclusive: u64,
}

impl Calls {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.inclusive += other.inclusive;
    }
}

/// All that one run counted.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    total: u64,
    calls: BTreeMap<(Function, Function), Calls>,
}

impl Counts {
    /// Reads callgrind's output, written with `--compress-strings=no --compress-pos=no`.
    ///
    /// # Errors
    /// A line that is not as expected, or no count at all.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut counts = Self::default();
        let mut object = String::new();
        let mut function = String::new();
        let mut called_object = None;
        let mut called = String::new();
        let mut calls = None;
        for (number, line) in text.lines().enumerate() {
            let wrong = || format!("line {} of callgrind's output: {line:?}", number + 1);
            let begins_with_digit = line.starts_with(|first: char| first.is_ascii_digit());
            if let Some((key, value)) = line.split_once('=').filter(|_| !begins_with_digit) {
                match key {
                    "ob" => object = value.into(),
                    "fn" => function = value.into(),
                    "cob" => called_object = Some(value.to_owned()),
                    "cfn" => called = value.into(),
                    "calls" => calls = Some(number_at(value, 0).with_context(wrong)?),
                    _ => {}
                }
            } else if begins_with_digit {
                let cost = number_at(line, 1).with_context(wrong)?;
                if let Some(count) = calls.take() {
                    let to = called_object.take().unwrap_or_else(|| object.clone());
                    let ends = ((object.clone(), function.clone()), (to, called.clone()));
                    let inclusive = cost;
                    let sum = counts.calls.entry(ends).or_default();
                    sum.add(Calls { count, inclusive });
                } else {
                    counts.total += cost;
                }
            }
        }
        ensure!(
            counts.total > 0,
            "callgrind counted nothing: it did not find the function counted_turn (was the program stripped?)"
        );
        Ok(counts)
    }

    /// What one of `packets` costs.
    ///
    /// # Errors
    /// The parts are more than the whole.
    pub(crate) fn per_packet(&self, packets: usize) -> Result<PerPacket> {
        let (mut libc, mut aead) = (Calls::default(), Calls::default());
        let mut ours = BTreeSet::new();
        let mut open: Vec<_> = self
            .calls
            .keys()
            .flat_map(|(from, to)| [from, to])
            .filter(|(_, symbol)| symbol.contains(COUNTED))
            .collect();
        // From the counted function down to where our own code ends, each function once.
        while let Some(function) = open.pop() {
            if !ours.insert(function) {
                continue;
            }
            for ((_, to), calls) in self.calls.iter().filter(|((from, _), _)| from == function) {
                if is_aead(to) {
                    aead.add(*calls);
                } else if is_libc(to) {
                    libc.add(*calls);
                } else {
                    open.push(to);
                }
            }
        }
        let own = self
            .total
            .checked_sub(libc.inclusive + aead.inclusive)
            .context("callgrind counted more in parts of the case than in the whole")?;
        let share = |count: u64| (count as f64 / packets as f64 * 100.0).round() / 100.0;
        Ok(PerPacket {
            own: share(own),
            libc_calls: share(libc.count),
            aead_calls: share(aead.count),
            aead: share(aead.inclusive),
        })
    }
}

/// Whether a symbol is one of aws-lc's, as in `aws_lc_0_35_0_EVP_AEAD_CTX_seal_scatter`; those of
/// its Rust side begin with `aws_lc_rs`.
fn is_aead((_, symbol): &Function) -> bool {
    symbol
        .strip_prefix("aws_lc_")
        .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

/// By the file, not by the symbol: a C library that was stripped names its variants of memcpy no
/// more.
fn is_libc((object, _): &Function) -> bool {
    let file = object.rsplit('/').next().unwrap_or_default();
    file.starts_with("libc.so") || file.starts_with("libc-")
}

fn number_at(line: &str, index: usize) -> Result<u64> {
    let field = line
        .split_whitespace()
        .nth(index)
        .context("a number is missing")?;
    field
        .parse()
        .with_context(|| format!("{field:?} is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
# callgrind format
version: 1
positions: line
events: Ir
ob=/lib/libc.so.6
fn=(below main)
cob=/bin/guard
cfn=main
calls=1 0
0 5100

ob=/bin/guard
fn=_start
cob=/lib/libc.so.6
cfn=(below main)
calls=1 0
0 5100

fn=main
cfn=guard::cases::counted_turn
calls=1 0
0 5100

fl=a.rs
fn=guard::cases::counted_turn
0 100
cfn=qdt_proto::seal
calls=10 0
0 5000

fn=qdt_proto::seal
0 1000
cfn=aws_lc_0_35_0_EVP_AEAD_CTX_seal_scatter
calls=10 0
0 3500
cob=/lib/libc.so.6
cfn=__memcpy_avx_unaligned
calls=20 0
0 500

fn=aws_lc_0_35_0_EVP_AEAD_CTX_seal_scatter
0 2000
cfn=_local_label
calls=10 0
0 1500

fn=_local_label
0 1000
cfn=aws_lc_0_35_0_ghash
calls=5 0
0 250
cob=/lib/libc.so.6
cfn=__memcpy_avx_unaligned
calls=10 0
0 250

fn=aws_lc_0_35_0_ghash
0 250

ob=/lib/libc.so.6
fn=__memcpy_avx_unaligned
0 750

totals: 5100
";

    #[test]
    fn what_is_beneath_the_aead_and_in_the_c_library_is_not_our_own() {
        let counts = Counts::parse(OUTPUT).expect("the output is sound");
        assert_eq!(
            counts.per_packet(10).expect("the parts are fewer"),
            PerPacket {
                own: 110.0,
                libc_calls: 2.0,
                aead_calls: 1.0,
                aead: 350.0
            }
        );
    }

    #[test]
    fn an_output_without_a_count_is_an_error() {
        let error = Counts::parse("version: 1\nevents: Ir\ntotals: 0\n").expect_err("nothing");
        assert!(error.to_string().contains("counted nothing"), "{error}");
    }

    #[test]
    fn a_line_that_is_no_count_is_named() {
        let error = Counts::parse("fn=a\n0 many\n").expect_err("no number");
        assert!(format!("{error:#}").contains("line 2"), "{error:#}");
    }
}
