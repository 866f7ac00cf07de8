//! The cascade as JSON, and draining a node. Asks the cascade's shards of this process; they do the rest.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::{Overview, PATIENCE, refuse};
use crate::cascade::status::Status;
use crate::edge::signal::HubHandle;
use crate::id::NodeId;
use crate::shard::CascadeAsk;

/// The way to the cascade of one node in this process.
#[derive(Clone, Debug)]
pub struct CascadeAccess {
    pub node: NodeId,
    pub asks: mpsc::Sender<CascadeAsk>,
    /// Heard by the node: it drains, whatever comes by whichever way.
    pub drain: mpsc::Sender<()>,
    pub hub: HubHandle,
}

/// What the nodes of this process said of the cascade, and who said nothing.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) nodes: Vec<Status>,
    pub(super) silent: Vec<NodeId>,
}

/// `GET /v1/admin/cascade`: what each node of this process knows.
pub(super) async fn show(State(state): State<Arc<Overview>>) -> Response {
    let Reading { nodes, silent } = read(&state).await;
    Json(json!({ "nodes": nodes, "silent": silent })).into_response()
}

#[derive(Debug, Deserialize)]
pub(super) struct Which {
    node: Option<NodeId>,
}

/// `POST /v1/admin/drain?node=`: a node takes nothing new, and who depends on it moves away. Without `node` the one whose
/// listener this is.
pub(super) async fn drain(State(state): State<Arc<Overview>>, Query(which): Query<Which>) -> Response {
    let node = which.node.or_else(|| state.node.clone());
    let found = state.cascade.borrow().iter().find(|known| Some(&known.node) == node.as_ref()).cloned();
    let Some(access) = found else {
        return refuse(StatusCode::NOT_FOUND, "no_node", "there is no such node in this process; ask its own admin listener");
    };
    // A full queue means that it was told already.
    let _ = access.drain.try_send(());
    let node = &access.node;
    tracing::info!(%node, "drained by the operator");
    (StatusCode::ACCEPTED, Json(json!({ "node": node, "draining": true }))).into_response()
}

/// Asks every node of this process at once.
pub(super) async fn read(state: &Overview) -> Reading {
    let all = state.cascade.borrow().clone();
    let answers = futures_util::future::join_all(all.iter().map(|one| ask(one, |reply| CascadeAsk::Status { reply }))).await;
    let mut reading = Reading::default();
    for (access, answer) in all.into_iter().zip(answers) {
        match answer {
            Some(status) => reading.nodes.push(Status { members: access.hub.open_sockets(), ..status }),
            None => reading.silent.push(access.node),
        }
    }
    reading
}

async fn ask<T>(access: &CascadeAccess, question: impl FnOnce(oneshot::Sender<T>) -> CascadeAsk) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    let asked = async {
        access.asks.send(question(reply)).await.ok()?;
        answer.await.ok()
    };
    tokio::time::timeout(PATIENCE, asked).await.ok().flatten()
}
