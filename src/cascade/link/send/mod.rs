//! What leaves by a link, in which order, and what stays behind when there is not room for all. Owns the queues by class, the
//! streams that are open, and the decision to pause a flow until its next keyframe (to shed it). Bytes are handed over in
//! [`Action`]s for which the caller has room; it tells the room in [`Network`].
//!
//! Audio goes first and is never shed. Upgrades are shed before base layers, a whole flow at a time: a layer with holes is of
//! no use to anybody and takes the room all the same.

mod capacity;
mod flow;
mod queue;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rustc_hash::FxHashMap;

use super::rtp::MAX_PACKET;
use super::varint;
use crate::rtp::Kind;
use crate::rtp::sequence::newer32;
use flow::{Flow, Open, State};
use queue::{Item, Queue, Shape};

/// A frame of a base layer is worthless when it has waited this long; its flow is shed. Longer rides out worse moments and
/// shows them as delay.
pub const BASE_DEADLINE: Duration = Duration::from_millis(600);

/// The same for a higher layer. Shorter than the base's, so that a short crisis costs sharpness only.
pub const UPGRADE_DEADLINE: Duration = Duration::from_millis(300);

/// An audio packet that waited this long is left out; players have covered its place by then.
pub const AUDIO_DEADLINE: Duration = Duration::from_millis(400);

/// When less waits, the link is not short of capacity. More takes a short overload for loss.
const IDLE_QUEUE: Duration = Duration::from_millis(50);

/// While the link loses at least this share, each audio packet is sent again with the next one of its flow.
pub const REPEAT_FROM_LOSS: f32 = 0.005;

/// From this share, or when losses come in bursts, it is sent again a second time.
pub const REPEAT_TWICE_FROM_LOSS: f32 = 0.05;

/// Flows of one link. A packet of one more is not sent.
pub const MAX_FLOWS: usize = 16_384;

/// Frames that are being sent at once; one more waits. Within what a neighbour allows.
pub const MAX_OPEN: usize = 3_072;

/// Streams of a class that are remembered until their deadline; of more, the oldest is given up early.
pub const MAX_REMEMBERED: usize = 32_768;

/// How important a packet is to who gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    Audio,
    /// The smallest layer of a video track.
    Base,
    /// Any other layer.
    Upgrade,
}

impl Class {
    /// The most important first.
    const ALL: [Self; 3] = [Self::Audio, Self::Base, Self::Upgrade];

    /// Of a layer's flow.
    pub const fn of(kind: Kind, base: bool) -> Self {
        match kind {
            Kind::Audio => Self::Audio,
            Kind::Video if base => Self::Base,
            Kind::Video => Self::Upgrade,
        }
    }

    /// How long a packet may wait.
    const fn deadline(self) -> Duration {
        match self {
            Self::Audio => AUDIO_DEADLINE,
            Self::Base => BASE_DEADLINE,
            Self::Upgrade => UPGRADE_DEADLINE,
        }
    }

    /// Of its streams; higher goes first. The control stream is above all.
    pub const fn priority(self) -> i32 {
        match self {
            Self::Audio => 2,
            Self::Base => 1,
            Self::Upgrade => 0,
        }
    }
}

/// A packet to send. `head` and `payload` together are the RTP packet.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'p> {
    pub flow: u32,
    pub class: Class,
    /// Names the numbering; a frame does not go on in another.
    pub stream: u32,
    pub timestamp: u32,
    /// The first packet of a keyframe: a shed flow may go on here.
    pub starts_keyframe: bool,
    /// The last packet of a frame.
    pub marker: bool,
    pub head: &'p [u8],
    pub payload: &'p [u8],
}

/// What the transport can take, as of now.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// Bytes per second that the congestion controller would send.
    pub rate: u64,
    /// Bytes that may be handed over now without waiting in the transport.
    pub budget: u64,
    /// Bytes of datagrams that the transport takes now without dropping older ones.
    pub datagram_space: usize,
    /// The longest datagram; 0 if there are none.
    pub datagram_max: usize,
    /// Share of packets lost lately.
    pub loss: f32,
    /// Whether losses come several in a row.
    pub bursts: bool,
    pub rtt: Duration,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            rate: 1_250_000,
            budget: 0,
            datagram_space: 0,
            datagram_max: 1_200,
            loss: 0.0,
            bursts: false,
            rtt: Duration::from_millis(50),
        }
    }
}

/// A stream of ours, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u64);

/// What the transport is to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Datagram(Bytes),
    Open {
        key: Key,
        priority: i32,
    },
    Write {
        key: Key,
        bytes: Bytes,
    },
    Finish {
        key: Key,
    },
    /// Give up what was not acknowledged yet. If anything was, tell [`Sender::gave_up`].
    Reset {
        key: Key,
        flow: u32,
    },
}

/// What the owner of the tracks must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The flow pauses until a keyframe.
    Shed { flow: u32 },
    /// There would be room again for a flow that is shed.
    KeyframeWanted { flow: u32 },
}

/// Since the link is up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Media packets handed over, repetitions not counted.
    pub packets: u64,
    /// Media packets that were not sent.
    pub shed: u64,
    /// Audio packets sent again.
    pub repeated: u64,
}

/// The sending side of a link.
#[derive(Debug, Default)]
pub struct Sender {
    network: Network,
    flows: FxHashMap<u32, Flow>,
    audio: Queue,
    base: Queue,
    upgrade: Queue,
    /// Streams that were opened and may still have to be given up, by class; oldest and lowest key first.
    open: [VecDeque<Open>; 3],
    /// How many of them are not finished.
    unfinished: usize,
    /// To do before anything else.
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
    /// Where packets are put together; parts of it are handed over.
    arena: BytesMut,
    next_key: u64,
    /// When to see next whether a shed flow fits again.
    review: Option<Instant>,
    counters: Counters,
}

/// Packets are put together in pieces of this size, so that not each needs its own allocation.
const ARENA: usize = 64 << 10;

impl Sender {
    /// Takes in a packet. It leaves, or is counted as shed, through [`Sender::next_action`].
    pub fn push(&mut self, now: Instant, packet: &Outgoing<'_>) {
        let length = packet.head.len() + packet.payload.len();
        if length > MAX_PACKET || (self.flows.len() >= MAX_FLOWS && !self.flows.contains_key(&packet.flow)) {
            self.counters.shed += 1;
            return;
        }
        if self.flows.get(&packet.flow).is_some_and(|flow| flow.class != packet.class) {
            // Its queue is another now; what is in the old one would come out of order.
            self.end_flow(packet.flow);
        }
        let flow = self.flows.entry(packet.flow).or_insert_with(|| Flow::new(now, packet.class));
        flow.meter.add(now, length);
        match packet.class {
            Class::Audio => self.push_audio(now, packet),
            Class::Base | Class::Upgrade => self.push_video(now, packet),
        }
    }

    fn push_audio(&mut self, now: Instant, packet: &Outgoing<'_>) {
        let item = self.lone(now, packet);
        let dropped = self.audio.push(item);
        self.counters.shed += dropped;
    }

    fn push_video(&mut self, now: Instant, packet: &Outgoing<'_>) {
        if self.is_shed(packet.flow) && !(packet.starts_keyframe && self.resumes(now, packet.flow)) {
            self.counters.shed += 1;
            return;
        }
        let key = Key(self.next_key);
        let Some(flow) = self.flows.get_mut(&packet.flow) else { return };
        let place = flow.place(packet.stream, packet.timestamp, packet.marker, key);
        let item = match place {
            // It came late because it was lost once: it must not be lost for good now.
            flow::Place::Late => self.lone_stream(now, packet),
            flow::Place::First { ended } => {
                self.next_key += 1;
                if let Some(ended) = ended {
                    self.end_frame(now, packet.flow, packet.class, ended);
                }
                let bytes = self.compose(Some(packet.flow.into()), true, packet);
                Item { flow: packet.flow, at: now, bytes, shape: Shape::First { key, last: packet.marker } }
            }
            flow::Place::Next { key } => {
                let bytes = self.compose(None, true, packet);
                Item { flow: packet.flow, at: now, bytes, shape: Shape::Next { key, last: packet.marker } }
            }
        };
        if !self.queue(packet.class).has_room(item.bytes.len()) {
            // Bounded, whatever happens: the flow that fills it goes.
            self.shed(now, packet.flow);
            self.counters.shed += 1;
            return;
        }
        self.queue(packet.class).push(item);
    }

    /// The next frame began before the marker of this one came: nothing follows on its stream.
    fn end_frame(&mut self, now: Instant, flow: u32, class: Class, key: Key) {
        if self.queue(class).holds(flow) {
            let item = Item { flow, at: now, bytes: Bytes::new(), shape: Shape::End { key } };
            self.queue(class).push(item);
        } else {
            self.finished(key);
            self.actions.push_back(Action::Finish { key });
        }
    }

    /// A packet by itself: a datagram, or a stream of its own if it is too long for one.
    fn lone(&mut self, now: Instant, packet: &Outgoing<'_>) -> Item {
        let length = 9 + packet.head.len() + packet.payload.len();
        if length > self.network.datagram_max {
            return self.lone_stream(now, packet);
        }
        let bytes = self.compose(Some(packet.flow.into()), false, packet);
        Item { flow: packet.flow, at: now, bytes, shape: Shape::Datagram }
    }

    fn lone_stream(&mut self, now: Instant, packet: &Outgoing<'_>) -> Item {
        let key = Key(self.next_key);
        self.next_key += 1;
        let bytes = self.compose(Some(packet.flow.into()), true, packet);
        Item { flow: packet.flow, at: now, bytes, shape: Shape::First { key, last: true } }
    }

    /// `flow`, the packet's length, the packet: what of it the place asks for.
    fn compose(&mut self, flow: Option<u64>, length: bool, packet: &Outgoing<'_>) -> Bytes {
        let size = packet.head.len() + packet.payload.len();
        let mut front = Vec::with_capacity(16);
        if let Some(flow) = flow {
            varint::write(&mut front, flow);
        }
        if length {
            varint::write(&mut front, size as u64);
        }
        if self.arena.capacity() < front.len() + size {
            self.arena.reserve(ARENA);
        }
        self.arena.extend_from_slice(&front);
        self.arena.extend_from_slice(packet.head);
        self.arena.extend_from_slice(packet.payload);
        self.arena.split().freeze()
    }

    /// What the transport can take now. Flows that do not fit are shed here, and those that would fit again asked for.
    pub fn update(&mut self, now: Instant, network: Network) {
        self.network = network;
        self.expire(now);
        self.shed_what_does_not_fit(now);
        if self.review.is_some_and(|at| at <= now) {
            self.review_shed(now);
        }
    }

    /// The next thing to do, if there is room for it.
    pub fn next_action(&mut self) -> Option<Action> {
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        self.next_of(Class::Audio).or_else(|| self.next_of(Class::Base)).or_else(|| self.next_of(Class::Upgrade))
    }

    fn next_of(&mut self, class: Class) -> Option<Action> {
        let unfinished = self.unfinished;
        let network = self.network;
        let item = self.queue(class).front()?;
        let fits = match item.shape {
            Shape::Datagram => item.bytes.len() <= network.datagram_space && (class == Class::Audio || network.budget > 0),
            Shape::First { .. } => unfinished < MAX_OPEN && (class == Class::Audio || network.budget > 0),
            Shape::Next { .. } | Shape::End { .. } => network.budget > 0,
        };
        let item = if fits { self.queue(class).pop()? } else { return None };
        self.network.budget = network.budget.saturating_sub(item.bytes.len() as u64);
        self.counters.packets += u64::from(!matches!(item.shape, Shape::End { .. }));
        let flow = item.flow;
        match item.shape {
            Shape::Datagram => {
                self.network.datagram_space -= item.bytes.len();
                if class == Class::Audio {
                    self.repeat(flow, &item.bytes);
                }
                Some(Action::Datagram(item.bytes))
            }
            Shape::First { key, last } => {
                self.opened(Open { key, flow, at: item.at, finished: false }, class);
                self.actions.push_back(Action::Write { key, bytes: item.bytes });
                self.end_if(last, key);
                Some(Action::Open { key, priority: class.priority() })
            }
            Shape::Next { key, last } => {
                self.end_if(last, key);
                Some(Action::Write { key, bytes: item.bytes })
            }
            Shape::End { key } => {
                self.finished(key);
                Some(Action::Finish { key })
            }
        }
    }

    fn end_if(&mut self, last: bool, key: Key) {
        if last {
            self.finished(key);
            self.actions.push_back(Action::Finish { key });
        }
    }

    fn opened(&mut self, open: Open, class: Class) {
        let remembered = self.open_of(class);
        remembered.push_back(open);
        let forgotten = if remembered.len() > MAX_REMEMBERED { remembered.pop_front() } else { None };
        self.unfinished += 1;
        if let Some(oldest) = forgotten {
            self.unfinished -= usize::from(!oldest.finished);
            self.actions.push_back(Action::Reset { key: oldest.key, flow: oldest.flow });
        }
    }

    const fn open_of(&mut self, class: Class) -> &mut VecDeque<Open> {
        let [audio, base, upgrade] = &mut self.open;
        match class {
            Class::Audio => audio,
            Class::Base => base,
            Class::Upgrade => upgrade,
        }
    }

    fn finished(&mut self, key: Key) {
        for open in &mut self.open {
            let at = open.binary_search_by_key(&key, |open| open.key);
            if let Some(open) = at.ok().and_then(|at| open.get_mut(at)).filter(|open| !open.finished) {
                open.finished = true;
                self.unfinished -= 1;
            }
        }
    }

    /// Sends the flow's last packets again behind this one, while the link loses.
    fn repeat(&mut self, flow: u32, datagram: &Bytes) {
        let times = match self.network.loss {
            loss if loss < REPEAT_FROM_LOSS => 0,
            loss if loss >= REPEAT_TWICE_FROM_LOSS || self.network.bursts => 2,
            _ => 1,
        };
        let Some(state) = self.flows.get_mut(&flow) else { return };
        for earlier in state.sent.iter().flatten().take(times) {
            if let Some(space) = self.network.datagram_space.checked_sub(earlier.len()) {
                self.network.datagram_space = space;
                self.network.budget = self.network.budget.saturating_sub(earlier.len() as u64);
                self.counters.repeated += 1;
                self.actions.push_back(Action::Datagram(earlier.clone()));
            }
        }
        let [last, _] = &mut state.sent;
        let last = last.replace(datagram.clone());
        let [_, before] = &mut state.sent;
        *before = last;
    }

    /// What happened that the tracks' owner must know.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// A reset came before everything was acknowledged: the frame has a hole, and what follows is worthless. Where nothing
    /// waits, that was loss and no lack of capacity, and the flow goes on with the next keyframe, at once.
    pub fn gave_up(&mut self, now: Instant, flow: u32) {
        self.shed(now, flow);
        if self.queue_delay() > IDLE_QUEUE {
            return;
        }
        if let Some(Flow { state: State::Shed { until, asked }, .. }) = self.flows.get_mut(&flow) {
            (*until, *asked) = (now, Some(now));
            // The neighbour need not look for a smaller layer.
            self.events.retain(|event| *event != Event::Shed { flow });
            self.events.push_back(Event::KeyframeWanted { flow });
        }
    }

    /// The flow's id means nothing to the neighbour any more.
    pub fn end_flow(&mut self, flow: u32) {
        if self.flows.remove(&flow).is_some() {
            for class in Class::ALL {
                self.queue(class).purge(flow);
            }
            self.reset_open(flow);
        }
    }

    /// Gives up the streams of a flow that are not finished.
    fn reset_open(&mut self, flow: u32) {
        let (actions, unfinished) = (&mut self.actions, &mut self.unfinished);
        for open in &mut self.open {
            open.retain(|open| {
                let goes = open.flow == flow && !open.finished;
                if goes {
                    *unfinished -= 1;
                    actions.push_back(Action::Reset { key: open.key, flow });
                }
                !goes
            });
        }
    }

    const fn queue(&mut self, class: Class) -> &mut Queue {
        match class {
            Class::Audio => &mut self.audio,
            Class::Base => &mut self.base,
            Class::Upgrade => &mut self.upgrade,
        }
    }

    fn is_shed(&self, flow: u32) -> bool {
        self.flows.get(&flow).is_some_and(|flow| matches!(flow.state, State::Shed { .. }))
    }

    /// Whether anything waits for room.
    pub fn is_waiting(&self) -> bool {
        !(self.audio.is_empty() && self.base.is_empty() && self.upgrade.is_empty() && self.actions.is_empty())
    }

    /// How long a packet that is pushed now would wait, at the present rate.
    pub fn queue_delay(&self) -> Duration {
        self.delay_of(self.audio.bytes() + self.base.bytes() + self.upgrade.bytes())
    }

    /// What all flows bring, those that are shed too, in bytes per second.
    pub fn demand(&self, now: Instant) -> u64 {
        self.flows.values().map(|flow| flow.meter.rate(now)).sum()
    }

    /// Flows that are paused now.
    pub fn shed_flows(&self) -> u32 {
        self.flows.values().filter(|flow| matches!(flow.state, State::Shed { .. })).count() as u32
    }

    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// When [`Sender::update`] has something to do, whatever the network does.
    pub fn deadline(&self) -> Option<Instant> {
        let waiting = [&self.audio, &self.base, &self.upgrade].into_iter().zip(Class::ALL);
        let queued = waiting.filter_map(|(queue, class)| Some(queue.oldest()? + class.deadline()));
        let open = self.open.iter().zip(Class::ALL);
        let open = open.filter_map(|(open, class)| Some(open.front()?.at + class.deadline() + self.network.rtt));
        queued.chain(open).chain(self.review).min()
    }
}

/// Whether `timestamp` of the same numbering begins a frame after `than`.
fn begins_after(timestamp: u32, than: u32) -> bool {
    newer32(timestamp, than)
}
