//! Who may change something through the admin listener: programs, and the pages it serves itself. It has no password, so a web
//! page from elsewhere that the operator happens to have open must not be able to drive it. [`super::routes`] puts it in front.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::refuse;

/// Lets reading pass, and changes that no foreign page can have asked for.
pub(super) async fn same_origin(request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let from = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(addr)| addr.ip());
    if !may_change(request.headers(), from) {
        return refuse(StatusCode::FORBIDDEN, "foreign_origin", "a web page of another origin may not change anything here");
    }
    // A form of a foreign page can send everything but this without asking first.
    if request.method() == Method::POST && !is_json(request.headers()) {
        let what = "expected `content-type: application/json`";
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", what);
    }
    next.run(request).await
}

/// What sends no `Origin` is no browser. A page's own origin is ours, and not by a foreign name that was made to point at the
/// loopback address (DNS rebinding).
fn may_change(headers: &HeaderMap, from: Option<IpAddr>) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let text = |value: &axum::http::HeaderValue| value.to_str().ok().map(str::to_ascii_lowercase);
    let (Some(origin), Some(host)) = (text(origin), headers.get(header::HOST).and_then(text)) else { return false };
    let own = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    own == Some(host.as_str()) && (is_loopback_name(&host) || !from.is_some_and(|ip| ip.is_loopback()))
}

fn is_loopback_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.ends_with(".localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn asked(origin: Option<&str>, host: &str) -> HeaderMap {
        let value = |text: &str| HeaderValue::from_str(text).expect("a header");
        let mut headers = HeaderMap::from_iter([(header::HOST, value(host))]);
        headers.extend(origin.map(|origin| (header::ORIGIN, value(origin))));
        headers
    }

    #[test]
    fn only_its_own_pages_and_programs_change_anything() {
        for (origin, host, from, allowed) in [
            (None, "127.0.0.1:9090", HERE, true),
            (Some("http://localhost:9090"), "localhost:9090", HERE, true),
            (Some("http://LOCALHOST:9090"), "localhost:9090", HERE, true),
            (Some("http://[::1]:9090"), "[::1]:9090", HERE, true),
            (Some("http://weir.internal:9090"), "weir.internal:9090", Some(IpAddr::from([10, 0, 0, 9])), true),
            (Some("https://evil.example"), "localhost:9090", HERE, false),
            (Some("http://localhost:8080"), "localhost:9090", HERE, false),
            (Some("null"), "localhost:9090", HERE, false),
            (Some("http://rebound.example:9090"), "rebound.example:9090", HERE, false),
        ] {
            assert_eq!(may_change(&asked(origin, host), from), allowed, "{origin:?} at {host}");
        }
    }

    #[test]
    fn a_charset_is_no_obstacle_and_a_form_is_one() {
        for (kind, json) in [("application/json; charset=utf-8", true), ("text/plain", false), ("application/jsonp", false)] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
            assert_eq!(is_json(&headers), json, "{kind}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
