//! What members publish: offers, the tracks in them, and their end. Part of `edge::hub`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::member::{Media, Member};
use super::room::{Room, RoomTrack};
use super::timers::Wake;
use super::{Hub, Refusal, TrackPlace};
use crate::edge::media::Command;
use crate::edge::message::{ErrorCode, Grants, MidBinding, PublishedLayer, PublishedTrack, ServerMessage, Track};
use crate::edge::negotiate::{Negotiated, OfferedTrack};
use crate::id::{MemberId, RoomId, TrackId};
use crate::rtp::{Kind, Layer, LayerInfo, Source};
use crate::units::{Bitrate, PixelHeight};

/// What an `offer` holds.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) neg: u32,
    pub(super) sdp: String,
    pub(super) tracks: Vec<PublishedTrack>,
    pub(super) ice_restart: bool,
}

impl Hub {
    /// Answers an offer: the member's shard learns the new plan, the others the new tracks.
    pub(super) fn offer(&mut self, id: MemberId, offer: Offer) -> Result<(), Refusal> {
        let Some(member) = self.members.get_mut(&id) else { return Ok(()) };
        if !member.rates.offers.take(self.now, 1.0) {
            return Err(Refusal::new(ErrorCode::RateLimited, "too many offers; gather changes into one"));
        }
        if member.last_neg.is_some_and(|last| offer.neg <= last) {
            return Err(Refusal::new(ErrorCode::Stale, format!("offer {} is older than the last one answered", offer.neg)));
        }
        let Some(member) = self.members.get(&id) else { return Ok(()) };
        self.check_offer(&member.access.grants, &offer)?;

        let Some(member) = self.members.get_mut(&id) else { return Ok(()) };
        let Some(room) = self.rooms.get(&member.room) else { return Ok(()) };
        let offered: Vec<OfferedTrack> = offer.tracks.iter().map(|track| offered(room, member, track, &mut self.rng)).collect();
        let negotiated = member
            .negotiator
            .answer(&offer.sdp, &offered, offer.ice_restart, &mut self.rng)
            .map_err(|error| Refusal::new(ErrorCode::BadSdp, error.to_string()))?;
        member.last_neg = Some(offer.neg);
        member.m_lines = count_lines(&negotiated.answer, "m=");
        if let Some(http) = &mut member.http {
            http.settled(&negotiated);
        }
        if member.media == Media::Idle {
            member.media = Media::Connecting;
        }
        let (room, shard) = (member.room.clone(), member.shard);

        // Tracks that the offer no longer has, or that could not be agreed on.
        let kept: BTreeSet<TrackId> = negotiated.layers.iter().map(|(track, _)| *track).collect();
        let gone: BTreeSet<TrackId> = member.tracks().difference(&kept).copied().collect();
        member.published.retain(|_, track| kept.contains(track));
        let added = self.add_tracks(id, &offer.tracks, &offered, &negotiated);
        self.withdraw(&room, id, &gone, true);
        self.command(shard, Command::Configure { member: id, plan: Box::new(negotiated.plan.clone()) });
        self.answer(id, offer.neg, &offered, &offer.tracks, negotiated);

        match added.is_empty() {
            // Slots for itself are nobody else's business: an audience may be large.
            true => self.timers.arm(Wake::Slots(id), self.now + Duration::from_millis(20)),
            false => self.deal_room(&room),
        }
        for track in added {
            self.tell_room(&room, Some(id), ServerMessage::TrackAdded { pid: id, track });
        }
        for track in &offer.tracks {
            if let Some(track_id) = self.members.get(&id).and_then(|member| member.published.get(&track.cid)).copied() {
                self.set_muted(&room, track_id, track.muted);
            }
        }
        self.mark(&room, id);
        Ok(())
    }

    /// Whether who has these grants may offer this at all.
    pub(super) fn check_offer(&self, grants: &Grants, offer: &Offer) -> Result<(), Refusal> {
        let limits = &self.config.limits;
        let too_many = |what: &str, most: usize| Err(Refusal::new(ErrorCode::TooMany, format!("{what}: {most} at most")));
        if offer.tracks.len() > limits.tracks {
            return too_many("published tracks", limits.tracks);
        }
        if count_lines(&offer.sdp, "m=") > limits.m_lines {
            return too_many("m-lines of an offer", limits.m_lines);
        }
        if count_lines(&offer.sdp, "a=candidate:") > limits.candidates {
            return too_many("candidates of an offer", limits.candidates);
        }
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        let mut mids = BTreeSet::new();
        for track in &offer.tracks {
            let layers = track.layers.iter().filter_map(|layer| layer.rid.as_deref());
            let texts = layers.chain([track.mid.as_str(), &track.cid]).chain(track.name.as_deref());
            if texts.into_iter().any(|text| text.len() > limits.name_bytes) {
                return Err(Refusal::new(ErrorCode::TooLarge, format!("a track's texts: {} bytes at most", limits.name_bytes)));
            }
            if track.layers.len() > Layer::MAX {
                return too_many("layers of a track", Layer::MAX);
            }
            if seen.insert(&track.cid, &track.mid).is_some() || !mids.insert(&track.mid) {
                return Err(Refusal::new(ErrorCode::BadMessage, "two tracks of the offer have the same cid or mid"));
            }
            let kind = match track.source {
                Source::Camera | Source::ScreenShare => Kind::Video,
                Source::Microphone | Source::ScreenShareAudio => Kind::Audio,
            };
            if kind != track.kind {
                return Err(Refusal::new(
                    ErrorCode::BadMessage,
                    format!("{:?} is not a source of {:?}", track.source, track.kind),
                ));
            }
            if !grants.publish || grants.hidden {
                return Err(Refusal::new(ErrorCode::Forbidden, "the token does not grant canPublish"));
            }
            if grants.sources.as_ref().is_some_and(|sources| !sources.contains(&track.source)) {
                let text = format!("the token's canPublishSources does not name {:?}", track.source);
                return Err(Refusal::new(ErrorCode::Forbidden, text));
            }
        }
        Ok(())
    }

    /// Enters the tracks that are new and lets every shard of the room know them; what others are told.
    fn add_tracks(
        &mut self,
        id: MemberId,
        said: &[PublishedTrack],
        offered: &[OfferedTrack],
        found: &Negotiated,
    ) -> Vec<Track> {
        let Some(member) = self.members.get_mut(&id) else { return Vec::new() };
        let Some(room) = self.rooms.get_mut(&member.room) else { return Vec::new() };
        let mut added = Vec::new();
        for (said, offered) in said.iter().zip(offered) {
            let Some((_, layers)) = found.layers.iter().find(|(track, _)| *track == offered.track) else { continue };
            if member.published.insert(said.cid.clone(), offered.track).is_some() {
                continue;
            }
            let info = Track {
                id: offered.track,
                kind: said.kind,
                source: said.source,
                name: said.name.as_deref().map(super::request::one_line),
                muted: said.muted,
                layers: layers.iter().map(published_layer).collect(),
            };
            self.tracks.insert(offered.track, TrackPlace { room: room.id.clone(), owner: id });
            let track = RoomTrack {
                info: info.clone(),
                owner: id,
                shard: member.shard,
                remote: None,
                layers: layers.clone(),
                active: None,
                path: Vec::new(),
            };
            for shard in room.told(self.config.cascade) {
                let command = Command::AddTrack { track: room.spec(&track, shard) };
                self.out.push(super::Output::Media { shard, command });
            }
            room.tracks.push(track);
            added.push(info);
        }
        added
    }

    /// Takes over the slots that were agreed on, deals them out and sends the answer, which says what each carries.
    fn answer(&mut self, id: MemberId, neg: u32, offered: &[OfferedTrack], said: &[PublishedTrack], found: Negotiated) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let shard = member.shard;
        for slot in member.slots.replace(&found.slots) {
            self.command(shard, Command::Bind { member: id, slot, track: None });
        }
        let changes = self.deal(id);
        let bound: Vec<TrackId> = changes.iter().filter_map(|change| change.track).collect();
        let Some(member) = self.members.get_mut(&id) else { return };
        let unseen = !changes.is_empty() && !member.options.adaptive;
        for change in changes {
            let command = Command::Bind { member: id, slot: change.slot, track: change.track };
            self.out.push(super::Output::Media { shard: member.shard, command });
        }
        let published = offered.iter().zip(said).map(|(offered, said)| MidBinding {
            mid: said.mid.clone(),
            track: found.layers.iter().any(|(track, _)| *track == offered.track).then_some(offered.track),
            cid: Some(said.cid.clone()),
        });
        let received = member.slots.bindings().map(|(_, mid, track)| MidBinding { mid: mid.to_owned(), track, cid: None });
        let mids = published.chain(received).collect();
        member.tell(ServerMessage::Answer { neg, sdp: found.answer, mids }, &mut self.out);
        for track in bound {
            self.tell_path(id, track);
        }
        if unseen {
            self.send_view(id);
        }
    }

    /// Takes tracks away from the room, every slot and every shard. `told`: the others are told of each; else they are told of
    /// the member's leaving.
    pub(super) fn withdraw(&mut self, room_id: &RoomId, owner: MemberId, gone: &BTreeSet<TrackId>, told: bool) {
        let Some(room) = self.rooms.get_mut(room_id) else { return };
        if gone.is_empty() {
            return;
        }
        room.tracks.retain(|track| !gone.contains(&track.info.id));
        for &track in gone {
            self.tracks.remove(&track);
            room.speakers.remove(track);
        }
        for other in &room.members {
            let Some(member) = self.members.get_mut(other) else { continue };
            for track in gone {
                member.wishes.remove(track);
                if let Some(change) = member.slots.unbind(*track) {
                    let command = Command::Bind { member: *other, slot: change.slot, track: None };
                    self.out.push(super::Output::Media { shard: member.shard, command });
                    member.tell(ServerMessage::Bind { mid: change.mid, track: None }, &mut self.out);
                }
            }
        }
        let shards = room.told(self.config.cascade);
        for &track in gone {
            if told {
                self.tell_room(room_id, Some(owner), ServerMessage::TrackRemoved { pid: owner, track });
            }
            for &shard in &shards {
                self.command(shard, Command::RemoveTrack { track });
            }
        }
        self.deal_room(room_id);
    }

    pub(super) fn unpublish(&mut self, id: MemberId, track: TrackId) -> Result<(), Refusal> {
        let Some(member) = self.members.get_mut(&id) else { return Ok(()) };
        if !member.published.values().any(|own| *own == track) {
            return Err(Refusal::new(ErrorCode::NotFound, "no track of yours has that id"));
        }
        member.published.retain(|_, own| *own != track);
        let room = member.room.clone();
        self.withdraw(&room, id, &BTreeSet::from([track]), true);
        self.mark(&room, id);
        Ok(())
    }

    pub(super) fn mute(&mut self, id: MemberId, track: TrackId, muted: bool) -> Result<(), Refusal> {
        let Some(member) = self.members.get_mut(&id) else { return Ok(()) };
        if !member.published.values().any(|own| *own == track) {
            return Err(Refusal::new(ErrorCode::NotFound, "no track of yours has that id"));
        }
        if !member.rates.updates.take(self.now, 1.0) {
            return Err(Refusal::new(ErrorCode::RateLimited, "too many changes; wait a second"));
        }
        let room = member.room.clone();
        self.set_muted(&room, track, muted);
        Ok(())
    }

    /// Mutes or unmutes a track for everybody, if it is not so already.
    pub(super) fn set_muted(&mut self, room_id: &RoomId, id: TrackId, muted: bool) {
        let Some(room) = self.rooms.get_mut(room_id) else { return };
        let Some(track) = room.track_mut(id) else { return };
        if track.info.muted == muted {
            return;
        }
        track.info.muted = muted;
        let (owner, local) = (track.owner, track.remote.is_none());
        if muted {
            room.speakers.silence(id);
        }
        let shards = room.told(self.config.cascade);
        for shard in shards {
            self.command(shard, Command::Mute { track: id, muted });
        }
        self.tell_room(room_id, Some(owner), ServerMessage::TrackMuted { pid: owner, track: id, muted });
        if local {
            self.mark(room_id, owner);
        }
        // A camera that is off is not what to look at.
        self.turn_viewers(room_id);
    }
}

/// The track as the negotiation takes it. A `cid` that is published keeps its id, unless it became another kind of track.
fn offered(room: &Room, member: &Member, said: &PublishedTrack, rng: &mut impl rand::Rng) -> OfferedTrack {
    let same =
        |id: &TrackId| room.track(*id).is_some_and(|track| track.info.kind == said.kind && track.info.source == said.source);
    let track = member.published.get(&said.cid).copied().filter(same).unwrap_or_else(|| TrackId::random(rng));
    OfferedTrack { mid: said.mid.clone(), track, kind: said.kind, layers: said.layers.iter().map(layer_info).collect() }
}

pub(super) fn layer_info(said: &PublishedLayer) -> LayerInfo {
    LayerInfo {
        rid: said.rid.as_deref().map(Into::into),
        width: said.w,
        height: PixelHeight(said.h),
        fps: said.fps,
        max: Bitrate(said.max_bps),
    }
}

fn published_layer(layer: &LayerInfo) -> PublishedLayer {
    PublishedLayer {
        rid: layer.rid.as_deref().map(str::to_owned),
        w: layer.width,
        h: layer.height.0,
        fps: layer.fps,
        max_bps: layer.max.0,
    }
}

fn count_lines(sdp: &str, start: &str) -> usize {
    sdp.lines().filter(|line| line.starts_with(start)).count()
}
