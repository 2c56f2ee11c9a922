//! What the operating system gives a tunnel: TUN, addresses, routes, firewall, DNS.
