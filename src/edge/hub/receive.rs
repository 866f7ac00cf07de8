//! What members receive: which tracks get their slots, how many slots they need, what they show on screen. Part of
//! `edge::hub`.

use std::cmp::Reverse;
use std::time::Duration;

use super::limits::Limits;
use super::member::{Link, Member};
use super::room::Room;
use super::slots::{Change, Wanted};
use super::timers::Wake;
use super::{Hub, Output, Refusal};
use crate::edge::media::{self, Command};
use crate::edge::message::{ErrorCode, ServerMessage, ViewItem};
use crate::id::{MemberId, TrackId};
use crate::rtp::Kind;
use crate::units::{Bitrate, PixelHeight};

/// A view is passed on at most this often: one that scrolls changes with each frame.
const VIEW_INTERVAL: Duration = Duration::from_millis(100);

/// M-lines that are kept free for what a client sends: data, microphone, camera, screen.
const SENDING: usize = 4;

impl Hub {
    /// Deals a member's slots out anew, tells what changed, and asks for slots where some lack.
    pub(super) fn deal_slots(&mut self, id: MemberId) {
        let changes = self.deal(id);
        let Some(member) = self.members.get_mut(&id) else { return };
        let Some(room) = self.rooms.get(&member.room) else { return };
        let changed = !changes.is_empty();
        let bound: Vec<TrackId> = changes.iter().filter_map(|change| change.track).collect();
        for Change { slot, mid, track } in changes {
            let command = Command::Bind { member: id, slot, track };
            self.out.push(Output::Media { shard: member.shard, command });
            member.tell(ServerMessage::Bind { mid, track }, &mut self.out);
        }
        let lacks = if member.link == Link::Http { None } else { lacking(room, member, &self.config.limits) };
        if let Some((audio, video)) = lacks {
            member.asked = (audio, video);
            let count = |slots| u32::try_from(slots).unwrap_or(u32::MAX);
            let body = ServerMessage::NeedSlots { audio: count(audio), video: count(video) };
            member.tell(body, &mut self.out);
        }
        let unseen = changed && !member.options.adaptive;
        for track in bound {
            self.tell_path(id, track);
        }
        if unseen {
            self.send_view(id);
        }
    }

    /// Deals a member's slots out anew.
    pub(super) fn deal(&mut self, id: MemberId) -> Vec<Change> {
        if let Some(changes) = self.deal_viewer(id) {
            return changes;
        }
        let Some(member) = self.members.get_mut(&id) else { return Vec::new() };
        let Some(room) = self.rooms.get(&member.room) else { return Vec::new() };
        let mut wanted: Vec<Wanted> = wanted(room, member).collect();
        let count = |kind| wanted.iter().filter(|wish| wish.kind == kind).count();
        member.short_of_audio = count(Kind::Audio) > member.slots.count(Kind::Audio);
        if member.short_of_audio || count(Kind::Video) > member.slots.count(Kind::Video) {
            rank(room, member, &mut wanted);
        }
        member.slots.deal(&wanted)
    }

    pub(super) fn subscribe(&mut self, id: MemberId, tracks: &[TrackId], on: bool) -> Result<(), Refusal> {
        let Some(member) = self.members.get_mut(&id) else { return Ok(()) };
        let Some(room) = self.rooms.get(&member.room) else { return Ok(()) };
        if on && !member.subscribes() {
            return Err(Refusal::new(ErrorCode::Forbidden, "the token does not grant canSubscribe"));
        }
        listed(tracks.len(), &self.config.limits)?;
        let mut unknown = None;
        for &track in tracks {
            match room.track(track) {
                Some(found) if found.owner != id => {
                    member.wishes.insert(track, on);
                }
                _ => unknown = Some(track),
            }
        }
        self.timers.arm(Wake::Slots(id), self.now);
        match unknown {
            Some(track) => Err(Refusal::new(ErrorCode::NotFound, format!("no other member publishes {track}"))),
            None => Ok(()),
        }
    }

    pub(super) fn view(&mut self, id: MemberId, items: Vec<ViewItem>, limit: Option<Bitrate>) -> Result<(), Refusal> {
        let Some(member) = self.members.get_mut(&id) else { return Ok(()) };
        listed(items.len(), &self.config.limits)?;
        if !member.rates.views.take(self.now, 1.0) {
            return Err(Refusal::new(ErrorCode::RateLimited, "too many views; one per change of layout is enough"));
        }
        member.view = Some(items);
        if std::mem::replace(&mut member.limit, limit) != limit {
            let command = Command::Limit { member: id, rate: limit.unwrap_or(Bitrate(u64::MAX)) };
            self.out.push(Output::Media { shard: member.shard, command });
        }
        let at = member.view_sent.map_or(self.now, |sent| self.now.max(sent + VIEW_INTERVAL));
        self.timers.arm(Wake::View(id), at);
        Ok(())
    }

    /// Tells a member's shard what is on its screen: the latest view, or everything at its largest.
    pub(super) fn send_view(&mut self, id: MemberId) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let Some(room) = self.rooms.get(&member.room) else { return };
        member.view_sent = Some(self.now);
        let items = if let Some(items) = member.viewed() {
            items
        } else if member.options.adaptive {
            let Some(view) = &mut member.view else { return };
            // A view names tracks of others; what has ended since is not kept.
            view.retain(|item| room.track(item.track).is_some());
            let item = |item: &ViewItem| media::ViewItem {
                track: item.track,
                height: PixelHeight(item.h),
                visible: item.visible,
                priority: item.prio,
            };
            view.iter().map(item).collect()
        } else {
            let item =
                |wish: Wanted| media::ViewItem { track: wish.track, height: PixelHeight(u32::MAX), visible: true, priority: 0 };
            wanted(room, member).filter(|wish| wish.kind == Kind::Video).map(item).collect()
        };
        let shard = member.shard;
        let short = room.tracks.len() > member.slots.count(Kind::Video);
        self.command(shard, Command::View { member: id, items });
        if short {
            // What is on screen has the better right to a slot.
            self.timers.arm(Wake::Slots(id), self.now);
        }
    }
}

/// What a member should receive, in order of publishing.
fn wanted<'a>(room: &'a Room, member: &'a Member) -> impl Iterator<Item = Wanted> + 'a {
    let wish = |track| member.wishes.get(&track).copied().unwrap_or(member.options.auto_subscribe);
    room.tracks
        .iter()
        .filter(move |track| member.subscribes() && track.owner != member.id && wish(track.info.id))
        .map(|track| Wanted { track: track.info.id, owner: track.owner, kind: track.info.kind, source: track.info.source })
}

/// Puts the best first: of voices those that are passed on, then those that spoke last, of pictures those on screen; then what
/// has a slot, then who came first.
fn rank(room: &Room, member: &Member, wanted: &mut [Wanted]) {
    let view = member.view.as_deref().unwrap_or_default();
    let voices = room.voices.get(&member.shard).map(Vec::as_slice).unwrap_or_default();
    wanted.sort_by_cached_key(|wish| {
        let (spoke, shown) = match wish.kind {
            Kind::Audio => (room.speakers.spoke(wish.track), None),
            Kind::Video => (None, view.iter().find(|item| item.track == wish.track).map(|item| (item.visible, item.prio))),
        };
        (!voices.contains(&wish.track), Reverse(spoke), Reverse(shown), !member.slots.carries(wish.track))
    });
}

/// How many slots to ask for, if some lack that were not asked for.
fn lacking(room: &Room, member: &Member, limits: &Limits) -> Option<(usize, usize)> {
    let (mut audio, mut video) = (0, 0);
    for wish in wanted(room, member) {
        match wish.kind {
            Kind::Audio => audio += 1,
            Kind::Video => video += 1,
        }
    }
    let have = (member.slots.count(Kind::Audio), member.slots.count(Kind::Video));
    let others = member.m_lines.saturating_sub(have.0 + have.1).max(SENDING);
    let most = limits.m_lines.saturating_sub(others);
    let most_audio = limits.audio_slots.min(most);
    let audio = some_ahead(audio).min(most_audio).max(have.0).max(member.asked.0);
    let video = some_ahead(video).min(most.saturating_sub(most_audio)).max(have.1).max(member.asked.1);
    let more = |need: usize, have: usize, asked: usize| need > have && need > asked;
    (more(audio, have.0, member.asked.0) || more(video, have.1, member.asked.1)).then_some((audio, video))
}

/// From the fifth on, slots are asked for by fours: each asking costs a negotiation, an idle slot hardly anything.
fn some_ahead(count: usize) -> usize {
    if count <= 4 { count } else { count.next_multiple_of(4) }
}

fn listed(count: usize, limits: &Limits) -> Result<(), Refusal> {
    if count > limits.listed_tracks {
        return Err(Refusal::new(ErrorCode::TooMany, format!("tracks in one list: {} at most", limits.listed_tracks)));
    }
    Ok(())
}
