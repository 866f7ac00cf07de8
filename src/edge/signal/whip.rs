//! The HTTP routes of WHIP and WHEP: reads bodies within bounds, asks the hub, writes what `edge::whip` made of it. Part of
//! `edge::signal`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::hub_task::Ask;
use super::{Edge, origin_allowed};
use crate::edge::whip::{self, Head, Protocol};

/// A body must have come within. A slow one holds a connection and up to its size, nothing else.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// `/whip/{room}` and `/whep/{room}`, each with its sessions below.
pub(super) fn routes() -> Router<Arc<Edge>> {
    [Protocol::Whip, Protocol::Whep].into_iter().fold(Router::new(), |router, protocol| {
        let endpoint =
            async move |State(edge): State<Arc<Edge>>, Path(room): Path<String>, query: WhipQuery, request: Request| {
                serve(&edge, (protocol, &room, None), query, request).await
            };
        let session =
            async move |State(edge): State<Arc<Edge>>,
                        Path((room, session)): Path<(String, String)>,
                        query: WhipQuery,
                        request: Request| { serve(&edge, (protocol, &room, Some(&session)), query, request).await };
        let name = protocol.name();
        router.route(&format!("/{name}/{{room}}"), any(endpoint)).route(&format!("/{name}/{{room}}/{{session}}"), any(session))
    })
}

type WhipQuery = Query<whip::Query>;

async fn serve(edge: &Edge, place: (Protocol, &str, Option<&str>), query: WhipQuery, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    answer(edge, place, query.0, &parts.method, &parts.headers, body).await.unwrap_or_else(|refused| refused)
}

/// An error is a response that came about before the hub was asked.
async fn answer(
    edge: &Edge,
    place: (Protocol, &str, Option<&str>),
    query: whip::Query,
    method: &Method,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Response> {
    let allowed = origin_allowed(headers, &edge.origins);
    let head = Head::read(method, place, query, headers, allowed).map_err(|done| done.into_response())?;
    let body = timeout(BODY_PATIENCE, to_bytes(body, head.most())).await;
    let body = body.map_err(|_| (StatusCode::REQUEST_TIMEOUT, "the body did not come in time\n").into_response())?;
    let ask = head.ask(body.as_deref().ok()).map_err(|done| done.into_response())?;
    let (reply, outcome) = oneshot::channel();
    let gone = || (StatusCode::SERVICE_UNAVAILABLE, "this server has stopped\n").into_response();
    edge.asks.send(Ask::Whip { ask, reply }).await.map_err(|_| gone())?;
    let outcome = outcome.await.map_err(|_| gone())?;
    Ok(head.answer(outcome).into_response())
}
