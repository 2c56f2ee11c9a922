//! No copy of the memory on disk: it holds the token, the keys of sessions and other people's packets.

use rustix::process::{Resource, Rlimit, setrlimit};

/// From now on a crash of this process and its children leaves no core dump.
///
/// One byte is the limit that stops both kinds: no file can be that short, and a collector behind a pipe,
/// which a limit of zero does not stop, is not started for it (core(5)). Lowering a limit needs no privilege.
pub fn forbid_core_dumps() {
    let one_byte = Rlimit {
        current: Some(1),
        maximum: Some(1),
    };
    // Where the limit is below that already, raising it is refused, and files stay forbidden.
    let _ = setrlimit(Resource::Core, one_byte);
}
