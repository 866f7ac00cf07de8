//! Members who have entered a room and do nothing: what their sockets and sessions hold, and what keeping them costs.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use weir::edge::message::SUBPROTOCOL;
use weir::load::http::Http;
use weir::load::scenario::Scenario;

use super::support::usage::Usage;
use super::support::weir::Weir;

/// In one room.
const TOGETHER: usize = 4;
/// How many may be on their way in at once.
const AT_ONCE: usize = 50;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A row of words.
pub(crate) async fn visit(server: &Weir, count: usize, seconds: u64) -> Result<String, String> {
    let empty = Usage::of(server.pid());
    let scenario = Scenario { rooms: count.div_ceil(TOGETHER) as u32, subscribers: TOGETHER as u32, ..Scenario::default() };
    let (http, url) = (Http::default(), format!("{}/v1/ws", server.url.replace("http", "ws")));
    let mut members = JoinSet::new();
    let (entered, mut entering) = mpsc::channel(AT_ONCE);
    let began = Instant::now();
    let (mut coming, mut inside) = (0, 0);
    for seat in scenario.seats().take(count) {
        let token = server.tokens.of(&http, &server.url, &seat).await?.unwrap_or_default();
        members.spawn(stay(url.clone(), token, entered.clone()));
        coming += 1;
        while coming - inside >= AT_ONCE {
            entering.recv().await.ok_or("nobody enters")??;
            inside += 1;
        }
    }
    while inside < count {
        entering.recv().await.ok_or("nobody enters")??;
        inside += 1;
    }
    let joined = began.elapsed().as_secs_f64();
    let at_first = Usage::of(server.pid());
    // What was needed to let them in may go again.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let from = Usage::of(server.pid());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let to = Usage::of(server.pid());
    if let Some(ended) = members.try_join_next() {
        return Err(format!("one did not stay: {ended:?}"));
    }
    members.shutdown().await;
    Ok(format!(
        "{count} idle members in rooms of {TOGETHER}: {:.0} joins/s, {:.2} ms of CPU each; {:.1} KiB each; {:.3} cores to keep them",
        count as f64 / joined,
        (at_first.cpu - empty.cpu) * 1_000.0 / count as f64,
        (to.resident_kib - empty.resident_kib) / count as f64,
        (to.cpu - from.cpu) / seconds as f64,
    ))
}

/// One member: enters, reads whatever it is told, and says as often as it is asked to that it is there.
async fn stay(url: String, token: String, entered: mpsc::Sender<Result<(), String>>) -> String {
    let ended = sit(&url, &token, &entered).await;
    let why = ended.err().unwrap_or_else(|| "the server closed the socket".to_owned());
    let _ = entered.send(Err(why.clone())).await;
    why
}

async fn sit(url: &str, token: &str, entered: &mpsc::Sender<Result<(), String>>) -> Result<(), String> {
    let mut request = url.into_client_request().map_err(|error| error.to_string())?;
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL));
    let opening = timeout(PATIENCE, tokio_tungstenite::connect_async(request));
    let (mut socket, _) = opening.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let say = |value: serde_json::Value| Message::text(value.to_string());
    socket.send(say(serde_json::json!({ "t": "hello", "token": token }))).await.map_err(|error| error.to_string())?;
    let welcome = timeout(PATIENCE, welcomed(&mut socket)).await.map_err(|error| error.to_string())??;
    let welcome: serde_json::Value = serde_json::from_str(welcome.as_str()).map_err(|error| error.to_string())?;
    let every = Duration::from_millis(welcome["ping_ms"].as_u64().ok_or_else(|| format!("not let in: {welcome}"))?);
    let _ = entered.send(Ok(())).await;
    let mut pings = interval_at(Instant::now() + every, every);
    loop {
        tokio::select! {
            frame = socket.next() => match frame {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.to_string()),
                None => return Ok(()),
            },
            _ = pings.tick() => {
                socket.send(say(serde_json::json!({ "t": "ping", "ts": 0 }))).await.map_err(|error| error.to_string())?;
            }
        }
    }
}

/// The first words, whatever else comes before.
async fn welcomed(socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>) -> Result<Utf8Bytes, String> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(text),
            Some(Ok(Message::Close(frame))) => return Err(format!("closed: {frame:?}")),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.to_string()),
            None => return Err("closed".to_owned()),
        }
    }
}
