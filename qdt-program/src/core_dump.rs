//! Prevention of core dumps, which would hold the token, session keys and packets of clients.

use rustix::process::{Resource, Rlimit, setrlimit};

/// Disables core dumps of this process and its children.
///
/// One byte is the limit that stops both kinds: no file can be that short, and a collector behind a
/// pipe, which a limit of zero does not stop, is not started for it (core(5)). Lowering a limit
/// needs no privilege.
pub fn forbid_core_dumps() {
    let one_byte = Rlimit {
        current: Some(1),
        maximum: Some(1),
    };
    // Where the limit is below that already, raising it is refused, and files stay forbidden.
    let _ = setrlimit(Resource::Core, one_byte);
}
