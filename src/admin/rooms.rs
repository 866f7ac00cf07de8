//! Rooms and members as JSON, what becomes of a member's subscriptions, and removing a member. Reads the hub's snapshot and asks the
//! member's shard; the hub does the removing.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::{AdminState, PATIENCE, refuse};
use crate::edge::hub::{RoomSnapshot, Snapshot};
use crate::edge::stats::MemberStats;
use crate::id::MemberId;
use crate::shard::Inbox;

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

/// `GET /v1/admin/rooms/{room}/members/{pid}`: one member and what becomes of its subscriptions, as its shard knows: what its path
/// carries, and what each track gets of that, and why.
pub(super) async fn member(State(state): State<Arc<AdminState>>, Path((room, member)): Path<(String, String)>) -> Response {
    let Ok(id) = member.parse::<MemberId>() else { return bad_member() };
    let Some(snapshot) = snapshot(&state).await else { return silent() };
    let room = snapshot.rooms.iter().find(|known| known.id.as_str() == room);
    let Some(member) = room.and_then(|room| room.members.iter().find(|one| one.id == id)) else { return no_member() };
    let media = match state.shards.get(usize::from(member.shard)) {
        Some(shard) => match ask(shard, id).await {
            Some(media) => media,
            None => return refuse(StatusCode::SERVICE_UNAVAILABLE, "no_answer", "the member's shard does not answer"),
        },
        None => None,
    };
    Json(json!({ "member": member, "media": media })).into_response()
}

/// What a shard knows of a member's subscriptions; none within none for a member that has no media, none for no answer.
async fn ask(shard: &mpsc::Sender<Inbox>, member: MemberId) -> Option<Option<MemberStats>> {
    let (reply, answer) = oneshot::channel();
    let asked = async {
        shard.send(Inbox::Member { member, reply }).await.ok()?;
        answer.await.ok()
    };
    tokio::time::timeout(PATIENCE, asked).await.ok().flatten()
}

/// `DELETE /v1/admin/rooms/{room}/members/{pid}`: ends a member's session. It may come back with a new token.
pub(super) async fn remove(State(state): State<Arc<AdminState>>, Path((room, member)): Path<(String, String)>) -> Response {
    let Ok(member) = member.parse::<MemberId>() else { return bad_member() };
    let Some(snapshot) = snapshot(&state).await else { return silent() };
    let here = |known: &RoomSnapshot| known.id.as_str() == room && known.members.iter().any(|one| one.id == member);
    if !snapshot.rooms.iter().any(here) {
        return no_member();
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

fn bad_member() -> Response {
    refuse(StatusCode::BAD_REQUEST, "bad_member", "not a member's id: expected `m` and 14 hexadecimal digits")
}

fn no_member() -> Response {
    refuse(StatusCode::NOT_FOUND, "no_member", "there is no such member in that room")
}

fn silent() -> Response {
    refuse(StatusCode::SERVICE_UNAVAILABLE, "no_answer", "signaling does not answer; the node is stopping or stuck")
}

fn summary(room: &RoomSnapshot) -> serde_json::Value {
    let tracks: usize = room.members.iter().map(|member| member.tracks.len()).sum();
    json!({ "id": room.id, "age_s": room.age_s, "members": room.members.len(), "tracks": tracks })
}
