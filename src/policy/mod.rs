//! Decisions, as plain data in and plain data out: which layer for whom, when to ask for a keyframe, who speaks and who is
//! heard, how good a call is, when a thread has too much to do. Pure: no state of the router is known here; the router asks and obeys. One file per decision.

pub mod bandwidth;
pub mod door;
pub mod keyframe;
pub mod layers;
pub mod loudest;
pub mod overload;
pub mod quality;
pub mod speaker;
