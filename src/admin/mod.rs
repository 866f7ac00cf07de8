//! The operator's listener: health, metrics, rooms and members. Owns its routes and how they answer; asks shards and the hub by
//! message and changes nothing but by their leave. It asks nobody for a password, so `admin.listen` is loopback unless the
//! operator says otherwise. `node` serves [`routes`].

mod metrics;
mod process;
mod rooms;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};

use crate::edge::signal::HubHandle;
use crate::id::{NodeId, RegionId};
use crate::shard::Inbox;
use crate::shard::stats::ShardStats;

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
    pub phase: watch::Receiver<Phase>,
}

/// All routes of the admin listener.
pub fn routes(state: AdminState) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .route("/v1/admin/rooms", get(rooms::list))
        .route("/v1/admin/rooms/{room}", get(rooms::show))
        .route("/v1/admin/rooms/{room}/members/{member}", delete(rooms::remove))
        .fallback(|| async {
            refuse(
                StatusCode::NOT_FOUND,
                "not_found",
                "no such page; there are /healthz, /readyz, /metrics and /v1/admin/rooms",
            )
        })
        .with_state(Arc::new(state))
}

/// The process runs and answers.
async fn healthz() -> &'static str {
    "ok\n"
}

/// New members may be sent here.
async fn readyz(State(state): State<Arc<AdminState>>) -> Response {
    let phase = *state.phase.borrow();
    match phase {
        Phase::Serving => "ready\n".into_response(),
        Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response(),
        Phase::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response(),
    }
}

async fn scrape(State(state): State<Arc<AdminState>>) -> Response {
    let (shards, rooms) = futures_util::future::join(shard_stats(&state.shards), rooms::snapshot(&state)).await;
    let phase = *state.phase.borrow();
    match metrics::encode(&metrics::Snapshot {
        node: &state.node,
        region: &state.region,
        phase,
        shards: &shards,
        rooms: rooms.as_ref(),
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

/// An error as JSON: a code for programs, words for people.
fn refuse(status: StatusCode, code: &str, what: &str) -> Response {
    (status, Json(json!({ "error": { "code": code, "message": what } }))).into_response()
}
