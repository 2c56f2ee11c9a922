//! Names of network interfaces in the configuration.
//!
//! Invariants: the kernel accepts a name that passes [`check_interface_name`] (at most 15 bytes, no
//! `/`, `:` or white space: `dev_valid_name` in Linux), and the name needs no quoting in an
//! nftables script, on a command line or in a file.

/// The error for an unusable interface name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "interface name `{name}` is not usable: give 1 to 15 characters out of letters, digits, `.`, \
     `_`, `-`, `@`, `+` and `=`, and not `.`, `..` or a leading `-`"
)]
pub struct InterfaceNameError {
    /// The name, with control characters escaped.
    pub name: String,
}

/// The longest interface name in bytes (`IFNAMSIZ` less the terminating zero).
pub(crate) const MAX_NAME: usize = 15;

/// Checks that `name` can name an interface and needs no quoting in a rule, a command or a file.
///
/// # Errors
/// [`InterfaceNameError`] for an empty or too long name, for `.` and `..`, for a leading `-` and
/// for characters outside letters, digits and `. _ - @ + =`.
pub fn check_interface_name(name: &str) -> Result<(), InterfaceNameError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@+=".contains(&byte);
    let usable = (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(plain)
        && name != "."
        && name != ".."
        && !name.starts_with('-');
    if usable {
        Ok(())
    } else {
        Err(InterfaceNameError {
            name: name.escape_debug().to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::check_interface_name;

    #[test]
    fn names_that_linux_gives_are_usable() {
        for name in [
            "qdt0",
            "eth0",
            "enp0s31f6",
            "wlan0.12",
            "veth1@x",
            "br-lan",
            "a23456789012345",
        ] {
            assert_eq!(check_interface_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn names_that_could_mean_something_else_are_refused() {
        for name in [
            "",
            ".",
            "..",
            "-x",
            "a b",
            "a/b",
            "a\"b",
            "q*",
            "a\nb",
            "a;b",
            "{",
            "a234567890123456",
        ] {
            assert!(check_interface_name(name).is_err(), "{name:?}");
        }
    }
}
