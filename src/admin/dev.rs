//! Breaking things on purpose, in `weir dev` only: paths between regions made worse, nodes killed and started. Owns the
//! questions and their routes; `cli::dev` answers them.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::{Overview, PATIENCE, refuse};
use crate::id::{NodeId, RegionId};
use crate::impair::Impairment;

/// Questions that may wait; who finds the queue full waits with it.
pub const DEV_ASKS_DEPTH: usize = 32;

/// The longest delay, jitter or queue that may be asked for, in milliseconds. More would only hold memory.
const LONGEST_MS: f64 = 10_000.0;

/// A question to `weir dev` with the way back. An error says in words why not; the operator reads it.
#[derive(Debug)]
pub enum DevAsk {
    Show {
        reply: oneshot::Sender<DevState>,
    },
    /// How bad the path from one region to another is from now on.
    Path {
        from: RegionId,
        to: RegionId,
        /// The way back as well.
        both: bool,
        impairment: Impairment,
        reply: oneshot::Sender<Result<(), String>>,
    },
    /// Answered when it is done, or for `drain` when it has begun.
    Node {
        node: NodeId,
        action: NodeAction,
        reply: oneshot::Sender<Result<(), String>>,
    },
}

/// What may be done to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeAction {
    /// It ends as if the power had gone: nobody is told.
    Kill,
    /// It starts again under its old name.
    Start,
    /// It takes nothing new, and who depends on it moves away.
    Drain,
}

/// What `weir dev` runs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DevState {
    pub regions: Vec<DevRegion>,
    /// Every direction between two regions.
    pub paths: Vec<DevPath>,
}

/// A region of `weir dev` and its node.
#[derive(Clone, Debug, Serialize)]
pub struct DevRegion {
    pub node: NodeId,
    pub region: RegionId,
    /// Of its page, such as `http://localhost:8081`.
    pub url: String,
    pub running: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct DevPath {
    pub from: RegionId,
    pub to: RegionId,
    pub impairment: Impairment,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetPath {
    from: RegionId,
    to: RegionId,
    #[serde(default)]
    both: bool,
    impairment: Impairment,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetNode {
    node: NodeId,
    action: NodeAction,
}

/// `GET /v1/admin/dev`: regions and the paths between them.
pub(super) async fn show(State(state): State<Arc<Overview>>) -> Response {
    let Some(dev) = &state.dev else { return not_dev() };
    match ask(dev, |reply| DevAsk::Show { reply }).await {
        Some(state) => Json(state).into_response(),
        None => silent(),
    }
}

/// `POST /v1/admin/dev/path`: `{"from", "to", "both", "impairment": {…}}`.
pub(super) async fn path(State(state): State<Arc<Overview>>, body: Bytes) -> Response {
    let Some(dev) = &state.dev else { return not_dev() };
    let SetPath { from, to, both, impairment } = match parse(&body) {
        Ok(asked) => asked,
        Err(response) => return *response,
    };
    if let Err(what) = is_possible(&impairment) {
        return refuse(StatusCode::BAD_REQUEST, "bad_impairment", what);
    }
    done(ask(dev, |reply| DevAsk::Path { from, to, both, impairment, reply }).await)
}

/// `POST /v1/admin/dev/node`: `{"node", "action": "kill" | "start" | "drain"}`.
pub(super) async fn node(State(state): State<Arc<Overview>>, body: Bytes) -> Response {
    let Some(dev) = &state.dev else { return not_dev() };
    let SetNode { node, action } = match parse(&body) {
        Ok(asked) => asked,
        Err(response) => return *response,
    };
    done(ask(dev, |reply| DevAsk::Node { node, action, reply }).await)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Box<Response>> {
    let why = |error: serde_json::Error| Box::new(refuse(StatusCode::BAD_REQUEST, "bad_body", &error.to_string()));
    serde_json::from_slice(body).map_err(why)
}

fn is_possible(impairment: &Impairment) -> Result<(), &'static str> {
    let Impairment { delay_ms, jitter_ms, loss, burst, rate_kbps: _, queue_ms, partition: _ } = *impairment;
    let waits = [delay_ms, jitter_ms, f64::from(queue_ms)];
    if !waits.iter().all(|wait| (0.0..=LONGEST_MS).contains(wait)) {
        return Err("delay_ms, jitter_ms and queue_ms are from 0 to 10000");
    }
    if !(0.0..=1.0).contains(&loss) {
        return Err("loss is a share: from 0 to 1");
    }
    if !(0.0..=1_000.0).contains(&burst) {
        return Err("burst is a number of packets: from 0 to 1000");
    }
    Ok(())
}

async fn ask<T>(dev: &mpsc::Sender<DevAsk>, question: impl FnOnce(oneshot::Sender<T>) -> DevAsk) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    let asked = async {
        dev.send(question(reply)).await.ok()?;
        answer.await.ok()
    };
    tokio::time::timeout(PATIENCE, asked).await.ok().flatten()
}

fn done(answer: Option<Result<(), String>>) -> Response {
    match answer {
        Some(Ok(())) => StatusCode::NO_CONTENT.into_response(),
        Some(Err(why)) => refuse(StatusCode::CONFLICT, "refused", &why),
        None => silent(),
    }
}

fn not_dev() -> Response {
    refuse(StatusCode::NOT_FOUND, "not_dev", "only `weir dev` breaks things on purpose")
}

fn silent() -> Response {
    refuse(StatusCode::SERVICE_UNAVAILABLE, "no_answer", "`weir dev` does not answer; it is busy starting or stopping a node")
}
