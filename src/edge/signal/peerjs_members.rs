//! Who is in a room, for pages whose PeerJS clients call rooms: each member with the id that shows it alone. Asked of the node where the
//! caller is in the room, which knows the members of all nodes. Part of `edge::signal`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::oneshot;

use super::peerjs::{serves, shared, unserved};
use super::{Edge, bearer, foreign, host, hub_task, is_loopback, origin_allowed};
use crate::edge::token;
use crate::id::RoomId;

/// `GET /peerjs/{key}/rooms/{room}`: who is there, for a token that lets its holder watch; with `weir dev` for everybody at this machine.
pub(super) async fn members(
    State(edge): State<Arc<Edge>>,
    Path((key, room)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    if !serves(&edge, &key) {
        return shared(&edge, &headers, unserved);
    }
    if !origin_allowed(&headers, &edge.origins) {
        return foreign();
    }
    if let Err((status, why)) = may_watch(&edge, &headers, &room) {
        return shared(&edge, &headers, || {
            (status, [(header::WWW_AUTHENTICATE, "Bearer")], format!("{why}\n")).into_response()
        });
    }
    let (reply, answer) = oneshot::channel();
    // An error means that the hub's task has ended, and the answer will not come either.
    let _ = edge.asks.send(hub_task::Ask::Present { room: RoomId::new(room.as_str()), reply }).await;
    let present = answer.await.unwrap_or_default();
    let one = |(identity, name)| json!({ "id": format!("room-{room} {identity}"), "identity": identity, "name": name });
    let members: Vec<_> = present.into_iter().map(one).collect();
    shared(&edge, &headers, || Json(members).into_response())
}

fn may_watch(edge: &Edge, headers: &HeaderMap, room: &str) -> Result<(), (StatusCode, String)> {
    let Some(jwt) = bearer(headers) else {
        // As with calls: a name of the web that was made to point here learns nothing.
        if edge.dev_key.is_some() && is_loopback(host(headers).unwrap_or_default()) {
            return Ok(());
        }
        return Err((StatusCode::UNAUTHORIZED, "send a token for the room: `Authorization: Bearer …`".to_owned()));
    };
    let access = token::verify(&edge.keys, jwt, hub_task::unix_ms() / 1000, edge.max_token_ttl);
    let access = access.map_err(|error| (StatusCode::UNAUTHORIZED, error.to_string()))?;
    if access.room.as_str() != room {
        return Err((StatusCode::FORBIDDEN, "the token is for another room".to_owned()));
    }
    if !access.grants.subscribe {
        return Err((StatusCode::FORBIDDEN, "the token does not grant canSubscribe".to_owned()));
    }
    Ok(())
}

/// What a browser asks before it sends a token from a page of another origin (CORS preflight).
pub(super) async fn preflight(State(edge): State<Arc<Edge>>, headers: HeaderMap) -> Response {
    let mut response = shared(&edge, &headers, || StatusCode::NO_CONTENT.into_response());
    if response.status() == StatusCode::NO_CONTENT {
        let own = response.headers_mut();
        own.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET"));
        own.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Authorization"));
    }
    response
}
