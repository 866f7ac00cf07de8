//! What a node knows of the others and what it does about it: who is reachable, which way each track comes, who gets it from
//! here. Owns link states, subscriptions and the mapping of flows to tracks; the packets' way inside the node is the router's,
//! the bytes on a link are `cascade::link`'s. Pure: `shard::cascade` drives one, the simulator hundreds.

mod event;

pub use event::{Input, Outflow, Output};
