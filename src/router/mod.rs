//! The SFU as a state machine without IO.

mod view;

pub use view::{StreamState, ViewItem};
