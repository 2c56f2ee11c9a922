//! What proves the suite from outside: vectors, network lab, Go peer, attackers.
