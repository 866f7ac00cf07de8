//! RTP and RTCP as values: no socket, no clock, no async. Everything here is a pure function or a small state machine
//! that is told the time. `policy` and `router` build on it; the peers use it at the border.

pub mod clock;
pub mod codec;
pub mod dependency;
pub mod descriptor;
pub mod extension;
pub mod header;
pub mod history;
mod nack;
pub mod packet;
pub mod receive;
pub mod red;
mod resend;
pub mod rewrite;
pub mod rtcp;
pub mod rtx;
pub mod scalable;
pub mod select;
pub mod sequence;
pub mod twcc;

pub use clock::{Epoch, NtpTime, RemoteClock, SenderClock};
pub use codec::{Codec, Kind, Layer, LayerInfo, LayerSet, Source};
pub use extension::{ExtensionIds, Hop, HopOut};
pub use header::{Header, Outgoing};
pub use history::History;
pub use packet::{AudioLevel, Extensions, FrameInfo, Numbers, OVERHEAD, Packet};
pub use receive::{ReceiveStream, Received, Via};
pub use rewrite::{Rewriter, Rewritten, Sent, Timestamping};
pub use scalable::{Cut, Cuts, Entry};
pub use select::Selector;
