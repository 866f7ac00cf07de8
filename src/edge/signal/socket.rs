//! One WebSocket: reads frames and parses them at the border, writes what the hub sends, and sees when the other end is gone.
//! Part of `edge::signal`.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::hub_task::{Ask, Wire};
use crate::edge::hub::{ConnId, Input, Limits};
use crate::edge::message::{ClientFrame, ErrorCode, LeaveAction, LeaveReason, ServerFrame, ServerMessage};

/// How often the socket itself is pinged, for clients whose pages are throttled in the background.
const PING: Duration = Duration::from_secs(5);

/// A socket that says nothing, not even a pong, for this long is lost. Shorter sees a dead network sooner, longer rides out a
/// stalled one.
pub(super) const SILENT: Duration = Duration::from_secs(12);

/// How long the last words may take.
const PARTING: Duration = Duration::from_secs(1);

/// How much of a parser's complaint is told.
const WHY_CHARS: usize = 200;

/// Serves a socket until either side ends it.
pub(super) async fn run(socket: WebSocket, conn: ConnId, asks: mpsc::Sender<Ask>, limits: Limits) {
    let (mut sink, mut stream) = socket.split();
    let (frames, mut queue) = mpsc::channel(limits.socket_queue);
    let (too_slow, slow) = oneshot::channel();
    if asks.send(Ask::Opened { conn, wire: Wire { frames, too_slow } }).await.is_err() {
        return;
    }
    tokio::select! {
        () = read(&mut stream, conn, &asks, limits.frame_bytes) => {}
        () = write(&mut sink, &mut queue, text) => part(&mut sink, &mut stream, None).await,
        () = told_slow(slow) => {
            let body = ServerMessage::Leave {
                reason: LeaveReason::TooSlow,
                action: LeaveAction::Resume,
                message: "the connection does not keep up with what is sent".into(),
            };
            part(&mut sink, &mut stream, Some(text(&ServerFrame::unnumbered(body)))).await;
        }
    }
    // An error means that the hub has ended.
    let _ = asks.send(Ask::Input(Input::Closed { conn })).await;
}

/// Passes on what the client says; returns when it is gone.
async fn read(stream: &mut SplitStream<WebSocket>, conn: ConnId, asks: &mpsc::Sender<Ask>, most: usize) {
    while let Ok(Some(Ok(message))) = timeout(SILENT, stream.next()).await {
        let input = match message {
            Message::Text(text) => parse(conn, text.as_str(), most),
            Message::Binary(_) => malformed(conn, ErrorCode::BadMessage, "frames are JSON texts".into()),
            Message::Ping(_) | Message::Pong(_) => continue,
            Message::Close(_) => return,
        };
        if asks.send(Ask::Input(input)).await.is_err() {
            return;
        }
    }
}

fn parse(conn: ConnId, text: &str, most: usize) -> Input {
    if text.len() > most {
        return malformed(conn, ErrorCode::TooLarge, format!("a frame: {most} bytes at most"));
    }
    match serde_json::from_str::<ClientFrame>(text) {
        Ok(frame) => Input::Frame { conn, frame },
        Err(error) => malformed(conn, ErrorCode::BadMessage, error.to_string().chars().take(WHY_CHARS).collect()),
    }
}

fn malformed(conn: ConnId, code: ErrorCode, why: String) -> Input {
    Input::Malformed { conn, code, why }
}

/// Returns when the socket is found too slow.
async fn told_slow(slow: oneshot::Receiver<()>) {
    // An error means that the hub's task has let go of the socket, which `write` sees too.
    if slow.await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Writes what is queued, each as `text` makes it; returns when no more will come, or the other end takes no more.
pub(super) async fn write<T>(
    sink: &mut SplitSink<WebSocket, Message>,
    queue: &mut mpsc::Receiver<T>,
    text: impl Fn(&T) -> Message,
) {
    let mut pings = interval(PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            frame = queue.recv() => match frame {
                Some(frame) => text(&frame),
                None => return,
            },
            _ = pings.tick() => Message::Ping(Default::default()),
        };
        // One that takes nothing is as lost as one that says nothing, whatever it still says.
        if !matches!(timeout(SILENT, sink.send(message)).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// Last words and a proper end. What the client still says is read and left: a socket closed with unread input is reset, and
/// a reset overtakes the words.
pub(super) async fn part(
    sink: &mut SplitSink<WebSocket, Message>,
    stream: &mut SplitStream<WebSocket>,
    words: Option<Message>,
) {
    let farewell = async {
        let close = CloseFrame { code: close_code::NORMAL, reason: Default::default() };
        for message in words.into_iter().chain([Message::Close(Some(close))]) {
            if sink.send(message).await.is_err() {
                return;
            }
        }
        while let Some(Ok(_)) = stream.next().await {}
    };
    // A client that does not take them in time does without.
    let _ = timeout(PARTING, farewell).await;
}

fn text(frame: &ServerFrame) -> Message {
    // Serializing fails for maps with keys that are no texts only, and there are none.
    Message::Text(serde_json::to_string(frame).unwrap_or_default().into())
}
