//! WHIP and WHEP for a server that speaks Janus' API instead: takes the crowd's offers over HTTP and says them as VideoRoom's
//! requests. Runs in the bench's own process, so that it is not counted.

use std::net::Ipv4Addr;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use weir::load::http::Http;

use super::turned::turned;

/// The room that the configuration makes.
pub(crate) const ROOM: u32 = 1;
/// The publisher's id in it.
const FEED: u32 = 7;
/// VideoRoom: nobody of that id publishes, yet.
const NO_SUCH_FEED: u64 = 428;
/// How often a subscriber asks for a publisher whose media is not up.
const ASKS: u32 = 100;

#[derive(Clone)]
struct Janus {
    http: Http,
    api: String,
}

type Reply = Result<(StatusCode, String), (StatusCode, String)>;

/// Listens on loopback for what it passes on to the API; its address, and the task.
pub(crate) async fn start(api: &str) -> Result<(String, tokio::task::JoinHandle<()>), String> {
    let janus = Janus { http: Http::default(), api: api.to_owned() };
    let routes = Router::new().route("/whip/load", post(publish)).route("/whep/load", post(watch)).with_state(janus);
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|error| error.to_string())?;
    let url = format!("http://{}", listener.local_addr().map_err(|error| error.to_string())?);
    let task = tokio::spawn(async move { drop(axum::serve(listener, routes).await) });
    Ok((url, task))
}

async fn publish(State(janus): State<Janus>, offer: String) -> Reply {
    answered(janus.publish(offer).await)
}

async fn watch(State(janus): State<Janus>, offer: String) -> Reply {
    answered(janus.watch(&offer).await)
}

fn answered(done: Result<String, String>) -> Reply {
    done.map(|answer| (StatusCode::CREATED, answer)).map_err(|why| (StatusCode::BAD_GATEWAY, why))
}

/// A session with VideoRoom attached to it: one member.
struct Session {
    url: String,
    handle: u64,
}

impl Janus {
    async fn publish(&self, offer: String) -> Result<String, String> {
        let session = self.open().await?;
        let body = json!({ "request": "joinandconfigure", "room": ROOM, "ptype": "publisher", "id": FEED });
        let event = self.say(&session, body, Some(("offer", offer))).await?;
        sdp(&event)
    }

    /// Janus offers to those who watch: what each side is told is made of the other's offer.
    async fn watch(&self, offer: &str) -> Result<String, String> {
        let session = self.open().await?;
        let join = json!({ "request": "join", "room": ROOM, "ptype": "subscriber", "streams": [{ "feed": FEED }] });
        let mut event = Value::Null;
        for _ in 0..ASKS {
            event = self.say(&session, join.clone(), None).await?;
            if event.pointer("/plugindata/data/error_code").and_then(Value::as_u64) != Some(NO_SUCH_FEED) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let (to_janus, to_client) = turned(&sdp(&event)?, offer)?;
        self.say(&session, json!({ "request": "start" }), Some(("answer", to_janus))).await?;
        Ok(to_client)
    }

    async fn open(&self) -> Result<Session, String> {
        let id = |said: &Value| said.pointer("/data/id").and_then(Value::as_u64).ok_or("Janus names no id");
        let session = id(&self.ask(Method::POST, &self.api, json!({ "janus": "create" })).await?)?;
        let url = format!("{}/{session}", self.api);
        let attach = json!({ "janus": "attach", "plugin": "janus.plugin.videoroom" });
        let handle = id(&self.ask(Method::POST, &url, attach).await?)?;
        Ok(Session { url, handle })
    }

    /// Says something to the plugin; what it answers comes as an event.
    async fn say(&self, session: &Session, body: Value, jsep: Option<(&str, String)>) -> Result<Value, String> {
        let mut message = json!({ "janus": "message", "body": body });
        if let Some((kind, sdp)) = jsep {
            message["jsep"] = json!({ "type": kind, "sdp": sdp });
        }
        self.ask(Method::POST, &format!("{}/{}", session.url, session.handle), message).await?;
        loop {
            let event = self.ask(Method::GET, &session.url, Value::Null).await?;
            if event.get("plugindata").is_some() {
                return Ok(event);
            }
        }
    }

    async fn ask(&self, method: Method, url: &str, mut body: Value) -> Result<Value, String> {
        if !body.is_null() {
            body["transaction"] = json!("bench");
        }
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.http.ask(method, url, Some("application/json"), None, text).await?;
        let said: Value = serde_json::from_str(&answer.body).map_err(|error| format!("{url}: {error}"))?;
        match said.get("janus").and_then(Value::as_str) {
            Some("error") => Err(format!("{url}: {said}")),
            _ => Ok(said),
        }
    }
}

fn sdp(event: &Value) -> Result<String, String> {
    let sdp = event.pointer("/jsep/sdp").and_then(Value::as_str);
    sdp.map(str::to_owned).ok_or_else(|| format!("Janus says nothing of media: {event}"))
}
