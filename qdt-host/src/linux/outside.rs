//! [`Outside`] for Linux: `SO_MARK` and `SO_BINDTOIFINDEX` (socket(7)).

use std::{io, num::NonZeroU32};

use socket2::Socket;

use crate::Outside;

impl Outside {
    /// Makes packets of `socket` bypass the tunnel from now on.
    ///
    /// # Errors
    /// The kernel's error. A mark needs CAP_NET_ADMIN; index 0 is invalid.
    pub fn apply(self, socket: &Socket) -> io::Result<()> {
        match self {
            Self::Mark(mark) => socket.set_mark(mark),
            Self::Interface(index) => {
                let index = NonZeroU32::new(index).ok_or(io::ErrorKind::InvalidInput)?;
                socket.bind_device_by_index_v4(Some(index))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Type};

    #[test]
    fn a_socket_is_bound_to_the_interface_that_it_is_to_leave_by_in_either_family() {
        for domain in [Domain::IPV4, Domain::IPV6] {
            let socket = Socket::new(domain, Type::DGRAM, None).unwrap();
            Outside::Interface(1).apply(&socket).unwrap();
            assert_eq!(socket.device_index_v4().unwrap(), NonZeroU32::new(1));
            let error = Outside::Interface(0).apply(&socket).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
