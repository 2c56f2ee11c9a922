//! An nftables table that is installed in one transaction and checked later.
//!
//! Checks query the kernel by netlink instead of running `nft`, because they run at every change of
//! the ruleset and every few seconds.

use std::{fmt, io};

use rustix::net::netlink::NETFILTER;

use super::{
    netlink::{NetlinkSocket, attributes},
    nft,
};
use crate::firewall::FirewallError;

/// The most attempts at a dump that changes of the ruleset interrupt.
const MAX_ATTEMPTS: usize = 4;

/// The address family of a table.
#[derive(Debug, Clone, Copy)]
pub(super) enum Family {
    Ip,
    Arp,
}

impl Family {
    fn word(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Arp => "arp",
        }
    }

    /// `NFPROTO_*` of `linux/netfilter.h`.
    fn number(self) -> u8 {
        match self {
            Self::Ip => 2,
            Self::Arp => 3,
        }
    }
}

/// A base chain with its rules, each one line of nft syntax.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    /// For example `filter hook input priority filter`.
    pub(super) hook: &'static str,
    pub(super) rules: Vec<String>,
}

/// A table with its chains.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) family: Family,
    pub(super) name: String,
    pub(super) chains: Vec<Chain>,
}

impl Table {
    /// Installs the table, in place of one with its name.
    pub(super) async fn install(&self) -> Result<(), FirewallError> {
        nft::apply(&self.script()).await
    }

    /// Returns whether the table exists with at least its number of rules.
    ///
    /// # Errors
    /// The kernel has no nftables, or the process lacks the permission.
    pub(super) fn is_complete(&self) -> io::Result<bool> {
        let wanted: usize = self.chains.iter().map(|chain| chain.rules.len()).sum();
        Ok(rule_count(self.family, &self.name)? >= wanted)
    }

    /// Returns the script that installs the table. It declares the table first, so that deleting it
    /// cannot fail.
    fn script(&self) -> String {
        let (family, name) = (self.family.word(), &self.name);
        let mut script = format!(
            "add table {family} {name}\ndelete table {family} {name}\ntable {family} {name} {{\n"
        );
        for Chain { name, hook, rules } in &self.chains {
            script += &format!("\tchain {name} {{\n\t\ttype {hook}; policy accept;\n");
            for rule in rules {
                script += &format!("\t\t{rule}\n");
            }
            script += "\t}\n";
        }
        script + "}\n"
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nft table {} {}", self.family.word(), self.name)
    }
}

/// Returns the number of rules of the table `name`; 0 where the table does not exist.
///
/// # Errors
/// The kernel has no nftables, or the process lacks the permission.
pub(super) fn rule_count(family: Family, name: &str) -> io::Result<usize> {
    let mut attempt = 1;
    loop {
        match count_rules(family, name) {
            Err(error) if error.raw_os_error() == Some(libc::EINTR) && attempt < MAX_ATTEMPTS => {
                attempt += 1;
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(0),
            counted => return counted,
        }
    }
}

fn count_rules(family: Family, table: &str) -> io::Result<usize> {
    // `linux/netfilter/nf_tables.h`
    const SUBSYSTEM: u16 = (libc::NFNL_SUBSYS_NFTABLES as u16) << 8;
    const GET_RULE: u16 = SUBSYSTEM | 7;
    const NFTA_RULE_TABLE: u16 = 1;

    // `struct nfgenmsg`: family, version, resource id.
    let mut request = vec![family.number(), 0, 0, 0];
    let mut name = table.as_bytes().to_vec();
    name.push(0);
    super::netlink::push_attribute(&mut request, NFTA_RULE_TABLE, &name);
    let mut rules = 0;
    // Kernels before 5.1 list the rules of every table.
    let mut count = |_kind: u16, message: &[u8]| {
        let attributes_of = message.get(4..).unwrap_or_default();
        rules += usize::from(
            attributes(attributes_of).any(|(kind, value)| kind == NFTA_RULE_TABLE && value == name),
        );
    };
    let socket = NetlinkSocket::open(Some(NETFILTER))?;
    socket.request(GET_RULE, libc::NLM_F_DUMP as u16, &request, &mut count)?;
    Ok(rules)
}
