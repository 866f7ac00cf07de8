//! What a shard tells of itself and of its members when it is asked. Reads peers and router; changes nothing.

use std::time::Instant;

use super::Shard;
use crate::edge::media::{Event, Quality};
use crate::edge::peer::Peer;
use crate::edge::stats::{MemberStats, SubscriptionStats};
use crate::id::MemberId;
use crate::policy::quality::Pictures;
use crate::router::{PeerKey, Subscription};
use crate::shard::stats::ShardStats;

impl Shard {
    pub(super) fn snapshot(&self) -> ShardStats {
        let (tracks, subscriptions) = self.router.counts();
        let nacks_out = self.peers.iter().filter_map(|(_, entry)| entry.peer.as_ref()).map(Peer::nacks_sent).sum();
        ShardStats {
            peers: self.peers.len() as u32,
            tracks: tracks as u32,
            subscriptions: subscriptions as u32,
            nacks_out,
            busy_percent: (self.gauge.share() * 100.0) as u32,
            ..self.stats.clone()
        }
    }

    /// Tells how a member's media does: the peer knows its paths, the router what becomes of pictures.
    pub(super) fn tell_quality(&mut self, key: PeerKey, member: MemberId, quality: Quality) {
        let shown = Pictures { frozen: quality.shown.frozen, ..self.router.shown(key) };
        let quality = Quality { published: self.router.published(key), shown, ..quality };
        self.tell_if_room(Event::Quality { member, quality });
    }

    /// What becomes of a member's subscriptions; `None` for one that is not here.
    pub(super) fn member_stats(&self, now: Instant, member: MemberId) -> Option<MemberStats> {
        let key = self.peers.of_member(member)?;
        let peer = self.peers.get(key)?.peer.as_ref();
        let (budget, demand) = self.router.budget(key)?;
        let subscription = |of: Subscription| {
            let figures = peer.and_then(|peer| peer.figures(of.slot)).copied().unwrap_or_default();
            let (loss, jitter) = figures.reception(now).unwrap_or_default();
            SubscriptionStats {
                track: of.track,
                kind: of.kind,
                screen_h: of.screen.0,
                wanted: of.wanted.map(Into::into),
                target: of.target.map(Into::into),
                current: of.current.map(Into::into),
                reason: of.short.map(Into::into),
                bps: figures.bps,
                loss,
                jitter_ms: jitter.as_millis() as u32,
                keyframes_asked: figures.keyframes,
            }
        };
        Some(MemberStats {
            estimate_bps: peer.and_then(|peer| peer.estimate(now)).map(|rate| rate.0),
            budget_bps: budget.now.0,
            demand_bps: demand.0,
            rtt_ms: peer.and_then(Peer::round_trip).map_or(0, |rtt| rtt.as_millis() as u32),
            subscriptions: self.router.subscriptions(key).into_iter().map(subscription).collect(),
        })
    }
}
