//! Calls of `nft`. A script on its standard input is one atomic transaction.

use std::io;

use super::program::{self, command, first_line};
use crate::firewall::FirewallError;

/// Applies `script` in one transaction.
pub(super) async fn apply(script: &str) -> Result<(), FirewallError> {
    run(&["-f", "-"], Some(script)).await.map(drop)
}

/// Returns the output of `nft` with these arguments.
pub(super) async fn read(arguments: &[&str]) -> Result<String, FirewallError> {
    run(arguments, None).await
}

async fn run(arguments: &[&str], input: Option<&str>) -> Result<String, FirewallError> {
    let mut command = command("nft").map_err(cannot_run)?;
    command.args(arguments);
    let output = program::run(command, input).await.map_err(cannot_run)?;
    check("nft", &output)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns the output of `nft -j` with these arguments. Invalid JSON is an error.
pub(super) async fn read_json(arguments: &[&str]) -> Result<serde_json::Value, FirewallError> {
    let text = read(&[&["-j"], arguments].concat()).await?;
    serde_json::from_str(&text).map_err(|error| FirewallError::Refused {
        program: "nft",
        message: format!("its answer to -j cannot be read: {error}"),
    })
}

/// Returns an error unless the program succeeded.
pub(super) fn check(
    program: &'static str,
    output: &std::process::Output,
) -> Result<(), FirewallError> {
    if output.status.success() {
        return Ok(());
    }
    let message = first_line(&output.stderr, output.status);
    let refused = [
        "Operation not permitted",
        "Permission denied",
        "must be root",
    ];
    if refused.iter().any(|text| message.contains(text)) {
        Err(FirewallError::Permission { program, message })
    } else {
        Err(FirewallError::Refused { program, message })
    }
}

fn cannot_run(source: io::Error) -> FirewallError {
    if source.kind() == io::ErrorKind::NotFound {
        FirewallError::NftMissing
    } else {
        FirewallError::Run {
            program: "nft",
            source,
        }
    }
}

/// Returns the name of our table for the device `tun`: letters and digits unchanged, every other
/// byte as `_` and two hexadecimal digits, so that no two devices share a table.
pub(super) fn table_name(prefix: &str, tun: &str) -> String {
    let mut name = format!("{prefix}_");
    for byte in tun.bytes() {
        if byte.is_ascii_alphanumeric() {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("_{byte:02x}"));
        }
    }
    name
}

/// Lists the tables of these families and prefixes, each as `family name` and its device.
pub(super) async fn tables_of(
    families: &[&str],
    prefixes: &[&str],
) -> Result<Vec<(String, String)>, FirewallError> {
    let listed = read(&["list", "tables"]).await?;
    let tables = listed
        .lines()
        .filter_map(|line| line.trim().strip_prefix("table "));
    let ours = |table: &str| {
        let (family, name) = table.split_once(' ')?;
        let mut prefixes = prefixes.iter().filter(|_| families.contains(&family));
        let device = prefixes.find_map(|prefix| device_of(prefix, name))?;
        Some((table.to_owned(), device))
    };
    Ok(tables.filter_map(ours).collect())
}

/// Returns the device of a table; `None` for a table without this prefix.
fn device_of(prefix: &str, table: &str) -> Option<String> {
    let rest = table.strip_prefix(prefix)?.strip_prefix('_')?;
    let mut name = Vec::new();
    let mut bytes = rest.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'_' {
            let digits = [bytes.next()?, bytes.next()?];
            let digits = std::str::from_utf8(&digits).ok()?;
            name.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            name.push(byte);
        }
    }
    let name = String::from_utf8(name).ok()?;
    crate::check_interface_name(&name).ok().map(|()| name)
}

#[cfg(test)]
mod tests {
    use super::{device_of, table_name};

    #[test]
    fn a_device_is_found_again_by_the_name_of_its_table() {
        for tun in ["qdt0", "a-b", "a_2db", "tun.7", "x@y+z="] {
            assert_eq!(
                device_of("qdt", &table_name("qdt", tun)).as_deref(),
                Some(tun)
            );
        }
        assert_eq!(table_name("qdt", "qdt0"), "qdt_qdt0");
    }

    #[test]
    fn foreign_tables_belong_to_no_device() {
        for table in [
            "filter", "qdt", "qdt_", "qdtx_a", "qdt__zz", "qdt__2", "qdt_a b",
        ] {
            assert_eq!(device_of("qdt", table), None, "{table}");
        }
    }
}
