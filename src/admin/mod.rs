//! The operator's listener: the dashboard, health, metrics, rooms and members, the cascade. Owns its routes and how they answer;
//! asks shards, the hub and the cascade by message and changes nothing but by their leave. It asks nobody for a password, so
//! `admin.listen` is loopback unless the operator says otherwise. `node` serves [`routes`].

mod cascade;
mod dev;
mod guard;
mod link_metrics;
mod metrics;
mod peerjs_metrics;
pub(crate) mod process;
mod rooms;
#[cfg(test)]
mod tests;
mod turn_metrics;

pub use cascade::CascadeAccess;
pub use dev::{DEV_ASKS_DEPTH, DevAsk, DevPath, DevRegion, DevState, NodeAction};

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router, middleware};
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};

use crate::edge::signal::HubHandle;
use crate::id::{NodeId, RegionId};
use crate::shard::Inbox;
use crate::shard::stats::ShardStats;
use crate::{turn, web};

/// How long a shard or the hub may take to answer before the operator hears of it. A shard answers between two batches.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where a node is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Starting,
    Serving,
    /// Told to stop: no new members.
    Draining,
}

/// What the admin listener asks.
#[derive(Clone, Debug)]
pub struct AdminState {
    pub node: NodeId,
    pub region: RegionId,
    /// By shard index.
    pub shards: Vec<mpsc::Sender<Inbox>>,
    pub hub: HubHandle,
    /// The STUN and TURN server, if this node runs one.
    pub turn: Option<mpsc::Sender<turn::shell::Ask>>,
    pub phase: watch::Receiver<Phase>,
    pub overview: Overview,
}

/// What is shown of several nodes at once.
#[derive(Clone, Debug)]
pub struct Overview {
    /// Whose listener it is; none for that of `weir dev`, which outlives its nodes.
    pub node: Option<NodeId>,
    /// The nodes of this process that the cascade joins: one, or those of `weir dev` that run. Empty: no cascade.
    pub cascade: watch::Receiver<Vec<CascadeAccess>>,
    /// None everywhere but in `weir dev`.
    pub dev: Option<mpsc::Sender<DevAsk>>,
}

/// All routes of the admin listener.
pub fn routes(state: AdminState) -> Router {
    let several = state.overview.clone();
    let own = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .route("/v1/admin/rooms", get(rooms::list))
        .route("/v1/admin/rooms/{room}", get(rooms::show))
        .route("/v1/admin/rooms/{room}/members/{member}", get(rooms::member))
        .route("/v1/admin/rooms/{room}/members/{member}", delete(rooms::remove))
        .with_state(Arc::new(state));
    overview_with(several, own)
}

/// The routes that show several nodes, for a listener that outlives them.
pub fn overview(state: Overview) -> Router {
    overview_with(state, Router::new())
}

fn overview_with(state: Overview, own: Router) -> Router {
    Router::new()
        .route("/v1/admin/cascade", get(cascade::show))
        .route("/v1/admin/drain", post(cascade::drain))
        .route("/v1/admin/dev", get(dev::show))
        .route("/v1/admin/dev/path", post(dev::path))
        .route("/v1/admin/dev/node", post(dev::node))
        .route("/v1/admin/openapi.json", get(openapi))
        .with_state(Arc::new(state))
        .merge(own)
        .fallback(|| async {
            let what = "no such page; /v1/admin/openapi.json names all, and / is for people";
            refuse(StatusCode::NOT_FOUND, "not_found", what)
        })
        .method_not_allowed_fallback(|| async {
            let what = "not with that method; /v1/admin/openapi.json names those there are";
            refuse(StatusCode::METHOD_NOT_ALLOWED, "bad_method", what)
        })
        .layer(middleware::from_fn(guard::same_origin))
        .merge(web::dashboard())
}

/// What can be asked here, for programs. A test holds it against the routes.
async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("openapi.json")).into_response()
}

/// The process runs and answers.
async fn healthz() -> &'static str {
    "ok\n"
}

/// New members may be sent here.
async fn readyz(State(state): State<Arc<AdminState>>) -> Response {
    let phase = *state.phase.borrow();
    match phase {
        // As a load balancer should know; who asks a load balancer is not to be sent here.
        Phase::Serving if state.hub.is_busy() => (StatusCode::SERVICE_UNAVAILABLE, "busy\n").into_response(),
        Phase::Serving => "ready\n".into_response(),
        Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response(),
        Phase::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response(),
    }
}

async fn scrape(State(state): State<Arc<AdminState>>) -> Response {
    let asked = (shard_stats(&state.shards), rooms::snapshot(&state), cascade::read(&state.overview), turn_stats(&state));
    let (shards, rooms, cascade, turn) = futures_util::future::join4(asked.0, asked.1, asked.2, asked.3).await;
    let peerjs = tokio::time::timeout(PATIENCE, state.hub.peerjs()).await.ok().flatten();
    let phase = *state.phase.borrow();
    match metrics::encode(&metrics::Snapshot {
        node: &state.node,
        region: &state.region,
        phase,
        shards: &shards,
        rooms: rooms.as_ref(),
        cascade: &cascade.nodes,
        turn: turn.as_ref(),
        peerjs: peerjs.as_ref(),
    }) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(why) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "metrics", &why.to_string()),
    }
}

/// Each shard's counters; none for a shard that does not answer, which is itself a metric.
async fn shard_stats(shards: &[mpsc::Sender<Inbox>]) -> Vec<Option<ShardStats>> {
    let ask = |shard: &mpsc::Sender<Inbox>| {
        let shard = shard.clone();
        async move {
            let (reply, answer) = oneshot::channel();
            let asked = async {
                shard.send(Inbox::Stats { reply }).await.ok()?;
                answer.await.ok()
            };
            tokio::time::timeout(PATIENCE, asked).await.ok().flatten()
        }
    };
    futures_util::future::join_all(shards.iter().map(ask)).await
}

/// What the STUN and TURN server counts; none without one.
async fn turn_stats(state: &AdminState) -> Option<turn::Stats> {
    let asks = state.turn.as_ref()?;
    let (reply, answer) = oneshot::channel();
    let asked = async {
        asks.send(turn::shell::Ask::Stats { reply }).await.ok()?;
        answer.await.ok()
    };
    tokio::time::timeout(PATIENCE, asked).await.ok().flatten()
}

/// An error as JSON: a code for programs, words for people.
fn refuse(status: StatusCode, code: &str, what: &str) -> Response {
    (status, Json(json!({ "error": { "code": code, "message": what } }))).into_response()
}
