//! The guarded client against real TLS servers on loopback: what it takes, and what it refuses.

mod guard;
