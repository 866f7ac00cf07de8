//! What the media plane reports, and what of it members are told. Part of `edge::hub`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::farewell::Farewell;
use super::member::{Link, Media, Member};
use super::speakers;
use super::timers::Wake;
use super::{Hub, Output, TrackPlace};
use crate::edge::media::{CloseReason, Command, Event, Quality, StreamState};
use crate::edge::message::{LeaveAction, LeaveReason, PeerQuality, QualityKind, ServerMessage, StreamReason, StreamStateKind};
use crate::id::{MemberId, RoomId, ShardId, TrackId};
use crate::policy::speaker::Reading;
use crate::rtp::{Layer, LayerSet};

/// How often quality is told.
const QUALITY_INTERVAL: Duration = Duration::from_secs(3);

impl Hub {
    pub(super) fn media_event(&mut self, event: Event) {
        match event {
            Event::Connected { member } | Event::IceUp { member } => self.media_is(member, Media::Up),
            Event::IceDown { member } => self.media_is(member, Media::Down(self.now)),
            Event::Closed { member, why } => self.media_closed(member, why),
            Event::LayersWanted { track, layers } => self.layers_wanted(track, layers),
            Event::StreamState { member, slot: _, track, state } => self.stream_state(member, track, state),
            Event::Levels { levels } => self.levels(&levels),
            Event::Voices { shard, room, tracks } => self.voices(shard, &room, tracks),
            Event::Quality { member, quality } => {
                if let Some(member) = self.members.get_mut(&member) {
                    member.quality = Some(quality);
                    self.timers.arm(Wake::Quality(member.room.clone()), self.now + QUALITY_INTERVAL);
                }
            }
            Event::Data { member, label, binary, payload } => self.relay(member, &label, binary, &payload),
            Event::Room { from, room, body } => self.room_message(&from, &room, &body),
            Event::Cluster { view } => self.cluster(view),
            Event::Path { track, nodes } => self.path(track, nodes),
        }
    }

    fn media_is(&mut self, id: MemberId, media: Media) {
        let Some(member) = self.members.get_mut(&id) else { return };
        member.media = media;
        self.timers.arm(Wake::Quality(member.room.clone()), self.now + QUALITY_INTERVAL);
        self.reckon_end(id);
    }

    /// A transport does not come back: its keys are gone. A client that still has its socket joins anew, which is one way for
    /// every such case; one without is gone.
    fn media_closed(&mut self, id: MemberId, why: CloseReason) {
        let reason = match why {
            CloseReason::PeerClosed => LeaveReason::Left,
            CloseReason::ConsentLost
            | CloseReason::HandshakeFailed
            | CloseReason::WrongFingerprint
            | CloseReason::NeverConnected => LeaveReason::TimedOut,
        };
        let text = match why {
            CloseReason::PeerClosed => "the media connection was closed by the client",
            CloseReason::ConsentLost => "the media connection was silent for too long",
            CloseReason::HandshakeFailed => "the media connection's handshake failed",
            CloseReason::WrongFingerprint => "the media connection's certificate is not the one of the offer",
            CloseReason::NeverConnected => "the media connection never came up; is UDP blocked on the way?",
        };
        let farewell = Farewell::told(reason, LeaveAction::Reconnect, text.into());
        self.end(id, farewell.media_gone());
    }

    fn layers_wanted(&mut self, id: TrackId, layers: LayerSet) {
        let Some(place) = self.tracks.get(&id) else { return };
        let Some(member) = self.members.get_mut(&place.owner) else { return };
        let Some(track) = self.rooms.get_mut(&member.room).and_then(|room| room.track_mut(id)) else { return };
        let rid = |layer: Layer| track.layers.get(usize::from(layer.0)).map(|info| info.rid.as_deref().unwrap_or_default());
        let active: Vec<String> = layers.iter().filter_map(rid).map(str::to_owned).collect();
        if track.active.as_ref() != Some(&active) {
            track.active = Some(active.clone());
            member.tell(ServerMessage::Layers { track: id, active }, &mut self.out);
        }
    }

    fn stream_state(&mut self, id: MemberId, track: TrackId, state: StreamState) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let Some(found) = self.rooms.get(&member.room).and_then(|room| room.track(track)) else { return };
        let (state, rid, reason) = match state {
            StreamState::Forwarding { layer, short } => {
                let rid = found.layers.get(usize::from(layer.0)).and_then(|info| info.rid.as_deref());
                (StreamStateKind::Active, rid.map(str::to_owned), short)
            }
            StreamState::Paused(reason) => (StreamStateKind::Paused, None, Some(reason)),
        };
        let reason = reason.map(StreamReason::from);
        member.tell(ServerMessage::StreamState { track, state, rid, reason }, &mut self.out);
    }

    fn levels(&mut self, levels: &[(TrackId, Reading)]) {
        for &(track, reading) in levels {
            let Some(TrackPlace { room, owner }) = self.tracks.get(&track) else { continue };
            let Some(room) = self.rooms.get_mut(room) else { continue };
            if room.track(track).is_some_and(|track| track.info.muted) {
                continue;
            }
            let urgent = room.speakers.heard(self.now, track, *owner, reading);
            let wake = Wake::Speakers(room.id.clone());
            match room.speakers_decided {
                Some(at) if !urgent => self.timers.arm(wake, self.now.max(at + speakers::INTERVAL)),
                _ => self.timers.set(wake, self.now),
            }
        }
    }

    /// A shard passes on other microphones than before: its members need slots for them.
    fn voices(&mut self, shard: ShardId, id: &RoomId, tracks: Vec<TrackId>) {
        let Some(room) = self.rooms.get_mut(id).filter(|room| room.shards.contains_key(&shard)) else { return };
        for member in &room.members {
            let Some(member) = self.members.get(member).filter(|member| member.shard == shard && member.short_of_audio) else {
                continue;
            };
            if !tracks.iter().all(|&track| member.slots.carries(track)) {
                self.timers.set(Wake::Slots(member.id), self.now);
            }
        }
        room.voices.insert(shard, tracks);
    }

    pub(super) fn tell_speakers(&mut self, id: &RoomId) {
        let Some(room) = self.rooms.get_mut(id) else { return };
        room.speakers_decided = Some(self.now);
        let decided = room.speakers.decide(self.now);
        if room.speakers.restless() {
            self.timers.arm(Wake::Speakers(id.clone()), self.now + speakers::INTERVAL);
        }
        let Some(speakers) = decided else { return };
        // Who speaks has the better right to a slot, where there are too few.
        for member in &room.members {
            let chosen = |shard| room.voices.contains_key(&shard);
            if self.members.get(member).is_some_and(|member| member.short_of_audio && !chosen(member.shard)) {
                self.timers.arm(Wake::Slots(*member), self.now);
            }
        }
        self.tell_room_passing(id, None, ServerMessage::Speakers { speakers });
    }

    /// Tells everybody whose quality changed, each how it is itself, and a newcomer all of it.
    pub(super) fn tell_quality(&mut self, id: &RoomId) {
        let Some(room) = self.rooms.get_mut(id) else { return };
        let (mut all, mut changed) = (Vec::new(), Vec::new());
        for member in &room.members {
            let Some(member) = self.members.get_mut(member) else { continue };
            let Some(quality) = member.quality.filter(|_| !member.hidden()) else { continue };
            let rated = rate(member, quality);
            if member.quality_told != Some(rated.q) {
                member.quality_told = Some(rated.q);
                changed.push(rated.clone());
                if let Some(relay) = &mut self.relay {
                    member.quality_shared = Some(rated.clone());
                    relay.mark(id, member.id, LeaveReason::Left);
                }
            }
            all.push(rated);
        }
        let news = std::mem::take(&mut room.quality_news);
        for (_, _, card) in room.span.iter().flat_map(|span| span.elsewhere()) {
            let Some(quality) = card.quality.as_ref().filter(|_| !card.hidden) else { continue };
            // Another node's figures are its own; who they are of is not.
            let rated = sane(PeerQuality { pid: card.id, ..quality.clone() });
            if news.contains(&card.id) {
                changed.push(rated.clone());
            }
            all.push(rated);
        }
        let changed: Arc<[PeerQuality]> = changed.into();
        for id in &room.members {
            let Some(member) = self.members.get_mut(id) else { continue };
            if !matches!(member.link, Link::Online(_)) {
                continue;
            }
            let mut peers = if member.knows_quality { changed.to_vec() } else { all.clone() };
            member.knows_quality = true;
            if !peers.iter().any(|peer| peer.pid == *id) {
                peers.extend(all.iter().find(|peer| peer.pid == *id).cloned());
            }
            if !peers.is_empty() {
                member.tell_passing(ServerMessage::Quality { peers }, &mut self.out);
            }
        }
    }

    /// Passes a data channel message on to the room.
    fn relay(&mut self, from: MemberId, label: &Arc<str>, binary: bool, payload: &Bytes) {
        let limits = &self.config.limits;
        let Some(member) = self.members.get_mut(&from) else { return };
        let Some(room) = self.rooms.get(&member.room) else { return };
        let fits = payload.len() <= limits.data_bytes && label.len() <= limits.name_bytes;
        if !fits || !member.access.grants.data || !member.rates.data.take(self.now, 1.0) {
            self.counters.data_dropped += 1;
            return;
        }
        let room = room.id.clone();
        self.deliver(&room, from, label, binary, payload);
        self.pass_data(&room, from, label, binary, payload);
    }

    /// Gives a data channel message to the members here.
    pub(super) fn deliver(&mut self, room: &RoomId, from: MemberId, label: &Arc<str>, binary: bool, payload: &Bytes) {
        let Some(room) = self.rooms.get(room) else { return };
        for id in room.members.iter().filter(|id| **id != from) {
            let Some(member) = self.members.get(id) else { continue };
            if member.subscribes() && matches!(member.media, Media::Up) {
                let command = Command::Data { member: *id, label: label.clone(), binary, payload: payload.clone() };
                self.out.push(Output::Media { shard: member.shard, command });
                self.counters.data_relayed += 1;
            }
        }
    }
}

/// Figures as the formula below could give them.
fn sane(quality: PeerQuality) -> PeerQuality {
    // As below: `max` passes over what is not a number.
    let (score, loss) = (quality.score.max(1.0).clamp(1.0, 5.0), quality.loss.max(0.0).clamp(0.0, 1.0));
    PeerQuality { score, loss, ..quality }
}

/// A transport in the terms people know. The score follows ITU-T G.107's way from delay and loss to a mean opinion: nothing
/// under 160 ms one way hurts much, and each percent of loss does.
fn rate(member: &Member, quality: Quality) -> PeerQuality {
    // `max` passes over what is not a number, `clamp` does not.
    let loss = quality.loss_up.max(quality.loss_down).max(0.0).clamp(0.0, 1.0);
    let delay = f32::from(u16::try_from(quality.rtt_ms).unwrap_or(u16::MAX)) / 2.0;
    let impairment = delay * 0.024 + (delay - 160.0).max(0.0) * 0.11 + 30.0 * (15.0 * loss).ln_1p();
    let rating = (93.2 - impairment).clamp(0.0, 100.0);
    let opinion = 1.0 + 0.035 * rating + 7e-6 * rating * (rating - 60.0) * (100.0 - rating);
    // The best that the formula gives is 4.4; people expect five bars.
    let score = (1.0 + (opinion - 1.0) * 4.0 / 3.4).clamp(1.0, 5.0);
    let q = match score {
        _ if matches!(member.media, Media::Down(_)) => QualityKind::Lost,
        4.2.. => QualityKind::Excellent,
        3.2.. => QualityKind::Good,
        _ => QualityKind::Poor,
    };
    PeerQuality { pid: member.id, q, score: (score * 10.0).round() / 10.0, rtt_ms: quality.rtt_ms, loss }
}
