//! RTP and RTCP as values: no socket, no clock, no async. Everything here is a pure function or a small state machine
//! that is told the time. `policy` and `router` build on it; the peers use it at the border.

pub mod codec;
pub mod packet;

pub use codec::{Codec, Kind, Layer, LayerInfo, LayerSet, Source};
pub use packet::{AudioLevel, Extensions, FrameInfo, Numbers, Packet};
