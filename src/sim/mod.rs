//! A cluster in virtual time: the production mesh and router on each node, a seeded network of delay, loss, reorder, cuts and deaths
//! between them, and members who come, watch and go. Owns the model and what must hold in it. Pure: equal seeds give equal
//! runs. `tests/sim.rs` runs it.
//!
//! ```text
//!   run (events in order of time) ──▶ node: Mesh + Router ──▶ frames, packets ──▶ net (delay, loss, cuts) ──▶ run
//!        ▲ acts: cut, kill, drain, watch …                              └──▶ check: what must hold
//! ```

mod check;
mod net;
mod node;
mod run;
mod world;

pub use check::{Checks, SERVED};
pub use net::{DETECTION, Weather};
pub use run::{Act, PACE, Sim};
pub use world::World;
