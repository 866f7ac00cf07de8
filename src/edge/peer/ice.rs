//! ICE-lite (RFC 8445 §2.5): answers the client's connectivity checks, keeps the routes that passed one, follows its
//! nominations, and notices when it falls silent (RFC 7675, turned around: a lite agent sends no checks, so those that arrive
//! are the consent). Owns credentials and routes; moves no datagram itself. `transport` calls it.

use std::time::{Duration, Instant};

use super::event::TransportEvent;
use super::route::Route;
use super::stun::{self, BindingRequest, Key, Message};
use crate::edge::plan::{IceCredentials, IcePlan};

/// Silence after which media counts as interrupted. A client's checks may be 6 s apart (RFC 7675 §5.1: 5 s, randomised by
/// a fifth), and an idle one sends nothing else, so less than this raises false alarms.
pub const DOWN_AFTER: Duration = Duration::from_millis(6_500);
/// Silence after which the peer is gone: others must not see a crashed tab for longer than 15 s.
pub const LOST_AFTER: Duration = Duration::from_secs(12);
/// Media alone does not renew consent for longer than this (RFC 7675 §5.1).
const CONSENT_EXPIRES: Duration = Duration::from_secs(30);
/// A client checks from each of its candidates; more than this at once is no client.
const MAX_ROUTES: usize = 16;
/// A route that is not selected and had no check for so long is forgotten.
const ROUTE_EXPIRES: Duration = Duration::from_secs(30);

/// One peer's ICE agent.
pub struct Ice {
    current: Credentials,
    /// Before a restart; they answer until a route is nominated with the current ones (RFC 8445 §9).
    previous: Option<Credentials>,
    routes: Vec<Validated>,
    selected: Option<Route>,
    life: Life,
    last_check: Instant,
    /// The latest authenticated datagram of any kind.
    last_heard: Instant,
}

/// What the peer's silence means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// No check has come yet.
    Awaited,
    Up,
    Down,
    Lost,
}

struct Credentials {
    plan: IcePlan,
    key: Key,
}

struct Validated {
    route: Route,
    last_check: Instant,
}

/// A message that was not answered.
#[derive(Debug, PartialEq, Eq)]
pub struct BadStun;

impl Ice {
    pub fn new(now: Instant, plan: &IcePlan) -> Self {
        Self {
            current: Credentials::new(plan),
            previous: None,
            routes: Vec::new(),
            selected: None,
            life: Life::Awaited,
            last_check: now,
            last_heard: now,
        }
    }

    /// Obeys a newer plan. New local credentials are an ICE restart.
    pub fn configure(&mut self, plan: &IcePlan) {
        if self.current.plan == *plan {
            return;
        }
        let next = Credentials::new(plan);
        let restarted = self.current.plan.local != plan.local;
        let before = std::mem::replace(&mut self.current, next);
        // A restart that a further one overtook was never nominated; media still flows by what was before both.
        if restarted && self.previous.is_none() {
            self.previous = Some(before);
        }
    }

    /// The user fragments that answer now: the current one, and during a restart the one before.
    pub fn local_ufrags(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.current).chain(&self.previous).map(|credentials| credentials.plan.local.ufrag.as_str())
    }

    /// Takes a STUN datagram; gives the answer to send back on the same route, if one is due.
    ///
    /// Who does not know the password hears nothing, where RFC 8489 §9.1.3 would have 400 or 401: a client that speaks to
    /// us has the answer's password, and to anyone else silence cannot be an echo.
    pub fn receive(
        &mut self,
        now: Instant,
        route: Route,
        datagram: &[u8],
        out: &mut Vec<TransportEvent>,
    ) -> Result<Option<Vec<u8>>, BadStun> {
        let request = match stun::parse(datagram) {
            Some(Message::Request(request)) => request,
            Some(Message::Indication) => return Ok(None),
            None => return Err(BadStun),
        };
        let is_current = self.current.authenticate(&request);
        let credentials = if is_current {
            &self.current
        } else {
            self.previous.as_ref().filter(|previous| previous.authenticate(&request)).ok_or(BadStun)?
        };
        if let Some(attribute) = request.unknown_attribute {
            return Ok(Some(request.unknown_attribute(&credentials.key, attribute)));
        }
        if request.sender_is_controlled {
            return Ok(Some(request.role_conflict(&credentials.key)));
        }
        let answer = request.success(&credentials.key, route.addr());
        self.validate(now, route, out);
        self.select(now, route, request.use_candidate && is_current);
        self.last_check = now;
        self.heard(now, out);
        Ok(Some(answer))
    }

    /// Something authenticated arrived: the peer is alive. Checks renew consent on their own.
    pub fn heard(&mut self, now: Instant, out: &mut Vec<TransportEvent>) {
        self.last_heard = now;
        match self.life {
            Life::Awaited => self.life = Life::Up,
            Life::Down => {
                self.life = Life::Up;
                out.push(TransportEvent::IceUp);
            }
            Life::Up | Life::Lost => {}
        }
    }

    /// Whether datagrams from this route are this peer's.
    pub fn is_valid(&self, route: Route) -> bool {
        self.routes.iter().any(|validated| validated.route == route)
    }

    /// Where to send: the route the client nominated last; before that, the first that passed a check.
    pub fn selected(&self) -> Option<Route> {
        self.selected
    }

    /// Every route that passed a check and is not forgotten.
    pub fn routes(&self) -> impl Iterator<Item = Route> {
        self.routes.iter().map(|validated| validated.route)
    }

    /// The connection under a TCP route is gone.
    pub fn forget(&mut self, route: Route, out: &mut Vec<TransportEvent>) {
        let before = self.routes.len();
        self.routes.retain(|validated| validated.route != route);
        if self.routes.len() < before {
            out.push(TransportEvent::Invalidated(route));
        }
        if self.selected == Some(route) {
            self.selected = self.routes.iter().max_by_key(|validated| validated.last_check).map(|validated| validated.route);
        }
    }

    /// True when consent is lost for good.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Vec<TransportEvent>) -> bool {
        if self.life == Life::Up && now >= self.last_heard + DOWN_AFTER {
            self.life = Life::Down;
            out.push(TransportEvent::IceDown);
        }
        if matches!(self.life, Life::Up | Life::Down) && now >= self.lost_at() {
            self.life = Life::Lost;
        }
        self.life == Life::Lost
    }

    pub fn deadline(&self) -> Option<Instant> {
        match self.life {
            Life::Up => Some(self.lost_at().min(self.last_heard + DOWN_AFTER)),
            Life::Down => Some(self.lost_at()),
            Life::Awaited | Life::Lost => None,
        }
    }

    fn lost_at(&self) -> Instant {
        (self.last_heard + LOST_AFTER).min(self.last_check + CONSENT_EXPIRES)
    }

    /// Notes a check on a route, and forgets routes that had none for long.
    fn validate(&mut self, now: Instant, route: Route, out: &mut Vec<TransportEvent>) {
        if let Some(validated) = self.routes.iter_mut().find(|validated| validated.route == route) {
            validated.last_check = now;
            return;
        }
        let selected = self.selected;
        self.routes.retain(|validated| {
            let keep = Some(validated.route) == selected || now < validated.last_check + ROUTE_EXPIRES;
            if !keep {
                out.push(TransportEvent::Invalidated(validated.route));
            }
            keep
        });
        if self.routes.len() >= MAX_ROUTES {
            let others = self.routes.iter().enumerate().filter(|(_, validated)| Some(validated.route) != selected);
            if let Some((oldest, _)) = others.min_by_key(|(_, validated)| validated.last_check) {
                out.push(TransportEvent::Invalidated(self.routes.swap_remove(oldest).route));
            }
        }
        self.routes.push(Validated { route, last_check: now });
        out.push(TransportEvent::Validated(route));
    }

    fn select(&mut self, now: Instant, route: Route, nominated: bool) {
        if nominated {
            self.selected = Some(route);
            self.previous = None;
            return;
        }
        // A client that lost its network may check elsewhere for a while before it nominates.
        let selected = self.routes.iter().find(|validated| Some(validated.route) == self.selected);
        if selected.is_none_or(|selected| now >= selected.last_check + DOWN_AFTER) {
            self.selected = Some(route);
        }
    }
}

impl Credentials {
    fn new(plan: &IcePlan) -> Self {
        Self { plan: plan.clone(), key: Key::new(&plan.local.pwd) }
    }

    /// RFC 8445 §7.2.2: the name is ours and theirs, the password ours.
    fn authenticate(&self, request: &BindingRequest<'_>) -> bool {
        let IceCredentials { ufrag: local, .. } = &self.plan.local;
        let named = request
            .username
            .strip_prefix(local.as_str())
            .and_then(|rest| rest.strip_prefix(':'))
            .is_some_and(|remote| remote == self.plan.remote.ufrag);
        named && request.is_from_owner_of(&self.key)
    }
}
