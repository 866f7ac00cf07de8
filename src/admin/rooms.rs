//! Rooms and members as JSON, and removing a member. Reads the hub's snapshot; the hub does the removing.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{AdminState, PATIENCE, refuse};
use crate::edge::hub::{RoomSnapshot, Snapshot};
use crate::id::MemberId;

/// `GET /v1/admin/rooms`: every room, without its members.
pub(super) async fn list(State(state): State<Arc<AdminState>>) -> Response {
    let Some(snapshot) = snapshot(&state).await else { return silent() };
    let rooms: Vec<_> = snapshot.rooms.iter().map(summary).collect();
    Json(json!({ "node": snapshot.node, "region": snapshot.region, "draining": snapshot.draining, "rooms": rooms }))
        .into_response()
}

/// `GET /v1/admin/rooms/{room}`: one room with its members.
pub(super) async fn show(State(state): State<Arc<AdminState>>, Path(room): Path<String>) -> Response {
    let Some(snapshot) = snapshot(&state).await else { return silent() };
    match snapshot.rooms.iter().find(|known| known.id.as_str() == room) {
        Some(room) => Json(room).into_response(),
        None => refuse(StatusCode::NOT_FOUND, "no_room", "there is no such room on this node; it may have ended"),
    }
}

/// `DELETE /v1/admin/rooms/{room}/members/{pid}`: ends a member's session. It may come back with a new token.
pub(super) async fn remove(State(state): State<Arc<AdminState>>, Path((room, member)): Path<(String, String)>) -> Response {
    let Ok(member) = member.parse::<MemberId>() else {
        return refuse(StatusCode::BAD_REQUEST, "bad_member", "not a member's id: expected `m` and 14 hexadecimal digits");
    };
    let Some(snapshot) = snapshot(&state).await else { return silent() };
    let here = |known: &RoomSnapshot| known.id.as_str() == room && known.members.iter().any(|one| one.id == member);
    if !snapshot.rooms.iter().any(here) {
        return refuse(StatusCode::NOT_FOUND, "no_member", "there is no such member in that room");
    }
    match tokio::time::timeout(PATIENCE, state.hub.remove_member(member)).await {
        Ok(true) => {
            tracing::info!(%room, %member, "removed by the operator");
            StatusCode::NO_CONTENT.into_response()
        }
        // It left in between.
        Ok(false) => refuse(StatusCode::NOT_FOUND, "no_member", "the member has left"),
        Err(_) => silent(),
    }
}

/// The hub's rooms at this moment; none when it does not answer.
pub(super) async fn snapshot(state: &AdminState) -> Option<Snapshot> {
    tokio::time::timeout(PATIENCE, state.hub.snapshot()).await.ok().flatten()
}

fn silent() -> Response {
    refuse(StatusCode::SERVICE_UNAVAILABLE, "no_answer", "signaling does not answer; the node is stopping or stuck")
}

fn summary(room: &RoomSnapshot) -> serde_json::Value {
    let tracks: usize = room.members.iter().map(|member| member.tracks.len()).sum();
    json!({ "id": room.id, "age_s": room.age_s, "members": room.members.len(), "tracks": tracks })
}
