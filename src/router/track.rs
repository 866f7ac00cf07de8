//! A track and its layers, as a router keeps them: history, clock, who is served, who wants what. Owns that bookkeeping;
//! the decisions are `policy`'s, the packet walk is `router::forward`'s.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;

use super::audio::Voice;
use super::egress::EgressKey;
use super::event::{Branch, NewTrack, Upstream};
use super::meter::Meter;
use crate::id::TrackId;
use crate::policy::keyframe;
use crate::policy::layers::{Encoding, Reason, Rung, ladder};
use crate::rtp::clock::SenderClock;
use crate::rtp::dependency::Structure;
use crate::rtp::history::{History, Limits};
use crate::rtp::{Cut, Kind, Layer, LayerInfo, LayerSet, Packet};
use crate::units::{Bitrate, PixelHeight};

/// A layer without a packet for this long does not flow. Shorter switches away from a stalled layer sooner; longer forgives a
/// screen share of one frame a second.
const IDLE: Duration = Duration::from_millis(1_500);

/// How long a layer nobody wants any more is still asked for. Shorter saves the publisher's uplink; longer spares its encoders:
/// Chromium starts all of them anew, with a keyframe each, when one is switched.
const LINGER: Duration = Duration::from_secs(5);

/// What is kept of a video layer to answer losses from. Browsers give up within a second or so; less would freeze receivers with
/// long buffers, which ask for the same packet seconds later.
const KEPT_VIDEO: Limits = Limits { packets: 2_048, bytes: 2 << 20, age: Duration::from_secs(3) };

/// Audio is not sent again; a switch replays what overtook its first packet.
const KEPT_AUDIO: Limits = Limits { packets: 32, bytes: 16 << 10, age: Duration::from_millis(200) };

/// A layer that was not reported on for this long never will be: browsers report once a second. Longer keeps pictures from
/// jumping in time after a burst of loss; shorter spares keyframes that no switch can use.
const REPORT_PATIENCE: Duration = Duration::from_secs(4);

/// A layer that did not fit a link is not asked for again for this long at first, and twice as long each time after, up to the
/// second. Shorter finds sooner that it fits again; each try that fails may freeze the picture for a round trip.
const SHED_HOLD: (Duration, Duration) = (Duration::from_secs(8), Duration::from_secs(64));

/// A packet that receivers miss and that never came here is waited for this long before a keyframe is asked for. Shorter asks while
/// it may still come, from the publisher or over a link; longer has receivers wait, who give up after seconds only.
const HOLE: Duration = Duration::from_millis(400);

/// What a voice takes that was not measured yet, headers included.
const VOICE: Bitrate = Bitrate::kbps(64);

/// A picture without a packet for this long is told as one that does not come. Longer than for a switch away from it: a still
/// screen says little, and hiding it would hide all there is.
const NO_MEDIA: Duration = Duration::from_secs(5);

/// A layer that does not flow is reckoned to take at least this much of what its publisher said, in percent, however little the
/// others take of theirs. Lower tries more on thin paths, and gives more of it up again.
const LEAST_USED: u64 = 50;

/// The lowest layer's height where the publisher told none; each further one doubles it.
const ASSUMED_HEIGHT: u32 = 180;

/// One audio or video source of the room.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) id: TrackId,
    pub(super) kind: Kind,
    pub(super) upstream: Upstream,
    pub(super) muted: bool,
    /// A shared screen.
    pub(super) screen: bool,
    pub(super) layers: Vec<LayerState>,
    /// What can be sent of it, kept up by [`Track::survey`].
    pub(super) rungs: Vec<Rung>,
    /// Every egress bound to it, served or paused.
    pub(super) bound: Vec<EgressKey>,
    pub(super) voice: Voice,
    asked: Option<LayerSet>,
    shrink_at: Option<Instant>,
}

/// One encoding of a track.
#[derive(Debug)]
pub(super) struct LayerState {
    pub(super) info: LayerInfo,
    /// Names the numbering of the packets now held; another one when it restarts.
    pub(super) stream: u32,
    /// The numberings before: what is late of them is no restart.
    retired: [Option<u32>; 2],
    pub(super) history: History,
    pub(super) report: Option<SenderClock>,
    pub(super) need: keyframe::Need,
    pub(super) hole: Hole,
    /// Those that get its packets, or wait for its keyframe.
    pub(super) sinks: Vec<EgressKey>,
    pub(super) branches: Vec<Branch>,
    pub(super) last_packet: Option<Instant>,
    pub(super) flows: bool,
    /// When its numbering began.
    since: Option<Instant>,
    /// It did not fit a link on its way: until when it is not asked for, and for how long that was.
    shed: Option<(Instant, Duration)>,
    held_back: bool,
    meter: Meter,
    /// Of AV1.
    structure: Option<Box<Structure>>,
}

impl Track {
    pub(super) fn new(new: NewTrack, rng: &mut impl rand::Rng) -> Self {
        let audio = new.kind == Kind::Audio;
        let layers = new.layers.into_iter().take(Layer::MAX).map(|info| LayerState {
            info,
            stream: rng.random(),
            retired: [None; 2],
            history: History::new(if audio { KEPT_AUDIO } else { KEPT_VIDEO }),
            report: None,
            need: keyframe::Need::default(),
            hole: Hole::default(),
            sinks: Vec::new(),
            branches: Vec::new(),
            last_packet: None,
            flows: false,
            since: None,
            shed: None,
            held_back: false,
            meter: Meter::default(),
            structure: None,
        });
        let layers: Vec<LayerState> = layers.collect();
        // A publisher starts with every layer on; another router sends nothing unasked.
        let asked = match new.upstream {
            Upstream::Peer(_) => Some(LayerSet((1u8 << layers.len()).wrapping_sub(1))),
            Upstream::Pipe(_) | Upstream::Cascade => None,
        };
        let mut track = Self {
            id: new.id,
            kind: new.kind,
            upstream: new.upstream,
            muted: new.muted,
            screen: new.screen,
            layers,
            rungs: Vec::new(),
            bound: Vec::new(),
            voice: Voice::new(new.upstream),
            asked,
            shrink_at: None,
        };
        track.survey();
        track
    }

    pub(super) fn layer(&self, layer: Layer) -> Option<&LayerState> {
        self.layers.get(usize::from(layer.0))
    }

    pub(super) fn layer_mut(&mut self, layer: Layer) -> Option<&mut LayerState> {
        self.layers.get_mut(usize::from(layer.0))
    }

    /// Looks anew at what can be sent of it: after its layers began or stopped, and as they are measured.
    pub(super) fn survey(&mut self) {
        let single = self.layers.len() == 1;
        // What is easy to encode in one size is so in the others.
        let used = (0..).zip(&self.layers).filter_map(|(index, layer)| layer.used(index)).max();
        let used = used.map_or(100, |percent| percent.clamp(LEAST_USED, 100));
        let encoding = |(index, layer): (usize, &LayerState)| layer.encoding(index, single, used);
        let encodings: Vec<Encoding> = self.layers.iter().enumerate().map(encoding).collect();
        ladder(&encodings, self.screen, &mut self.rungs);
    }

    /// Why nothing comes of it, if nothing does that once did or should.
    pub(super) fn dark(&self, now: Instant) -> Option<Reason> {
        if self.layers.iter().any(|layer| layer.flows) {
            return None;
        }
        let newest = self.layers.iter().filter_map(|layer| layer.last_packet).max();
        let silent = newest.is_some_and(|newest| now.saturating_duration_since(newest) > NO_MEDIA);
        match () {
            () if self.layers.iter().any(|layer| layer.held_back) => Some(Reason::Link),
            () if self.muted => Some(Reason::Muted),
            () if silent => Some(Reason::NoMedia),
            () => None,
        }
    }

    /// What a voice takes of those that are passed on: measured while it sends, and what one usually takes for one that is silent
    /// and may speak.
    pub(super) fn audio_rate(&self) -> Bitrate {
        let measured = self.layers.first().filter(|layer| layer.flows).and_then(|layer| layer.meter.whole());
        if self.muted || !self.voice.is_heard() { Bitrate(0) } else { measured.unwrap_or(VOICE) }
    }

    /// A layer's height: as told, else assumed.
    pub(super) fn height_of(&self, layer: Layer) -> PixelHeight {
        let index = usize::from(layer.0);
        self.layer(layer).map_or_else(|| assumed_height(index), |layer| layer.height(index))
    }

    /// How many frames a second a rung has, once that was measured.
    pub(super) fn frames_of(&self, rung: &Rung) -> Option<u32> {
        let measured = self.layer(rung.layer)?.meter.measured()?;
        measured.frames.get(usize::from(rung.cut.temporal)).copied()
    }

    /// Which layers the branches want.
    pub(super) fn branch_interest(&self) -> LayerSet {
        let wanted = self.layers.iter().enumerate().filter(|(_, layer)| !layer.branches.is_empty());
        wanted.fold(LayerSet::EMPTY, |set, (index, _)| set.with(Layer(index as u8)))
    }

    /// What to tell the upstream when `wanted` is wanted now: more at once, less after a while. `None` while it knows.
    pub(super) fn ask_for(&mut self, now: Instant, wanted: LayerSet) -> Option<LayerSet> {
        let Some(asked) = self.asked else {
            self.asked = Some(wanted);
            return Some(wanted);
        };
        if wanted == asked {
            self.shrink_at = None;
            return None;
        }
        let shrink_at = *self.shrink_at.get_or_insert(now + LINGER);
        let told = if now >= shrink_at { wanted } else { asked.union(wanted) };
        if told == wanted {
            self.shrink_at = None;
        }
        (self.asked.replace(told) != Some(told)).then_some(told)
    }

    /// What the upstream was told last.
    pub(super) fn asked(&self) -> Option<LayerSet> {
        self.asked
    }
}

impl LayerState {
    /// Counts a packet in; true when the layer did not flow before.
    pub(super) fn record(&mut self, now: Instant, packet: &Packet) -> bool {
        self.last_packet = Some(now);
        self.since.get_or_insert(now);
        self.meter.record(now, packet);
        !std::mem::replace(&mut self.flows, true)
    }

    /// Completes what a packet says of its frame by what the stream's last keyframe said of all. One that is shared has been
    /// completed already, by the router that it comes from.
    pub(super) fn describe(&mut self, packet: &mut Arc<Packet>) {
        let (Some(descriptor), Some(packet)) = (packet.ext.dependency.clone(), Arc::get_mut(packet)) else { return };
        if packet.frame.starts_keyframe
            && let Some(structure) = Structure::read(&descriptor)
        {
            self.structure = Some(Box::new(structure));
        }
        if let Some(structure) = &self.structure {
            structure.describe(&descriptor, &mut packet.frame);
        }
    }

    /// True when it stopped flowing since the last call.
    pub(super) fn went_idle(&mut self, now: Instant) -> bool {
        let idle = self.last_packet.is_none_or(|last| now.saturating_duration_since(last) > IDLE);
        idle && std::mem::replace(&mut self.flows, false)
    }

    /// It does not fit a link on its way.
    pub(super) fn shed(&mut self, now: Instant) {
        let hold = match self.shed {
            // Told again while it is known already.
            Some((until, _)) if now < until => return,
            // It came back and did not last.
            Some((until, hold)) if now < until + hold * 2 => (hold * 2).min(SHED_HOLD.1),
            _ => SHED_HOLD.0,
        };
        self.shed = Some((now + hold, hold));
        self.held_back = true;
        self.flows = false;
    }

    /// True when it may be asked for again, once.
    pub(super) fn may_return(&mut self, now: Instant) -> bool {
        self.shed.is_some_and(|(until, _)| now >= until) && std::mem::replace(&mut self.held_back, false)
    }

    /// Another numbering begins.
    pub(super) fn restart(&mut self, stream: u32) {
        let [newest, _] = self.retired;
        self.retired = [Some(self.stream), newest];
        self.stream = stream;
        self.history.clear();
        self.report = None;
        self.since = None;
        self.meter = Meter::default();
        self.structure = None;
    }

    /// Whether a numbering is one that ended.
    pub(super) fn has_retired(&self, stream: u32) -> bool {
        self.retired.contains(&Some(stream))
    }

    /// Its sender had time enough to report on it and did not.
    pub(super) fn never_reports(&self, now: Instant) -> bool {
        let waited = |since| now.saturating_duration_since(since) > REPORT_PATIENCE;
        self.report.is_none() && self.since.is_some_and(waited)
    }

    fn height(&self, index: usize) -> PixelHeight {
        match self.info.height.0 {
            0 => assumed_height(index),
            _ => self.info.height,
        }
    }

    /// What its publisher said that it takes at most.
    fn declared(&self, index: usize) -> Bitrate {
        if self.info.max.0 > 0 { self.info.max } else { Bitrate(u64::from(self.height(index).0).pow(2) * 3) }
    }

    /// How much of that it takes while it flows, in percent.
    fn used(&self, index: usize) -> Option<u64> {
        let whole = self.meter.whole().filter(|_| self.flows)?;
        Some(whole.0.saturating_mul(100) / self.declared(index).0.max(1))
    }

    /// As the allocation policy sees it: what it takes is measured while it flows, else reckoned as `used` percent of what the
    /// publisher said.
    fn encoding(&self, index: usize, single: bool, used: u64) -> Encoding {
        let height = self.height(index);
        let declared = Bitrate(self.declared(index).0.saturating_mul(used) / 100);
        let whole = self.meter.whole().filter(|whole| whole.0 > 0);
        let (rates, frames, largest) = match (self.meter.measured(), whole) {
            (Some(measured), Some(_)) if self.flows => (measured.rates, measured.frames, measured.largest),
            (Some(measured), Some(whole)) => {
                // It will be cut as it was.
                let share = |rate: Bitrate| Bitrate((u128::from(declared.0) * u128::from(rate.0) / u128::from(whole.0)) as u64);
                (measured.rates.map(share), measured.frames, measured.largest)
            }
            _ => ([declared; Cut::COUNT], [0; Cut::LAYERS as usize], Cut::BASE),
        };
        Encoding { height, rates, frames, largest, active: single || self.flows, held: self.held_back }
    }
}

fn assumed_height(index: usize) -> PixelHeight {
    PixelHeight(ASSUMED_HEIGHT << index.min(Layer::MAX))
}

/// A packet that receivers ask for and that never came here.
#[derive(Debug, Default)]
pub(super) struct Hole(Option<(u64, Instant)>);

impl Hole {
    /// It is asked for; true once that has gone on for so long that it will not come any more.
    pub(super) fn is_missed(&mut self, now: Instant, seq: u64) -> bool {
        match self.0 {
            Some((known, since)) if known == seq => now.saturating_duration_since(since) >= HOLE,
            // Receivers ask for the oldest longest; one that nobody asks for any more makes room.
            Some((known, since)) if seq > known && now.saturating_duration_since(since) < HOLE * 4 => false,
            _ => {
                self.0 = Some((seq, now));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::event::PeerKey;

    fn track(layers: usize) -> Track {
        let new = NewTrack {
            id: TrackId(1),
            kind: Kind::Video,
            layers: vec![LayerInfo::default(); layers],
            muted: false,
            screen: false,
            upstream: Upstream::Peer(PeerKey(0)),
        };
        Track::new(new, &mut rand::rng())
    }

    #[test]
    fn more_is_asked_at_once_and_less_after_a_while() {
        let start = Instant::now();
        let (low, high) = (LayerSet::of(Layer(0)), LayerSet::of(Layer(2)));
        let mut track = track(3);
        track.asked = Some(low);
        assert_eq!(track.ask_for(start, high), Some(low.union(high)));
        assert_eq!(track.ask_for(start + LINGER / 2, high), None);
        assert_eq!(track.ask_for(start + LINGER, high), Some(high));
        assert_eq!(track.ask_for(start + LINGER, LayerSet::EMPTY), None);
        assert_eq!(track.ask_for(start + LINGER + LINGER / 2, high), None, "a wish that comes back is never told");
        assert_eq!(track.ask_for(start + LINGER * 3, high), None);
    }
}
