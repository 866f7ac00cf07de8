//! The few HTTP requests a crowd makes: for tokens, edges and metrics, and the offers of WHIP and WHEP.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use axum::http::{Method, Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use serde_json::{Value, json};

use super::tls;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest answer that is read, in bytes.
const MOST: usize = 16 << 20;

/// A client that keeps its connections.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    tls: Arc<ClientConfig>,
}

impl Default for Http {
    fn default() -> Self {
        Self::new(tls::of_this_machine())
    }
}

/// An answer of any status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    pub location: Option<String>,
    pub body: String,
}

/// An edge of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeAt {
    pub region: String,
    pub url: String,
}

impl Http {
    pub(super) fn new(tls: Arc<ClientConfig>) -> Self {
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(ClientConfig::clone(&tls)).https_or_http().enable_http1().build();
        Self { client: Client::builder(TokioExecutor::new()).build(connector), tls }
    }

    /// Whom it believes, for WebSockets too.
    pub(super) const fn tls(&self) -> &Arc<ClientConfig> {
        &self.tls
    }

    /// Sends a request; an error says why there is no answer.
    pub async fn ask(
        &self,
        method: Method,
        url: &str,
        kind: Option<&str>,
        bearer: Option<&str>,
        body: String,
    ) -> Result<Answer, String> {
        let uri: Uri = url.parse().map_err(|error| format!("{url} is no address: {error}"))?;
        let mut request = Request::builder().method(method).uri(uri);
        request = kind
            .map(|kind| (CONTENT_TYPE, kind))
            .into_iter()
            .fold(request, |request, (name, value)| request.header(name, value));
        if let Some(token) = bearer {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Body::from(body)).map_err(|error| format!("{url}: {error}"))?;
        let answered = tokio::time::timeout(PATIENCE, self.client.request(request)).await;
        let response =
            answered.map_err(|_| format!("{url} does not answer within {} s", PATIENCE.as_secs()))?.map_err(|error| {
                format!("{url} can't be reached ({}); is the server running, and is the address right?", innermost(&error))
            })?;
        read(url, response.map(Body::new)).await
    }

    async fn get(&self, url: &str) -> Result<Answer, String> {
        self.ask(Method::GET, url, None, None, String::new()).await
    }

    /// A token of a server that hands them out to everybody on its machine.
    pub async fn dev_token(&self, server: &str, room: &str, identity: &str) -> Result<String, String> {
        let url = format!("{server}/v1/dev/token");
        let asked = json!({ "room": room, "name": identity, "identity": identity });
        let answer = self.ask(Method::POST, &url, Some("application/json"), None, asked.to_string()).await?;
        let token = || serde_json::from_str::<Value>(&answer.body).ok()?.get("token")?.as_str().map(str::to_owned);
        match answer.status {
            StatusCode::OK => token().ok_or_else(|| format!("{url} answers without a token")),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Err(format!(
                "{url} hands out no tokens: only `weir dev` does. For another server give --config FILE, or --key and --secret"
            )),
            status => Err(format!("{url} answers {status}: {}", answer.body.trim())),
        }
    }

    /// The edges of the server's cluster.
    pub async fn edges(&self, server: &str) -> Result<Vec<EdgeAt>, String> {
        let url = format!("{server}/v1/edges");
        let answer = self.get(&url).await?;
        let listed: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let text = |edge: &Value, name: &str| edge.get(name).and_then(Value::as_str).map(str::to_owned);
        let edges = listed.get("edges").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let known = edges.iter().filter_map(|edge| Some(EdgeAt { region: text(edge, "region")?, url: text(edge, "url")? }));
        let known: Vec<EdgeAt> = known.collect();
        if known.is_empty() {
            return Err(format!("{url} names no edges with their addresses: name them with several --url instead"));
        }
        Ok(known)
    }

    /// A page of metrics.
    pub async fn metrics(&self, url: &str) -> Result<String, String> {
        let answer = self.get(url).await?;
        match answer.status {
            StatusCode::OK => Ok(answer.body),
            status => Err(format!(
                "{url} answers {status}; --metrics is that of the admin listener, as http://127.0.0.1:9090/metrics"
            )),
        }
    }
}

/// What is behind an error, which says more than its surface.
fn innermost(error: &dyn Error) -> String {
    std::iter::successors(Some(error), |&error| error.source()).last().map(ToString::to_string).unwrap_or_default()
}

async fn read(url: &str, response: Response<Body>) -> Result<Answer, String> {
    let status = response.status();
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = to_bytes(response.into_body(), MOST).await.map_err(|error| format!("{url}: the answer broke off: {error}"))?;
    Ok(Answer { status, location, body: String::from_utf8_lossy(&body).into_owned() })
}
