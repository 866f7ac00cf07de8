//! Whether a frame's lists, texts and numbers are within their limits. Asked of every frame that was decoded, so that nobody
//! behind it need ask again.

use super::{Frame, Hello, MAX_LIST, MAX_TEXT, NodeState, RoomMessage, Subscribe, TrackInfo};
use crate::cluster::NodeInfo;
use crate::id::{NodeId, is_name};
use crate::rtp::{Layer, LayerInfo};

/// The fastest RTP clock that is believed, in ticks per second.
const MAX_CLOCK_RATE: u32 = 1_000_000;

pub(super) fn hold(frame: &Frame) -> bool {
    match frame {
        Frame::Hello(hello) => is_hello(hello),
        Frame::State(state) => is_state(state),
        Frame::Subscribe(subscribe) => is_subscribe(subscribe),
        Frame::Subscribed { path, .. } => is_path(path),
        Frame::Keyframe { layer, .. } => is_layer(*layer),
        Frame::Report { report, .. } => (1..=MAX_CLOCK_RATE).contains(&report.rate),
        Frame::Room(message) => is_room_message(message),
        Frame::Goaway { reason } => reason.len() <= MAX_TEXT,
        Frame::Unsubscribe { .. }
        | Frame::Refused { .. }
        | Frame::Ping { .. }
        | Frame::Pong { .. }
        | Frame::Topology { .. }
        | Frame::Shed { .. } => true,
    }
}

/// A text that people write: not empty, not long, on one line.
fn is_text(text: &str) -> bool {
    (1..=MAX_TEXT).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn is_hello(hello: &Hello) -> bool {
    let (oldest, newest) = hello.versions;
    oldest <= newest && is_node(&hello.node)
}

fn is_node(node: &NodeInfo) -> bool {
    is_name(node.id.as_str())
        && is_name(node.region.as_str())
        && node.url.as_deref().is_none_or(is_text)
        && node.addr.as_deref().is_none_or(is_text)
}

fn is_state(state: &NodeState) -> bool {
    is_node(&state.node)
        && state.neighbours.len() <= MAX_LIST
        && state.neighbours.iter().all(|neighbour| is_name(neighbour.node.as_str()))
}

fn is_path(path: &[NodeId]) -> bool {
    path.len() <= MAX_LIST && path.iter().all(|node| is_name(node.as_str()))
}

fn is_layer(layer: Layer) -> bool {
    usize::from(layer.0) < Layer::MAX
}

fn is_track(track: &TrackInfo) -> bool {
    let is_layer = |layer: &LayerInfo| layer.rid.as_deref().is_none_or(is_text);
    is_text(track.room.as_str())
        && is_name(track.origin.as_str())
        && (1..=Layer::MAX).contains(&track.layers.len())
        && track.layers.iter().all(is_layer)
}

fn is_subscribe(subscribe: &Subscribe) -> bool {
    let layers = subscribe.track.layers.len();
    is_track(&subscribe.track)
        && subscribe.flows.len() == layers
        && u32::from(subscribe.layers.0) >> layers == 0
        && subscribe.have.len() <= Layer::MAX
        && subscribe.have.iter().all(|(layer, _, _)| usize::from(layer.0) < layers)
        && is_path(&subscribe.path)
}

fn is_room_message(message: &RoomMessage) -> bool {
    is_name(message.from.as_str()) && is_name(message.to.as_str()) && is_text(message.room.as_str())
}
