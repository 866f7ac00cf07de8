//! The shell around [`crate::edge::peerjs`]: its HTTP routes, its sockets, and the part of the hub's task that owns the broker. Part
//! of `edge::signal`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::extract::ws::{Message, WebSocket};
use axum::extract::{Path, Query, State, WebSocketUpgrade};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::StreamExt;
use futures_util::stream::SplitStream;
use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::hub_task;
use super::peerjs_members::{members, preflight};
use super::socket::{SILENT, part, write};
use super::{Edge, READ_BUFFER, foreign, host, is_loopback, origin_allowed, too_many};
use crate::cluster::NodeInfo;
use crate::config::Keys;
use crate::edge::hub::{self, ConnId};
use crate::edge::media::{Command, Event};
use crate::edge::peerjs::message::{self, Kind};
use crate::edge::peerjs::{self, Answer, Broker, Call, Input, MAX_FRAME, Output, Said, Stats, Who};
use crate::edge::token::{self, Claims, MAX_JOIN_TTL};
use crate::edge::whip::{self, Outcome};
use crate::id::{RoomId, ShardId};

/// Messages that wait for a slow reader, and their bytes; what is beyond is dropped. More than may wait for one peer to come, as a rule.
const QUEUE: usize = 512;
const QUEUE_BYTES: usize = 1 << 20;

/// What the hub's task is asked about PeerJS clients.
#[derive(Debug)]
pub(super) enum Ask {
    Opened {
        conn: ConnId,
        who: Who,
        line: Line,
    },
    Input(Input),
    /// Everybody of an app; `None` when too many ask.
    List {
        key: String,
        reply: oneshot::Sender<Option<Vec<String>>>,
    },
    Stats(oneshot::Sender<Stats>),
}

/// The way to one socket.
#[derive(Debug)]
pub(super) struct Line {
    /// Closed when nothing more will come.
    messages: mpsc::Sender<Queued>,
    /// A permit for each byte that may wait.
    space: Arc<Semaphore>,
}

#[derive(Debug)]
struct Queued {
    text: String,
    _space: OwnedSemaphorePermit,
}

impl Line {
    fn new() -> (Self, mpsc::Receiver<Queued>) {
        let (messages, queue) = mpsc::channel(QUEUE);
        (Self { messages, space: Arc::new(Semaphore::new(QUEUE_BYTES)) }, queue)
    }

    /// Puts a text into the queue; whether there was space.
    fn put(&self, text: String) -> bool {
        let bytes = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let space = Arc::clone(&self.space).try_acquire_many_owned(bytes);
        space.is_ok_and(|space| self.messages.try_send(Queued { text, _space: space }).is_ok())
    }
}

/// `/peerjs/`, as a PeerJS client wants it.
pub(super) fn routes() -> Router<Arc<Edge>> {
    Router::new()
        .route("/peerjs", get(about))
        .route("/peerjs/", get(about))
        .route("/peerjs/peerjs", get(open))
        .route("/peerjs/{key}/id", get(id))
        .route("/peerjs/{key}/peers", get(peers))
        .route("/peerjs/{key}/rooms/{room}", get(members).options(preflight))
}

async fn about(State(edge): State<Arc<Edge>>, headers: HeaderMap) -> Response {
    let about = json!({
        "name": "weir",
        "description": "A PeerJS server whose peers meet over all nodes of a deployment.",
        "website": "https://peerjs.com/",
    });
    shared(&edge, &headers, || Json(about).into_response())
}

/// A fresh id.
async fn id(State(edge): State<Arc<Edge>>, Path(key): Path<String>, headers: HeaderMap) -> Response {
    shared(&edge, &headers, || match serves(&edge, &key) {
        true => message::fresh_id(&mut rand::rng()).into_response(),
        false => unserved(),
    })
}

/// Everybody who is there.
async fn peers(State(edge): State<Arc<Edge>>, Path(key): Path<String>, headers: HeaderMap) -> Response {
    if !serves(&edge, &key) {
        return shared(&edge, &headers, unserved);
    }
    if !edge.peerjs.discovery.iter().any(|known| known.as_str() == key) {
        let text = "the peers of this app are not listed: peerjs.discovery does not name it\n";
        return shared(&edge, &headers, || (StatusCode::UNAUTHORIZED, text).into_response());
    }
    if !origin_allowed(&headers, &edge.origins) {
        return foreign();
    }
    let (reply, answer) = oneshot::channel();
    // An error means that the hub's task has ended, and the answer will not come either.
    let _ = edge.asks.send(hub_task::Ask::Peers(Ask::List { key, reply })).await;
    let listed = answer.await.ok().flatten();
    shared(&edge, &headers, || match listed {
        Some(ids) => Json(ids).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], "too many ask\n").into_response(),
    })
}

pub(super) fn serves(edge: &Edge, key: &str) -> bool {
    edge.peerjs.keys.iter().any(|known| known.as_str() == key)
}

pub(super) fn unserved() -> Response {
    (StatusCode::UNAUTHORIZED, "no app has this key: add it to peerjs.keys\n").into_response()
}

/// Answers a page that may talk to us, which may be one of another origin.
pub(super) fn shared(edge: &Edge, headers: &HeaderMap, answer: impl FnOnce() -> Response) -> Response {
    if !origin_allowed(headers, &edge.origins) {
        return foreign();
    }
    let mut response = answer();
    let own = response.headers_mut();
    own.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    own.insert(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = headers.get(header::ORIGIN) {
        own.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
    response
}

/// What stands in the WebSocket's address.
#[derive(Debug, Deserialize)]
struct Asked {
    #[serde(default)]
    key: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    token: String,
}

/// Opens a client's WebSocket. What is wrong with its address is told in it: a page can't read a refusal.
async fn open(
    State(edge): State<Arc<Edge>>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    // As with development tokens: a name of the web that was made to point here gets into no room.
    let rebound = edge.dev_key.is_some() && !is_loopback(host(&headers).unwrap_or_default());
    if rebound || !origin_allowed(&headers, &edge.origins) {
        return foreign();
    }
    // Strangers may come, so they take a part of the sockets and never all.
    let permits = (Arc::clone(&edge.peerjs_sockets).try_acquire_owned(), Arc::clone(&edge.sockets).try_acquire_owned());
    let (Ok(ours), Ok(everybodys)) = permits else {
        return too_many();
    };
    let served = serves(&edge, &asked.key);
    let who = Who { key: asked.key, id: asked.id, token: asked.token };
    let refusal = match (served, who.is_sound()) {
        (false, _) => Some(message::INVALID_KEY.to_owned()),
        (true, false) => {
            Some(message::error("an id of letters and digits, joined by '-', '_' or blanks, and a token are needed"))
        }
        (true, true) => None,
    };
    let conn = ConnId(edge.next_conn.fetch_add(1, Ordering::Relaxed));
    let asks = edge.asks.clone();
    let upgrade = upgrade.read_buffer_size(READ_BUFFER).max_message_size(MAX_FRAME * 2).max_frame_size(MAX_FRAME * 2);
    upgrade.on_upgrade(move |socket| async move {
        match refusal {
            Some(text) => refuse(socket, text).await,
            None => run(socket, conn, who, asks).await,
        }
        drop((ours, everybodys));
    })
}

async fn refuse(socket: WebSocket, text: String) {
    let (mut sink, mut stream) = socket.split();
    part(&mut sink, &mut stream, Some(Message::Text(text.into()))).await;
}

/// Serves a socket until either side ends it.
async fn run(socket: WebSocket, conn: ConnId, who: Who, asks: mpsc::Sender<hub_task::Ask>) {
    let (mut sink, mut stream) = socket.split();
    let (line, mut queue) = Line::new();
    let opened = Ask::Opened { conn, who, line };
    if asks.send(hub_task::Ask::Peers(opened)).await.is_err() {
        return;
    }
    tokio::select! {
        () = read(&mut stream, conn, &asks) => {}
        () = write(&mut sink, &mut queue, |queued: &Queued| Message::Text(queued.text.as_str().into())) => {
            part(&mut sink, &mut stream, None).await;
        }
    }
    // An error means that the hub's task has ended.
    let _ = asks.send(hub_task::Ask::Peers(Ask::Input(Input::Closed { conn }))).await;
}

/// Passes on what the client says; returns when it is gone, or has not even sent a heartbeat for a while.
async fn read(stream: &mut SplitStream<WebSocket>, conn: ConnId, asks: &mpsc::Sender<hub_task::Ask>) {
    while let Ok(Some(Ok(frame))) = timeout(SILENT, stream.next()).await {
        let input = match frame {
            Message::Text(text) => match Said::parse(text.as_str()) {
                Some(said) if said.kind == Kind::Heartbeat => continue,
                Some(said) => Input::Said { conn, said },
                None => Input::Malformed { conn },
            },
            Message::Binary(_) => Input::Malformed { conn },
            Message::Ping(_) | Message::Pong(_) => continue,
            Message::Close(_) => return,
        };
        if asks.send(hub_task::Ask::Peers(Ask::Input(input))).await.is_err() {
            return;
        }
    }
}

/// The broker with the ways to its clients and to other nodes.
#[derive(Debug)]
pub(super) struct Peers {
    broker: Broker,
    clock: (Instant, u64),
    lines: FxHashMap<ConnId, Line>,
    lists: FxHashMap<u64, oneshot::Sender<Option<Vec<String>>>>,
    next_list: u64,
    /// The cascade's shard; `None` for a node on its own.
    cascade: Option<ShardId>,
    /// Signs tokens for those who call a room without one. Only for development on one machine.
    dev: Option<(Keys, String)>,
    /// Calls to rooms, for the hub.
    calls: Vec<(ConnId, Box<Call>)>,
    out: Vec<Output>,
}

impl Peers {
    pub(super) fn new(config: &hub::Config, dev_key: Option<String>, now: Instant) -> Self {
        let me = NodeInfo::unknown(config.node.clone(), config.region.clone());
        Self {
            broker: Broker::new(me, now),
            clock: (now, 0),
            lines: FxHashMap::default(),
            lists: FxHashMap::default(),
            next_list: 0,
            cascade: config.cascade,
            dev: dev_key.map(|key| (config.keys.clone(), key)),
            calls: Vec::new(),
            out: Vec::new(),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.broker.deadline()
    }

    pub(super) fn set_clock(&mut self, now: Instant, unix_ms: u64) {
        self.clock = (now, unix_ms);
    }

    fn give(&mut self, input: Input) {
        self.broker.handle(self.clock, input, &mut self.out);
    }

    pub(super) fn handle_timeout(&mut self) {
        if self.broker.deadline().is_some_and(|at| at <= self.clock.0) {
            self.broker.handle_timeout(self.clock, &mut self.out);
        }
    }

    pub(super) fn ask(&mut self, ask: Ask) {
        match ask {
            Ask::Opened { conn, who, line } => {
                self.lines.insert(conn, line);
                self.give(Input::Opened { conn, who });
            }
            Ask::Input(input) => {
                if let Input::Closed { conn } = input {
                    self.lines.remove(&conn);
                }
                self.give(input);
            }
            Ask::List { key, reply } => {
                let number = self.next_list;
                self.next_list += 1;
                self.lists.insert(number, reply);
                self.give(Input::List { number, key });
            }
            // Whoever asked may be gone by now.
            Ask::Stats(reply) => drop(reply.send(self.broker.stats())),
        }
    }

    /// Takes what is the broker's of what shards report; the rest comes back.
    pub(super) fn media(&mut self, event: Event) -> Option<Event> {
        match event {
            Event::Room { from, body, .. } if peerjs::is_ours(&body) => {
                self.give(Input::Node { from, body });
                return None;
            }
            Event::Cluster { ref view } => self.give(Input::Cluster { view: view.clone() }),
            _ => {}
        }
        Some(event)
    }

    pub(super) fn drain(&mut self) {
        self.give(Input::Drain);
    }

    /// Calls to rooms since this was asked last.
    pub(super) fn take_calls(&mut self) -> Vec<(ConnId, Box<Call>)> {
        std::mem::take(&mut self.calls)
    }

    /// What a call to a room asks of the hub; the error says why it may not.
    pub(super) fn room_ask(&self, call: &Call) -> Result<whip::Ask, String> {
        let token = match (&call.token, &self.dev) {
            (Some(token), _) => token.clone(),
            (None, Some((keys, key))) => {
                let claims = Claims::join(key, call.room.as_str(), &call.peer, &call.name, self.clock.1 / 1000, MAX_JOIN_TTL);
                token::mint(keys, &claims).map_err(|error| error.to_string())?
            }
            (None, None) => return Err("the call's metadata has no token for the room".to_owned()),
        };
        Ok(call.ask(token))
    }

    /// Tells a caller what the hub made of its call.
    pub(super) fn answered(&mut self, conn: ConnId, call: Box<Call>, outcome: Result<Outcome, String>) {
        let answer = match outcome {
            Ok(Outcome::Opened { session, answer, .. }) => Ok(Answer { session, sdp: answer }),
            Ok(Outcome::Refused(refused)) => Err(refused.text),
            Ok(Outcome::Elsewhere { edge }) => Err(format!("this node takes nobody; {edge} does")),
            Ok(Outcome::Trickled { .. } | Outcome::Restarted { .. } | Outcome::Closed) => Err("nothing was opened".to_owned()),
            Err(why) => Err(why),
        };
        if let Err(why) = &answer {
            tracing::info!(peer = %call.peer, room = %call.room, %why, "a PeerJS client's call to a room is refused");
        }
        self.give(Input::Answered { conn, call, answer });
    }

    /// A session of a room is over, which may have been a client's call.
    pub(super) fn ended(&mut self, session: String) {
        self.give(Input::Ended { session });
    }

    /// Carries out what the broker said; what is for a shard comes back.
    pub(super) fn carry_out(&mut self) -> Vec<(ShardId, Command)> {
        let mut commands = Vec::new();
        while !self.out.is_empty() {
            for output in std::mem::take(&mut self.out) {
                match output {
                    Output::Send { conn, text, caller } => {
                        let Some(line) = self.lines.get(&conn) else { continue };
                        if !line.put(text) {
                            self.give(Input::Full { caller });
                        }
                    }
                    Output::Close { conn } => drop(self.lines.remove(&conn)),
                    Output::Call { conn, call } => self.calls.push((conn, call)),
                    Output::Node { to, body } => {
                        let command = Command::Room { to, room: RoomId::new("peerjs"), body };
                        commands.extend(self.cascade.map(|shard| (shard, command)));
                    }
                    Output::Listed { number, ids } => {
                        // Whoever asked may be gone by now.
                        let _ = self.lists.remove(&number).map(|reply| reply.send(ids));
                    }
                }
            }
        }
        commands
    }
}
