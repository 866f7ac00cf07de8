//! What the media plane reports, and what of it members are told. Part of `edge::hub`.

use std::sync::Arc;

use bytes::Bytes;

use super::farewell::Farewell;
use super::member::Media;
use super::timers::Wake;
use super::{Hub, Output, TrackPlace};
use super::{quality, speakers};
use crate::edge::media::{CloseReason, Command, Event, StreamState};
use crate::edge::message::{LeaveAction, LeaveReason, ServerMessage, StreamReason, StreamStateKind};
use crate::id::{MemberId, RoomId, ShardId, TrackId};
use crate::policy::speaker::Reading;
use crate::rtp::{Layer, LayerSet};

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
            Event::Quality { member, quality } => self.quality_of(member, quality),
            Event::Full { shard, full } => {
                if let Some(load) = self.loads.get_mut(usize::from(shard.0)) {
                    load.full = full;
                }
            }
            Event::Stats { member, stats } => self.stats_of(member, stats),
            Event::Data { member, label, binary, payload } => self.relay(member, &label, binary, &payload),
            Event::Room { from, room, body } => self.room_message(&from, &room, &body),
            Event::Cluster { view } => self.cluster(view),
            Event::Path { track, nodes } => self.path(track, nodes),
        }
    }

    fn media_is(&mut self, id: MemberId, media: Media) {
        let Some(member) = self.members.get_mut(&id) else { return };
        member.media = media;
        self.timers.arm(Wake::Quality(member.room.clone()), self.now + quality::INTERVAL);
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
        let before = room.speakers.dominant();
        let decided = room.speakers.decide(self.now);
        let turned = room.speakers.dominant() != before;
        if room.speakers.restless() {
            self.timers.arm(Wake::Speakers(id.clone()), self.now + speakers::INTERVAL);
        }
        if turned {
            self.turn_viewers(id);
        }
        let Some(speakers) = decided else { return };
        let Some(room) = self.rooms.get(id) else { return };
        // Who speaks has the better right to a slot, where there are too few.
        for member in &room.members {
            let chosen = |shard| room.voices.contains_key(&shard);
            if self.members.get(member).is_some_and(|member| member.short_of_audio && !chosen(member.shard)) {
                self.timers.arm(Wake::Slots(*member), self.now);
            }
        }
        self.tell_room_passing(id, None, ServerMessage::Speakers { speakers });
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
