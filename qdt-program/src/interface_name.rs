//! What the Linux kernel takes as the name of a network interface.

/// Whether the kernel accepts `name` (`dev_valid_name` in net/core/dev.c): 1 to 15 bytes, neither
/// `.` nor `..`, no slash, no colon, no white space.
pub fn is_interface_name(name: &str) -> bool {
    let forbidden = |c: char| c == '/' || c == ':' || c.is_whitespace() || c == '\0';
    !name.is_empty() && name.len() < 16 && name != "." && name != ".." && !name.contains(forbidden)
}
