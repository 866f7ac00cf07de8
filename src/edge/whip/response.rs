//! Responses: status, headers and text of each outcome. Part of `edge::whip`.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};

use super::request::{FRAGMENT, Head, SDP};
use super::{Outcome, Query, Refused, Response, escaped, path};
use crate::edge::message::IceServer;

/// When a client that was turned away for lack of space may try again, in seconds.
const RETRY_AFTER: &str = "5";

/// What pages of other origins may read.
const EXPOSED: &str = "Location, Link, ETag, Retry-After, Accept-Post, Accept-Patch";

const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

impl Head {
    /// The response to what the hub said.
    pub fn answer(&self, outcome: Outcome) -> Response {
        match outcome {
            Outcome::Opened { session, answer, tag, ice_servers } => {
                // OBS wants this status and no other.
                let mut response = self.response(StatusCode::CREATED, SDP, answer);
                put(&mut response, header::LOCATION, &path(self.protocol, &self.room, Some(&session)));
                put(&mut response, header::ETAG, &quoted(&tag));
                put(&mut response, ACCEPT_PATCH, FRAGMENT);
                for link in ice_servers.iter().flat_map(links) {
                    put(&mut response, header::LINK, &link);
                }
                response
            }
            Outcome::Trickled { tag } => {
                let mut response = self.response(StatusCode::NO_CONTENT, "", String::new());
                put(&mut response, header::ETAG, &quoted(&tag));
                response
            }
            Outcome::Restarted { tag, fragment } => {
                let mut response = self.response(StatusCode::OK, FRAGMENT, fragment);
                put(&mut response, header::ETAG, &quoted(&tag));
                response
            }
            Outcome::Closed => self.response(StatusCode::OK, "", String::new()),
            Outcome::Elsewhere { edge } => {
                let text = format!("{edge} serves this better now\n");
                let mut response = self.response(StatusCode::TEMPORARY_REDIRECT, TEXT, text);
                put(&mut response, header::LOCATION, &self.at(&edge));
                response
            }
            Outcome::Refused(refused) => self.refused(refused),
        }
    }

    pub(super) fn refused(&self, refused: Refused) -> Response {
        let Refused { status, mut text, elsewhere } = refused;
        let other = elsewhere.map(|edge| self.at(&edge));
        if let Some(url) = &other {
            text.push_str(&format!("; try {url}"));
        }
        text.push('\n');
        let mut response = self.response(status, TEXT, text);
        if let Some(url) = other {
            put(&mut response, header::LINK, &format!("<{url}>; rel=\"alternate\""));
        }
        match status {
            StatusCode::UNAUTHORIZED => put(&mut response, header::WWW_AUTHENTICATE, "Bearer realm=\"weir\""),
            StatusCode::METHOD_NOT_ALLOWED => put(&mut response, header::ALLOW, self.methods()),
            StatusCode::SERVICE_UNAVAILABLE => put(&mut response, header::RETRY_AFTER, RETRY_AFTER),
            StatusCode::TOO_MANY_REQUESTS => put(&mut response, header::RETRY_AFTER, "1"),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => self.accepted(&mut response),
            _ => {}
        }
        response
    }

    /// What an endpoint or a session takes.
    pub(super) fn options(&self) -> Response {
        let mut response = self.response(StatusCode::NO_CONTENT, "", String::new());
        put(&mut response, header::ALLOW, self.methods());
        self.accepted(&mut response);
        if self.origin.is_some() {
            put(&mut response, header::ACCESS_CONTROL_ALLOW_METHODS, self.methods());
            put(&mut response, header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, If-Match");
            put(&mut response, header::ACCESS_CONTROL_MAX_AGE, "86400");
        }
        response
    }

    fn accepted(&self, response: &mut Response) {
        match self.session {
            None => put(response, ACCEPT_POST, SDP),
            Some(_) => put(response, ACCEPT_PATCH, FRAGMENT),
        }
    }

    fn methods(&self) -> &'static str {
        match self.session {
            None => "OPTIONS, POST",
            Some(_) => "OPTIONS, PATCH, DELETE",
        }
    }

    /// This endpoint at another edge. The region is left out: whoever is sent somewhere is not sent on from there.
    fn at(&self, edge: &str) -> String {
        let Query { member, region: _ } = &self.query;
        let query = member.as_ref().map(|member| format!("?member={}", escaped(member.as_str()))).unwrap_or_default();
        format!("{}{}{query}", edge.trim_end_matches('/'), path(self.protocol, &self.room, None))
    }

    fn response(&self, status: StatusCode, kind: &'static str, body: String) -> Response {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        if !kind.is_empty() {
            put(&mut response, header::CONTENT_TYPE, kind);
        }
        // Answers hold credentials.
        put(&mut response, header::CACHE_CONTROL, "no-store");
        if let Some(origin) = &self.origin {
            put(&mut response, header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            put(&mut response, header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
            put(&mut response, header::VARY, "Origin");
        }
        response
    }
}

const TEXT: &str = "text/plain; charset=utf-8";

/// RFC 9725 §4.6: one link for each address of an ICE server.
fn links(server: &IceServer) -> Vec<String> {
    let login = match (&server.username, &server.credential) {
        (Some(username), Some(credential)) => {
            let (username, credential) = (text(username), text(credential));
            format!("; username=\"{username}\"; credential=\"{credential}\"; credential-type=\"password\"")
        }
        _ => String::new(),
    };
    server.urls.iter().map(|url| format!("<{url}>; rel=\"ice-server\"{login}")).collect()
}

/// What stands in a quoted string (RFC 9110 §5.6.4).
fn text(text: &str) -> String {
    text.chars().flat_map(|c| matches!(c, '"' | '\\').then_some('\\').into_iter().chain([c])).collect()
}

fn quoted(tag: &str) -> String {
    format!("\"{tag}\"")
}

/// Adds a header. A text that is no header value was none of ours; it is left out.
fn put(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().append(name, value);
    }
}
