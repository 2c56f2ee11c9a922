//! Accept rules in the iptables FORWARD chain, where that chain is closed.
//!
//! `iptables -S FORWARD` prints every rule as the arguments that created it. Our rules carry the
//! comment `qdt <device>`.
//!
//! Invariants: a rule is deleted by exactly the arguments that were read, so a foreign rule never
//! matches.

use std::{io, process::Output};

use super::super::{nft, program};
use crate::firewall::{FirewallError, NatPlan};

const PROGRAM: &str = "iptables";
/// The timeout for the lock of iptables, in seconds: below a helper's timeout, so that the error is
/// that of iptables.
const LOCK_WAIT: &str = "4";
/// The exit code of iptables when the lock is held (`RESOURCE_PROBLEM` of xtables.h).
const LOCKED: i32 = 4;

/// Inserts our two rules where the chain is closed, after removing earlier ones of the device.
pub(super) async fn install(plan: &NatPlan) -> Result<(), FirewallError> {
    remove(|device| device == plan.tun).await?;
    let NatPlan {
        tun,
        external_interface: Some(external),
        ..
    } = plan
    else {
        return Ok(());
    };
    let Some(chain) = chain().await? else {
        return Ok(());
    };
    if !is_closed(&chain) {
        return Ok(());
    }
    let pool = plan.pool.trunc().to_string();
    let comment = comment(tun);
    let out = ["-i", tun, "-o", external, "-s", &pool];
    let back = ["-i", external, "-o", tun, "-d", &pool];
    let established = ["-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"];
    let end = ["-m", "comment", "--comment", &comment, "-j", "ACCEPT"];
    run(&[&["-I", "FORWARD"], &back[..], &established, &end].concat()).await?;
    run(&[&["-I", "FORWARD"], &out[..], &end].concat()).await
}

/// Deletes our rules of every device that `left` accepts.
pub(super) async fn remove(left: impl Fn(&str) -> bool + Send) -> Result<(), FirewallError> {
    for rule in chain().await?.iter().flat_map(|chain| chain.lines()) {
        let words = words(rule);
        if device_of(&words).is_some_and(&left) {
            let mut delete: Vec<_> = words.iter().map(String::as_str).collect();
            delete[0] = "-D";
            run(&delete).await?;
        }
    }
    Ok(())
}

/// Returns whether the chain is closed, and our rules in it, as text to compare.
pub(super) async fn summary(tun: &str) -> Result<String, FirewallError> {
    let chain = chain().await?.unwrap_or_default();
    let ours = |line: &&str| device_of(&words(line)) == Some(tun);
    let rules: Vec<_> = chain.lines().filter(ours).collect();
    Ok(format!(
        "closed: {}\n{}",
        is_closed(&chain),
        rules.join("\n")
    ))
}

/// Returns the output of `iptables -S`; `None` without iptables or without a readable chain.
///
/// # Errors
/// [`FirewallError`] while another program holds the lock, and after a timeout.
async fn chain() -> Result<Option<String>, FirewallError> {
    let output = match call(&["-S", "FORWARD"]).await {
        Err(FirewallError::Run { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        other => other?,
    };
    if output.status.code() == Some(LOCKED) {
        nft::check(PROGRAM, &output)?;
    }
    Ok(output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// Returns whether the chain drops by its policy or by a rule for all packets.
fn is_closed(chain: &str) -> bool {
    chain.lines().any(|line| {
        line == "-P FORWARD DROP"
            || line == "-A FORWARD -j DROP"
            || line.starts_with("-A FORWARD -j REJECT")
    })
}

/// Returns the device of a rule; `None` for a foreign rule.
fn device_of(words: &[String]) -> Option<&str> {
    if words.first().map(String::as_str) != Some("-A") {
        return None;
    }
    let at = words.iter().position(|word| word == "--comment")?;
    words
        .get(at + 1)?
        .strip_prefix("qdt ")
        .filter(|name| crate::check_interface_name(name).is_ok())
}

fn comment(tun: &str) -> String {
    format!("qdt {tun}")
}

/// Splits a rule into its arguments. Double quotes enclose an argument with blanks; within them a
/// backslash escapes the next character.
fn words(rule: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut characters = rule.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if quoted => word.get_or_insert_default().extend(characters.next()),
            ' ' if !quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

async fn run(arguments: &[&str]) -> Result<(), FirewallError> {
    let output = call(arguments).await?;
    nft::check(PROGRAM, &output)
}

async fn call(arguments: &[&str]) -> Result<Output, FirewallError> {
    let call = async {
        let mut command = program::command(PROGRAM)?;
        command.args(["-w", LOCK_WAIT]).args(arguments);
        program::run(command, None).await
    };
    call.await.map_err(|source| FirewallError::Run {
        program: PROGRAM,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::{device_of, is_closed, words};

    #[test]
    fn a_rule_is_ours_by_its_comment_alone() {
        let rule = r#"-A FORWARD -s 10.8.0.0/24 -i qdt0 -o eth0 -m comment --comment "qdt qdt0" -j ACCEPT"#;
        assert_eq!(device_of(&words(rule)), Some("qdt0"));
        for rule in [
            r#"-A FORWARD -i qdt0 -j ACCEPT"#,
            r#"-A FORWARD -m comment --comment qdt -j ACCEPT"#,
            r#"-A FORWARD -m comment --comment "qdt qdt0 and more" -j ACCEPT"#,
            r#"-A FORWARD -m comment --comment "not qdt qdt0" -j ACCEPT"#,
            r#"-P FORWARD ACCEPT"#,
            "",
        ] {
            assert_eq!(device_of(&words(rule)), None, "{rule}");
        }
    }

    #[test]
    fn quoted_words_keep_their_blanks_and_lose_their_quotes() {
        assert_eq!(
            words(r#"-A X --comment "a \"b\" c" -j Y"#),
            ["-A", "X", "--comment", "a \"b\" c", "-j", "Y"]
        );
        assert_eq!(words(r#"a "" b"#), ["a", "", "b"]);
    }

    #[test]
    fn a_chain_is_closed_by_its_policy_or_by_a_rule_for_everything() {
        assert!(is_closed("-P FORWARD DROP\n-A FORWARD -j DOCKER"));
        assert!(is_closed(
            "-P FORWARD ACCEPT\n-A FORWARD -j REJECT --reject-with icmp-host-prohibited"
        ));
        assert!(!is_closed("-P FORWARD ACCEPT\n-A FORWARD -i eth1 -j DROP"));
    }
}
