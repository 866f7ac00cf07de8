//! The shell around [`crate::edge::hub`] and [`crate::edge::peerjs`]: HTTP routes, WebSockets, and the one task that owns both. Owns parsing frames at
//! the border, who may connect from where, and every queue in between; decides nothing about rooms. `node` starts it.
//!
//! ```text
//!  WebSocket task ─ Ask ──▶ hub task ── Command ──▶ shard
//!        ◀── ServerFrame ──    ◀──────── Event ─────────
//! ```

mod hub_task;
mod peerjs;
mod peerjs_members;
#[cfg(test)]
mod peerjs_tests;
mod socket;
#[cfg(test)]
mod tests;
mod whip;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{State, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc, watch};

pub use hub_task::HubHandle;

use super::hub::{self, ConnId, Limits};
use super::ice_servers::IceServers;
use super::media::{Command, Event};
use super::message::{EdgeAddress, SUBPROTOCOL};
use super::negotiate::MediaEndpoint;
use super::token::{self, Claims, MAX_JOIN_TTL};
use crate::config::{Config, Keys, Peerjs};
use crate::id::{NodeId, RegionId, ShardId};
use hub_task::{Ask, Published};

/// Requests of sockets that may wait for the hub; a socket that finds it full waits with its reading.
const ASKS_DEPTH: usize = 4_096;

/// Bytes that each WebSocket holds for reading, whether anything comes or not. The library's own choice is 128 KiB, which is most of
/// what an idle member holds; frames are short, and longer ones are read in pieces.
const READ_BUFFER: usize = 4 << 10;

/// Audio slots beyond the microphones that are passed on: two of the recently loud, and some that keep what was said before. Fewer
/// make small rooms bind slots anew; each costs a browser a decoder that idles.
const SLOTS_AHEAD: usize = 5;

/// What signaling must know.
#[derive(Debug)]
pub struct SignalConfig {
    pub node: NodeId,
    pub region: RegionId,
    pub keys: Keys,
    /// A token that lives longer from now can't be joined with.
    pub max_token_ttl: Duration,
    /// Web origins that may connect, beside the page's own.
    pub origins: Vec<String>,
    /// One per shard, in order of their ids.
    pub endpoints: Vec<Arc<MediaEndpoint>>,
    /// The cascade's shard; `None` for a node on its own.
    pub cascade: Option<ShardId>,
    /// How long members have to move elsewhere when the node is drained.
    pub drain: Duration,
    pub ice_servers: IceServers,
    pub limits: Limits,
    /// Which PeerJS clients are served.
    pub peerjs: Peerjs,
    /// Hands out tokens to whoever asks, signed with this API key. Only for development on one machine.
    pub dev_key: Option<String>,
}

impl SignalConfig {
    /// As the node is configured.
    pub fn new(config: &Config, endpoints: Vec<Arc<MediaEndpoint>>) -> Self {
        let count = |setting: u32| usize::try_from(setting).unwrap_or(usize::MAX);
        let millis = |setting: u32| Duration::from_millis(setting.into());
        let limits = Limits {
            rooms: count(config.limits.rooms),
            room_members: count(config.limits.room_members),
            members: count(config.limits.members),
            token_viewers: count(config.limits.token_viewers),
            sockets: count(config.limits.connections),
            tracks: count(config.limits.member_tracks),
            room_members_per_shard: count(config.media.room_members_per_shard),
            audio_slots: match config.media.loudest {
                0 => Limits::default().audio_slots,
                loudest => count(loudest).saturating_add(SLOTS_AHEAD).min(Limits::default().audio_slots),
            },
            hello: millis(config.session.hello_ms),
            resume: millis(config.session.resume_ms),
            ping: millis(config.session.ping_ms),
            ..Limits::default()
        };
        let dev_key = config.auth.keys.iter().next().filter(|_| config.dev).map(|(key, _)| key.to_owned());
        Self {
            node: config.node.id.clone(),
            region: config.node.region.clone(),
            keys: config.auth.keys.clone(),
            max_token_ttl: Duration::from_secs(config.auth.max_ttl_s.into()),
            origins: config.http.origins.iter().map(|origin| origin.as_str().to_owned()).collect(),
            endpoints,
            cascade: None,
            drain: millis(config.node.drain_ms),
            ice_servers: IceServers::default(),
            limits,
            peerjs: config.peerjs.clone(),
            dev_key,
        }
    }
}

/// Starts the hub's task; the routes and the handle reach it, and it ends when both are gone. `shards` are in order of their
/// ids, the cascade's after the ordinary ones; `events` is what they report.
pub fn start(
    config: SignalConfig,
    shards: Vec<mpsc::Sender<Command>>,
    events: mpsc::Receiver<(ShardId, Event)>,
) -> (Router, HubHandle) {
    let (asks, asked) = mpsc::channel(ASKS_DEPTH);
    // What a semaphore can count bounds the sockets too.
    let most = config.limits.sockets.min(Semaphore::MAX_PERMITS).min(1 << 30);
    let sockets = Arc::new(Semaphore::new(most));
    let peerjs_sockets = usize::try_from(config.peerjs.connections).unwrap_or(most).min(most);
    let (edges_known, edges) = watch::channel(Arc::from([]));
    let (busy_known, busy) = watch::channel(false);
    let published = Published { edges: edges_known, busy: busy_known };
    let handle = HubHandle::new(asks.clone(), Arc::clone(&sockets), most, busy);
    let state = Arc::new(Edge {
        node: config.node.clone(),
        region: config.region.clone(),
        keys: config.keys.clone(),
        max_token_ttl: config.max_token_ttl,
        dev_key: config.dev_key.clone(),
        origins: config.origins.into_iter().collect(),
        ice_servers: config.ice_servers.clone(),
        limits: config.limits.clone(),
        peerjs: config.peerjs,
        next_conn: AtomicU64::new(0),
        sockets,
        peerjs_sockets: Arc::new(Semaphore::new(peerjs_sockets)),
        asks,
        edges,
    });
    let hub = hub::Config {
        node: config.node,
        region: config.region,
        keys: config.keys,
        max_token_ttl: config.max_token_ttl,
        endpoints: config.endpoints,
        cascade: config.cascade,
        drain: config.drain,
        ice_servers: config.ice_servers,
        limits: config.limits,
    };
    hub_task::start(hub, config.dev_key, shards, events, asked, published);
    (routes(state), handle)
}

/// What the routes share.
#[derive(Debug)]
struct Edge {
    node: NodeId,
    region: RegionId,
    keys: Keys,
    max_token_ttl: Duration,
    dev_key: Option<String>,
    origins: BTreeSet<String>,
    ice_servers: IceServers,
    limits: Limits,
    peerjs: Peerjs,
    next_conn: AtomicU64,
    /// One permit per open WebSocket.
    sockets: Arc<Semaphore>,
    /// As many as may be PeerJS clients'.
    peerjs_sockets: Arc<Semaphore>,
    asks: mpsc::Sender<Ask>,
    edges: watch::Receiver<Arc<[EdgeAddress]>>,
}

fn routes(state: Arc<Edge>) -> Router {
    let mut routes = Router::new().route("/v1/ws", get(open)).route("/v1/ice", get(ice)).route("/v1/edges", get(edges));
    if state.dev_key.is_some() {
        routes = routes.route("/v1/dev/token", post(dev_token));
    }
    if !state.peerjs.keys.is_empty() {
        routes = routes.merge(peerjs::routes());
    }
    routes.merge(whip::routes()).with_state(state)
}

/// Opens the room protocol's WebSocket.
async fn open(State(edge): State<Arc<Edge>>, headers: HeaderMap, upgrade: WebSocketUpgrade) -> Response {
    if !origin_allowed(&headers, &edge.origins) {
        return foreign();
    }
    let upgrade = upgrade
        .protocols([SUBPROTOCOL])
        .read_buffer_size(READ_BUFFER)
        // Somewhat larger ones are read, so that they can be answered with `too_large`.
        .max_message_size(edge.limits.frame_bytes * 2)
        .max_frame_size(edge.limits.frame_bytes * 2);
    if upgrade.selected_protocol().is_none() {
        let text = format!("the WebSocket subprotocol {SUBPROTOCOL} must be asked for\n");
        return (StatusCode::BAD_REQUEST, text).into_response();
    }
    let Ok(permit) = Arc::clone(&edge.sockets).try_acquire_owned() else {
        return too_many();
    };
    let conn = ConnId(edge.next_conn.fetch_add(1, Ordering::Relaxed));
    let (asks, limits) = (edge.asks.clone(), edge.limits.clone());
    upgrade.on_upgrade(move |socket| async move {
        socket::run(socket, conn, asks, limits).await;
        drop(permit);
    })
}

fn foreign() -> Response {
    (StatusCode::FORBIDDEN, "this web origin may not connect: add it to http.origins\n").into_response()
}

fn too_many() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], "too many connections\n").into_response()
}

/// The servers a client may need to reach media or another client, before it has joined. Credentials are for who has a token to
/// join with.
async fn ice(State(edge): State<Arc<Edge>>, headers: HeaderMap) -> Response {
    let servers = match headers.get(header::AUTHORIZATION) {
        None => edge.ice_servers.for_anybody(),
        Some(_) => {
            let unix = hub_task::unix_ms() / 1000;
            match token::verify(&edge.keys, bearer(&headers).unwrap_or_default(), unix, edge.max_token_ttl) {
                Ok(access) => edge.ice_servers.for_user(access.identity.as_str(), unix),
                Err(error) => {
                    return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], format!("{error}\n"))
                        .into_response();
                }
            }
        }
    };
    // Credentials are nobody else's.
    ([(header::CACHE_CONTROL, "no-store")], Json(json!({ "ice_servers": servers }))).into_response()
}

/// The token that a request brings (RFC 6750 §2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, jwt) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| jwt.trim())
}

/// The edges a client may choose from, this one first. One on its own does not know its URL.
async fn edges(State(edge): State<Arc<Edge>>) -> Response {
    let known = Arc::clone(&edge.edges.borrow());
    if known.is_empty() {
        return Json(json!({ "edges": [{ "id": edge.node, "region": edge.region }] })).into_response();
    }
    Json(json!({ "edges": *known })).into_response()
}

/// Who wants to try a room.
#[derive(Debug, Deserialize)]
struct DevToken {
    room: String,
    name: String,
    /// Default: a fresh one.
    #[serde(default)]
    identity: Option<String>,
    /// With `roomAdmin`.
    #[serde(default)]
    admin: bool,
}

/// A token for whoever asks on this machine. The host is checked, so that a name of the web that was made to point here can't
/// ask.
async fn dev_token(State(edge): State<Arc<Edge>>, headers: HeaderMap, Json(asked): Json<DevToken>) -> Response {
    let Some(key) = &edge.dev_key else { return StatusCode::NOT_FOUND.into_response() };
    if !is_loopback(host(&headers).unwrap_or_default()) || !origin_allowed(&headers, &edge.origins) {
        return (StatusCode::FORBIDDEN, "development tokens are for this machine only\n").into_response();
    }
    let unix = hub_task::unix_ms() / 1000;
    let identity = asked.identity.unwrap_or_else(|| format!("dev-{:08x}", rand::random::<u32>()));
    let mut claims = Claims::join(key, &asked.room, &identity, &asked.name, unix, MAX_JOIN_TTL);
    claims.video.room_admin = asked.admin;
    let minted = token::mint(&edge.keys, &claims);
    match minted.and_then(|jwt| token::verify(&edge.keys, &jwt, unix, MAX_JOIN_TTL).map(|_| jwt)) {
        Ok(jwt) => Json(json!({ "token": jwt })).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

/// Whether a page of that origin may talk to us: our own pages, and those of the list. What sends no `Origin` is no browser,
/// and has no cookies or rights of somebody else to misuse.
fn origin_allowed(headers: &HeaderMap, listed: &BTreeSet<String>) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    let origin = origin.to_ascii_lowercase();
    let own = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    own.is_some_and(|own| host(headers).is_some_and(|host| own.eq_ignore_ascii_case(host))) || listed.contains(&origin)
}

fn host(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST)?.to_str().ok()
}

/// Whether a `Host` names this machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let named = name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost");
    named || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
