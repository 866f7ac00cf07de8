//! Sessions that are opened, changed and ended by HTTP: WHIP and WHEP. Such a member has no socket and is told nothing; its tracks
//! and slots are those of its one offer, and it lives as long as its media. Part of `edge::hub`; what requests and responses look
//! like is `edge::whip`'s.

use std::time::Instant;

use axum::http::StatusCode;
use rand::{Rng, RngExt};
use ring::digest;

use super::edges::{edge_in, next_edge};
use super::farewell::Farewell;
use super::follow::Viewer;
use super::join::Arrival;
use super::member::{Link, Member, Session};
use super::publish::Offer;
use super::{Door, Hub, Output, Refusal};
use crate::edge::media::Command;
use crate::edge::message::{ErrorCode, LeaveReason, Options};
use crate::edge::negotiate::{Negotiated, Negotiator, OfferedTrack};
use crate::edge::plan::MediaPlan;
use crate::edge::sdp::{self, Fragment};
use crate::edge::token::{self, Access, MAX_TEXT, TokenError};
use crate::edge::whip::{self, Act, Ask, Outcome, Protocol, Query, Refused, Tags};
use crate::id::{Identity, MemberId, RegionId, RoomId, TrackId};

/// Users of the relay that an audience of one token counts as. More let one token take more of the relay; fewer leave less to each viewer
/// whose network needs it.
const AUDIENCE_USERS: usize = 32;

/// What a session keeps because requests may come back to it.
#[derive(Debug)]
pub(super) struct HttpSession {
    protocol: Protocol,
    /// Of the token that opened it, which must come with every request. It may have ended since.
    token: [u8; 32],
    /// Our latest answer and what it settled; `None` only until the first.
    settled: Option<(String, MediaPlan)>,
    /// Whom it watches; `None` of a publisher.
    pub(super) viewer: Option<Viewer>,
}

impl HttpSession {
    pub(super) const fn protocol(&self) -> &'static str {
        self.protocol.name()
    }

    pub(super) fn publishes(&self) -> bool {
        self.protocol == Protocol::Whip
    }

    /// Whom it watches for as long as that one is there.
    pub(super) fn only_for(&self) -> Option<&Identity> {
        self.viewer.as_ref().filter(|_| self.protocol == Protocol::PeerjsMember)?.member()
    }

    /// Whether it is shown whoever speaks.
    pub(super) fn follows_speaker(&self) -> bool {
        self.viewer.as_ref().is_some_and(Viewer::follows_speaker)
    }

    /// An offer was answered.
    pub(super) fn settled(&mut self, found: &Negotiated) {
        self.settled = Some((found.answer.clone(), found.plan.clone()));
    }

    /// Names the ICE session, as RFC 9725 §4.3.1 wants it: our user fragment changes with each restart and with nothing else.
    fn tag(&self) -> &str {
        self.settled.as_ref().map_or("", |(_, plan)| &plan.ice.local.ufrag)
    }
}

/// An offer that was found good, and who may bring it.
struct Newcomer {
    access: Access,
    offer: Offer,
}

impl Hub {
    /// Does what a WHIP or WHEP client asks for; appends to `out` what is to be done, in order.
    pub fn whip(&mut self, now: Instant, ask: Ask, out: &mut Vec<Output>) -> Outcome {
        self.now = now;
        let Ask { protocol, room, token, act } = ask;
        let outcome = match act {
            Act::Open { offer, query, client } => self.open_http(protocol, &room, &token, (&offer, &query, &client)),
            Act::Patch { session, tags, fragment } => {
                self.session(protocol, &room, &token, (&session, &tags)).and_then(|id| self.patch(id, &fragment))
            }
            Act::Close { session, tags } => self.session(protocol, &room, &token, (&session, &tags)).map(|id| {
                self.end(id, Farewell::silent(LeaveReason::Left));
                Outcome::Closed
            }),
        };
        let outcome = outcome.unwrap_or_else(|refused| {
            self.counters.refused += 1;
            Outcome::Refused(refused)
        });
        self.settle();
        out.append(&mut self.out);
        outcome
    }

    /// Opens a session. Until everything is known to be good there is no trace of it.
    fn open_http(
        &mut self,
        protocol: Protocol,
        room: &RoomId,
        token: &str,
        (offer, query, client): (&str, &Query, &str),
    ) -> Result<Outcome, Refused> {
        let access = self.granted(protocol, room, token)?;
        if let Some(edge) = self.better_edge(room, query.region.as_ref()) {
            return Ok(Outcome::Elsewhere { edge });
        }
        if self.door != Door::Open {
            let text = "this server is about to stop and lets nobody in; try another";
            return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, text));
        }
        let Newcomer { access, offer } = self.rehearse(protocol, access, offer, client)?;
        if let Err(refusal) = self.check_space(&access) {
            let other = self.relay.as_ref().filter(|_| !self.rooms.contains_key(room) || self.is_full());
            let elsewhere = other.and_then(|relay| next_edge(&relay.view, room));
            return Err(Refused { elsewhere, ..refused(refusal) });
        }
        let viewer = (protocol != Protocol::Whip).then(|| Viewer::new(query.member.clone()));
        let (most, watch) = (self.config.limits.token_viewers, self.audience(&access));
        if protocol.only_watches() && watch >= most {
            let text =
                format!("this token has all the viewers it may: {most} at most; give others a token of another identity");
            return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, text));
        }
        let http = HttpSession { protocol, token: hash(token), settled: None, viewer };
        // What to receive is not asked for: the offer has what there is.
        let options = Options { auto_subscribe: false, adaptive: false };
        let session = Session::without_socket(&mut self.rng);
        let sid = session.sid.clone();
        let relay_user = relay_user(&access, watch);
        let arrival = Arrival { session, link: Link::Http, options, http: Some(Box::new(http)) };
        let id = self.enter(access, arrival, client).map_err(refused)?;
        self.announce(id);
        self.expect_watched(id);
        if let Err(refusal) = self.offer(id, offer) {
            self.end(id, Farewell::silent(LeaveReason::Protocol));
            return Err(refused(refusal));
        }
        let http = self.members.get(&id).and_then(|member| member.http.as_ref());
        let settled = http.and_then(|http| Some((http.settled.as_ref()?.0.clone(), http.tag().to_owned())));
        let internal = || Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "the session ended as it began");
        let (answer, tag) = settled.ok_or_else(internal)?;
        let ice_servers = self.config.ice_servers.for_user(&relay_user, self.unix_ms() / 1000);
        Ok(Outcome::Opened { session: sid, answer, tag, ice_servers })
    }

    /// How many others watch the room with tokens of the same identity.
    fn audience(&self, access: &Access) -> usize {
        let others = self.rooms.get(&access.room).into_iter().flat_map(|room| &room.members);
        let others = others.filter_map(|id| self.members.get(id)).filter(|other| other.access.identity != access.identity);
        let watches = |other: &&Member| other.http.as_ref().is_some_and(|http| http.viewer.is_some());
        others.filter(watches).filter(|other| other.access.claims.sub == access.claims.sub).count()
    }

    /// Checks the token and what it grants.
    fn granted(&self, protocol: Protocol, room: &RoomId, token: &str) -> Result<Access, Refused> {
        let forbidden = |text: &str| Err(Refused::new(StatusCode::FORBIDDEN, text));
        let access = token::verify(&self.config.keys, token, self.unix_ms() / 1000, self.config.max_token_ttl);
        let access = access.map_err(|error| {
            let status = if error == TokenError::NoJoin { StatusCode::FORBIDDEN } else { StatusCode::UNAUTHORIZED };
            Refused::new(status, error.to_string())
        })?;
        if access.room != *room {
            return forbidden("the token is for another room");
        }
        match protocol {
            Protocol::Whip | Protocol::Peerjs if !access.grants.publish => forbidden("the token does not grant canPublish"),
            Protocol::Whip | Protocol::Peerjs if access.grants.hidden => {
                forbidden("the token says hidden, and who publishes is seen")
            }
            Protocol::Whep | Protocol::Peerjs | Protocol::PeerjsMember if !access.grants.subscribe => {
                forbidden("the token does not grant canSubscribe")
            }
            Protocol::Whip | Protocol::Whep | Protocol::Peerjs | Protocol::PeerjsMember => Ok(access),
        }
    }

    /// Where the client should go instead, if there is a place.
    fn better_edge(&self, room: &RoomId, region: Option<&RegionId>) -> Option<String> {
        let view = &self.relay.as_ref()?.view;
        let wanted = region.and_then(|region| edge_in(view, region, room));
        wanted.or_else(|| if self.door == Door::Open { None } else { next_edge(view, room) })
    }

    fn is_full(&self) -> bool {
        self.members.len() >= self.config.limits.members || self.is_busy()
    }

    /// Finds out what an offer would come to, so that a bad one replaces nobody.
    fn rehearse(&mut self, protocol: Protocol, access: Access, offer: &str, client: &str) -> Result<Newcomer, Refused> {
        let unusable = |text: String| Refused::new(StatusCode::UNPROCESSABLE_ENTITY, text);
        let internal = || Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "this server has no media thread");
        let tracks = match protocol {
            Protocol::Whip | Protocol::Peerjs => {
                let read = sdp::Offer::parse(offer).map_err(|error| unusable(error.to_string()))?;
                whip::tracks(&read, &access.grants, client)?
            }
            Protocol::Whep | Protocol::PeerjsMember => Vec::new(),
        };
        let offer = Offer { neg: 0, sdp: offer.to_owned(), tracks, ice_restart: false };
        self.check_offer(&access.grants, &offer).map_err(refused)?;
        let endpoint = self.config.endpoints.first().cloned().ok_or_else(internal)?;
        let rng = &mut self.rng;
        let offered: Vec<OfferedTrack> = offer
            .tracks
            .iter()
            .map(|said| OfferedTrack { mid: said.mid.clone(), track: TrackId::random(rng), kind: said.kind, layers: vec![] })
            .collect();
        let negotiator = Negotiator::new(endpoint, rng);
        let mut negotiator = if protocol == Protocol::Whip { negotiator.sending_nothing() } else { negotiator };
        let found = negotiator.answer(&offer.sdp, &offered, false, rng).map_err(|error| unusable(error.to_string()))?;
        let kept = |said: &OfferedTrack| found.layers.iter().any(|(track, _)| *track == said.track);
        // A client whose picture is left out would stream on and never know.
        if let Some(lost) = offered.iter().find(|said| !kept(said)) {
            let mid = sdp::shown(&lost.mid);
            let text =
                format!("m-line {mid}: no codec that is carried: offer audio with opus, video with VP8, VP9, H264 or AV1");
            return Err(unusable(text));
        }
        if protocol.only_watches() && found.slots.is_empty() {
            return Err(unusable("the offer receives nothing: offer audio or video as a=recvonly".into()));
        }
        let access = if protocol.only_watches() { watching(access, rng) } else { access };
        Ok(Newcomer { access, offer })
    }

    /// The session that a request is about, if it may be.
    fn session(
        &mut self,
        protocol: Protocol,
        room: &RoomId,
        token: &str,
        (sid, tags): (&str, &Tags),
    ) -> Result<MemberId, Refused> {
        let unknown = || Refused::new(StatusCode::NOT_FOUND, "there is no such session: it has ended, or never was");
        let id = *self.sessions.get(sid).ok_or_else(unknown)?;
        let member = self.members.get(&id).filter(|member| member.room == *room).ok_or_else(unknown)?;
        let http = member.http.as_ref().filter(|http| http.protocol == protocol).ok_or_else(unknown)?;
        if http.token != hash(token) {
            // A fresh one for the same member will do.
            let access = token::verify(&self.config.keys, token, self.unix_ms() / 1000, self.config.max_token_ttl);
            let access = access.map_err(|error| Refused::new(StatusCode::UNAUTHORIZED, error.to_string()))?;
            let same = access.room == *room && access.claims.sub == member.access.claims.sub;
            if !same {
                return Err(Refused::new(StatusCode::UNAUTHORIZED, "the session was opened with another token"));
            }
        }
        if !tags.allow(http.tag()) {
            let text = "If-Match names another ICE session than the current one";
            return Err(Refused::new(StatusCode::PRECONDITION_FAILED, text));
        }
        let Some(member) = self.members.get_mut(&id) else { return Err(unknown()) };
        if !member.rates.requests.take(self.now, 1.0) {
            return Err(Refused::new(StatusCode::TOO_MANY_REQUESTS, "too many requests; slow down"));
        }
        Ok(id)
    }

    /// Takes in candidates, which change nothing, or restarts ICE.
    fn patch(&mut self, id: MemberId, fragment: &Fragment) -> Result<Outcome, Refused> {
        let internal = || Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "the session has no media");
        let member = self.members.get_mut(&id).ok_or_else(internal)?;
        let http = member.http.as_mut().ok_or_else(internal)?;
        let tag = http.tag().to_owned();
        let (answer, plan) = http.settled.as_mut().ok_or_else(internal)?;
        let remote = fragment.restarts(&plan.ice.remote);
        let remote = remote.map_err(|error| Refused::new(StatusCode::BAD_REQUEST, error.to_string()))?;
        let Some(remote) = remote else { return Ok(Outcome::Trickled { tag }) };
        if !member.rates.offers.take(self.now, 1.0) {
            return Err(Refused::new(StatusCode::TOO_MANY_REQUESTS, "too many ICE restarts; wait a second"));
        }
        plan.ice = member.negotiator.restart(remote, &mut self.rng).ok_or_else(internal)?;
        let fragment = sdp::restarted(answer, &plan.ice.local);
        let tag = plan.ice.local.ufrag.clone();
        let command = Command::Configure { member: id, plan: Box::new(plan.clone()) };
        self.out.push(Output::Media { shard: member.shard, command });
        Ok(Outcome::Restarted { tag, fragment })
    }
}

/// What a viewer may do. Nobody is told of it unless the token says `"hidden": false`; and one token may be given to a whole
/// audience, so each viewer has an identity of its own and replaces nobody.
fn watching(mut access: Access, rng: &mut impl Rng) -> Access {
    access.grants.publish = false;
    access.grants.data = false;
    if access.claims.video.hidden != Some(false) {
        access.grants.hidden = true;
        let suffix = format!("/whep-{:016x}", rng.random::<u64>());
        let mut identity = access.identity.as_str().to_owned();
        while identity.len() + suffix.len() > MAX_TEXT {
            identity.pop();
        }
        access.identity = Identity::new(identity + &suffix);
    }
    access
}

/// Whose quota on the relay a session uses. An audience of one token has those of some users, however often its viewers come anew.
fn relay_user(access: &Access, watch: usize) -> String {
    let (identity, name) = (access.identity.as_str(), &access.claims.sub);
    if identity == name { name.clone() } else { format!("{name}/{}", watch % AUDIENCE_USERS) }
}

fn hash(token: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    out
}

/// The status of a refusal.
fn refused(Refusal(code, text): Refusal) -> Refused {
    let status = match code {
        ErrorCode::BadMessage => StatusCode::BAD_REQUEST,
        ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::BadSdp | ErrorCode::TooMany => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Full => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Stale | ErrorCode::BadState | ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Refused::new(status, text)
}
