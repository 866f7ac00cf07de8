//! How good the call is for each member, and what becomes of its subscriptions: what shards and clients measured, in the terms members are
//! told. Part of `edge::hub`; the formulas are `policy::quality`'s.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::member::{Link, Media, Member};
use super::timers::Wake;
use super::{Hub, Refusal};
use crate::edge::media::{Command, Quality};
use crate::edge::message::{ErrorCode, LeaveReason, PeerQuality, QualityKind, ServerMessage};
use crate::edge::stats::MemberStats;
use crate::id::{MemberId, RoomId};
use crate::policy::quality::{Pictures, direction};

/// How often quality is told.
pub(super) const INTERVAL: Duration = Duration::from_secs(3);

/// What a client said of its pictures counts for so long: it pings every few seconds.
const FRESH: Duration = Duration::from_secs(15);

/// Two pings nearer to each other than this say nothing of a share of time.
const LEAST: Duration = Duration::from_secs(1);

/// What a client says of the pictures it shows.
#[derive(Debug, Default)]
pub(super) struct Frozen {
    /// When it pinged last.
    at: Option<Instant>,
    /// For what share of the time before that a picture stood.
    share: Option<f32>,
}

impl Frozen {
    /// Takes in a ping that says for how long pictures stood since the one before.
    fn told(&mut self, now: Instant, frozen_ms: Option<f64>) {
        let passed = self.at.map(|at| now.saturating_duration_since(at));
        if passed.is_some_and(|passed| passed < LEAST) {
            return;
        }
        self.at = Some(now);
        self.share = passed.zip(frozen_ms).map(|(passed, frozen)| (frozen / 1_000.0 / passed.as_secs_f64()) as f32);
    }

    fn share(&self, now: Instant) -> Option<f32> {
        self.share.filter(|_| self.at.is_some_and(|at| now.saturating_duration_since(at) <= FRESH))
    }
}

impl Hub {
    /// A shard's word on a member.
    pub(super) fn quality_of(&mut self, id: MemberId, quality: Quality) {
        if let Some(member) = self.members.get_mut(&id) {
            member.quality = Some(quality);
            self.timers.arm(Wake::Quality(member.room.clone()), self.now + INTERVAL);
        }
    }

    /// A client pings, and may say for how long pictures stood.
    pub(super) fn ping(&mut self, id: MemberId, ts: f64, frozen_ms: Option<f64>) {
        if let Some(member) = self.members.get_mut(&id) {
            member.frozen.told(self.now, frozen_ms);
            member.reply(ServerMessage::Pong { ts }, &mut self.out);
        }
    }

    /// A client asks what becomes of its subscriptions: its shard knows.
    pub(super) fn ask_stats(&mut self, id: MemberId) -> Result<(), Refusal> {
        let Some(member) = self.members.get_mut(&id) else { return Ok(()) };
        if !member.rates.stats.take(self.now, 1.0) {
            return Err(Refusal::new(ErrorCode::RateLimited, "statistics are made anew every two seconds"));
        }
        member.stats_asked = true;
        let shard = member.shard;
        self.command(shard, Command::Stats { member: id });
        Ok(())
    }

    /// The shard's answer.
    pub(super) fn stats_of(&mut self, id: MemberId, stats: MemberStats) {
        if let Some(member) = self.members.get_mut(&id)
            && std::mem::take(&mut member.stats_asked)
        {
            member.reply(ServerMessage::Stats { stats }, &mut self.out);
        }
    }

    /// Tells everybody whose quality changed, each how it is itself, and a newcomer all of it.
    pub(super) fn tell_quality(&mut self, id: &RoomId) {
        let Some(room) = self.rooms.get_mut(id) else { return };
        let (mut all, mut changed) = (Vec::new(), Vec::new());
        for member in &room.members {
            let Some(member) = self.members.get_mut(member) else { continue };
            let Some(quality) = member.quality.filter(|_| !member.hidden()) else { continue };
            let rated = rate(self.now, member, quality);
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
}

/// A member whose path is so in both directions, without pictures; that loses packets on the way up only.
#[cfg(test)]
pub(super) fn measured(rtt_ms: u64, loss_up: f32) -> Quality {
    use crate::policy::quality::Path;
    let path = Path { round_trip: Duration::from_millis(rtt_ms), ..Path::default() };
    Quality { up: Path { loss: loss_up, ..path }, down: path, ..Quality::default() }
}

/// Figures as the formulas could give them.
fn sane(quality: PeerQuality) -> PeerQuality {
    // `max` passes over what is not a number, `clamp` does not.
    let score = |score: f32| score.max(1.0).clamp(1.0, 5.0);
    let loss = quality.loss.max(0.0).clamp(0.0, 1.0);
    PeerQuality { score: score(quality.score), up: score(quality.up), down: score(quality.down), loss, ..quality }
}

/// A member's call in the terms people know: as good as the worse of its directions.
fn rate(now: Instant, member: &Member, quality: Quality) -> PeerQuality {
    let shown = match member.frozen.share(now) {
        // The client sees what the shard can only guess.
        Some(frozen) => Pictures { frozen, ..quality.shown },
        None => quality.shown,
    };
    let (up, down) = (direction(&quality.up, &quality.published), direction(&quality.down, &shown));
    let score = up.min(down);
    let q = match score {
        _ if matches!(member.media, Media::Down(_)) => QualityKind::Lost,
        4.2.. => QualityKind::Excellent,
        3.2.. => QualityKind::Good,
        _ => QualityKind::Poor,
    };
    let tenths = |score: f32| (score * 10.0).round() / 10.0;
    let rtt_ms = u32::try_from(quality.up.round_trip.max(quality.down.round_trip).as_millis()).unwrap_or(u32::MAX);
    let loss = quality.up.loss.max(quality.down.loss).max(0.0).clamp(0.0, 1.0);
    PeerQuality { pid: member.id, q, score: tenths(score), up: tenths(up), down: tenths(down), rtt_ms, loss }
}
