//! The shell around a [`Session`]: one WebSocket and one task for each member. Reads frames, writes frames, and passes on to the
//! worker what the session makes of them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rustls::ClientConfig;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use crate::edge::message::SUBPROTOCOL;

use super::member::Role;
use super::session::{Do, Said, Session};
use super::worker::{Command, Key, Worker};

/// How long a connection or an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Changes that follow one upon another are answered together.
const SETTLE: Duration = Duration::from_millis(30);
/// How often the server hears of us.
const PING: Duration = Duration::from_secs(5);

/// Everything a member's task needs.
pub(super) struct Line {
    pub(super) key: Key,
    /// Of the room protocol, as `ws://HOST/v1/ws`.
    pub(super) url: String,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) session: Session,
    pub(super) role: Role,
    pub(super) worker: Arc<Worker>,
    /// Becomes true when all are to leave.
    pub(super) stop: watch::Receiver<bool>,
}

/// How a member's session went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// As it was meant to.
    Left,
    /// With these words, before or after it had entered the room.
    Failed { entered: bool, why: String },
}

/// Called when the room is entered.
pub(super) type Entered = Box<dyn FnOnce() + Send>;

/// Carries a member's session from the first word to the last.
pub(super) async fn carry(mut line: Line, entered: Entered) -> Ended {
    let mut task = Task { entered: Some(entered), socket: None };
    let done = task.run(&mut line).await;
    line.worker.tell(Command::Leave { key: line.key }).await;
    match done {
        Ok(()) => Ended::Left,
        Err(why) => Ended::Failed { entered: task.entered.is_none(), why },
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

struct Task {
    /// Until it was called.
    entered: Option<Entered>,
    socket: Option<Socket>,
}

impl Task {
    async fn run(&mut self, line: &mut Line) -> Result<(), String> {
        self.socket = Some(open(&line.url, &line.tls).await?);
        self.say(&line.session.hello()).await?;
        let mut pings = interval(PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings.reset();
        let (opened, mut stop) = (Instant::now(), line.stop.clone());
        // When changes are answered.
        let mut due = None;
        loop {
            if self.entered.is_some() && opened.elapsed() > PATIENCE {
                return Err(format!("the server did not let it in within {} s", PATIENCE.as_secs()));
            }
            let socket = self.socket.as_mut().ok_or("the socket is closed")?;
            let settled = async {
                match due {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                frame = socket.next() => {
                    let said = match frame {
                        Some(Ok(Message::Text(text))) => serde_json::from_str::<Said>(text.as_str()),
                        Some(Ok(Message::Close(_))) | None => return Err("the server closed the socket".to_owned()),
                        Some(Ok(_)) => continue,
                        Some(Err(error)) => return Err(format!("the socket broke: {error}")),
                    };
                    // A message of a shape we do not know is one we have no use for.
                    let Ok(said) = said else { continue };
                    let done = line.session.hear(said);
                    due.get_or_insert(Instant::now() + SETTLE);
                    self.act(line, done).await?;
                }
                () = settled => {
                    due = None;
                    let done = line.session.due();
                    self.act(line, done).await?;
                }
                _ = pings.tick() => self.say(&json!({ "t": "ping", "ts": 0 })).await?,
                () = stopped(&mut stop) => {
                    // The server may be gone already.
                    let _ = self.say(&json!({ "t": "bye" })).await;
                    return Ok(());
                }
            }
        }
    }

    async fn act(&mut self, line: &Line, done: Vec<Do>) -> Result<(), String> {
        let key = line.key;
        for what in done {
            match what {
                Do::Say(frame) => self.say(&frame).await?,
                Do::Entered => {
                    if let Some(entered) = self.entered.take() {
                        entered();
                    }
                }
                Do::Configure(settled) => {
                    let role = Box::new(line.role.clone());
                    line.worker.tell(Command::Configure { key, role, settled }).await;
                }
                Do::Bind { mid, bound } => line.worker.tell(Command::Bind { key, mid, bound }).await,
                Do::Expect { mid, bound } => line.worker.tell(Command::Expect { key, mid, bound }).await,
                Do::Layers(active) => line.worker.tell(Command::Layers { key, active }).await,
                Do::Over(why) => return Err(why),
                Do::Trouble(why) => tracing::debug!(key, why, "a request was refused"),
            }
        }
        Ok(())
    }

    async fn say(&mut self, frame: &Value) -> Result<(), String> {
        let socket = self.socket.as_mut().ok_or("the socket is closed")?;
        let sent = timeout(PATIENCE, socket.send(Message::text(frame.to_string()))).await;
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("the socket broke: {error}")),
            Err(_) => Err("the server does not read its socket".to_owned()),
        }
    }
}

/// Waits until all are to leave; or the run is over, and nobody is left to say so.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn open(url: &str, tls: &Arc<ClientConfig>) -> Result<Socket, String> {
    let mut request = url.into_client_request().map_err(|error| format!("{url} is no address of a WebSocket: {error}"))?;
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL));
    let connector = Some(Connector::Rustls(Arc::clone(tls)));
    match timeout(PATIENCE, connect_async_tls_with_config(request, None, false, connector)).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(error)) => Err(refusal(url, &error)),
        Err(_) => Err(format!("{url} does not answer within {} s", PATIENCE.as_secs())),
    }
}

/// Why a WebSocket was not opened, with the mend.
fn refusal(url: &str, error: &Error) -> String {
    match error {
        Error::Http(response) => {
            let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            let hint = match response.status() {
                StatusCode::NOT_FOUND => {
                    "is that a weir server's public address? (its port is http.listen's, not admin.listen's)"
                }
                StatusCode::SERVICE_UNAVAILABLE => {
                    "the server is full; raise limits.connections, or come more slowly with --ramp"
                }
                _ => "",
            };
            format!("{url} answers {}: {} {hint}", response.status(), body.trim()).trim_end().to_owned()
        }
        Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            format!("{url}: {error}; where an authority of one's own made the certificate, name that in SSL_CERT_FILE")
        }
        Error::Io(error) => format!("{url} can't be reached ({error}); is the server running, and is --url right?"),
        Error::Url(error) => format!("{url}: {error}"),
        other => format!("{url}: {other}"),
    }
}
