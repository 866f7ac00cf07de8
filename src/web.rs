//! The web pages that are built into the binary, the app and the operator's dashboard: their files, types, caching, and the
//! headers that keep a page honest. Owns no room, token or socket. `node` merges [`routes`] into the public listener, `admin`
//! merges [`dashboard`] into its own.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::middleware::{map_response, map_response_with_state};
use axum::routing::get;
use rust_embed::RustEmbed;
use tokio::sync::watch;

/// A debug build reads the files at each request instead, so that the app can be worked on without building.
#[derive(RustEmbed)]
#[folder = "web/"]
#[allow_missing = true]
struct Files;

/// The page of every address that a person may open.
const PAGE: &str = "index.html";

/// The operator's page, and the folder with all that belongs to it alone: the admin listener's.
const DASHBOARD: &str = "dashboard/index.html";
const DASHBOARD_FILES: &str = "dashboard/";

/// Scripts, styles and fonts from this host only; nothing inline, nothing framed. `blob:` and `data:` are pictures and sounds that
/// the page itself made. What may be connected to comes behind it.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self'; font-src 'self'; \
    img-src 'self' blob: data:; media-src 'self' blob: data:; worker-src 'self'; object-src 'none'; base-uri 'none'; \
    form-action 'self'; frame-ancestors 'none'; connect-src 'self'";

/// Other edges that a page may be told of; more would make each answer's header long.
const ELSEWHERE_MOST: usize = 64;

/// Where the pages of this node may open sockets beside the node itself: the cluster's other edges, as
/// `https://sin.example.org` or with wildcards as a content security policy knows them, `https://*.example.org` and
/// `http://localhost:*`. A page keeps to what held when it was loaded: an edge that may come later needs a wildcard.
pub type Elsewhere = watch::Receiver<Vec<String>>;

/// The page at `/`, `/room/NAME`, `/watch/NAME`, `/call` and `/call/NAME`, its files everywhere else. Less specific than any other
/// route, so it merges with all.
pub fn routes<S: Clone + Send + Sync + 'static>(elsewhere: Elsewhere) -> Router<S> {
    let public = |path: String, headers: HeaderMap| match path.starts_with(DASHBOARD_FILES) {
        true => nothing(),
        false => file(&path, &headers),
    };
    Router::new()
        .route("/", get(|headers: HeaderMap| async move { file(PAGE, &headers) }))
        .route("/room/{name}", get(|headers: HeaderMap| async move { file(PAGE, &headers) }))
        .route("/watch/{name}", get(|headers: HeaderMap| async move { file(PAGE, &headers) }))
        .route("/call", get(|headers: HeaderMap| async move { file(PAGE, &headers) }))
        .route("/call/{name}", get(|headers: HeaderMap| async move { file(PAGE, &headers) }))
        .route("/{*path}", get(move |Path(path): Path<String>, headers: HeaderMap| async move { public(path, headers) }))
        .layer(map_response(harden))
        .layer(map_response_with_state(elsewhere, connect_elsewhere))
}

/// The operator's page at `/`, and the files it names.
pub fn dashboard<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let below = |folder: &'static str| {
        get(move |Path(path): Path<String>, headers: HeaderMap| async move { file(&format!("{folder}{path}"), &headers) })
    };
    Router::new()
        .route("/", get(|headers: HeaderMap| async move { file(DASHBOARD, &headers) }))
        .route("/dashboard/{*path}", below(DASHBOARD_FILES))
        .route("/vendor/{*path}", below("vendor/"))
        .layer(map_response(harden))
}

/// Lets the page reach the other edges by HTTP and WebSocket.
async fn connect_elsewhere<B>(State(elsewhere): State<Elsewhere>, mut response: Response<B>) -> Response<B> {
    let policy = connect_policy(&elsewhere.borrow());
    // A text that is no header value was none of ours: the page stays with its own host.
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn connect_policy(elsewhere: &[String]) -> String {
    let mut policy = CONTENT_SECURITY_POLICY.to_owned();
    let plain = |url: &&String| url.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"*.:-[]/".contains(&byte));
    for url in elsewhere.iter().filter(plain).take(ELSEWHERE_MOST) {
        let url = url.trim_end_matches('/');
        let (socket, host) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(host), _) => ("wss", host),
            (_, Some(host)) => ("ws", host),
            _ => continue,
        };
        policy.push_str(&format!(" {url} {socket}://{host}"));
    }
    policy
}

/// Sets the headers that every answer with a page should carry and does not carry yet.
pub async fn harden<B>(mut response: Response<B>) -> Response<B> {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // A room's name is nobody else's business.
        (header::REFERRER_POLICY, "no-referrer"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (
            header::HeaderName::from_static("permissions-policy"),
            "camera=(self), microphone=(self), display-capture=(self), geolocation=()",
        ),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

fn file(path: &str, asked: &HeaderMap) -> Response<Body> {
    let Some(found) = Files::get(path) else { return nothing() };
    let tag: String = found.metadata.sha256_hash().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{tag}\"");
    let known = asked.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    // RFC 9110 §13.1.2: a list of tags or `*`, compared weakly.
    let fresh = known
        .is_some_and(|tags| tags.split(',').any(|one| matches!(one.trim(), "*") || one.trim().trim_start_matches("W/") == tag));
    let kind = match found.metadata.mimetype() {
        text if text.starts_with("text/") || text == "application/json" => format!("{text}; charset=utf-8"),
        other => other.to_owned(),
    };
    let mut response = match fresh {
        true => answer(StatusCode::NOT_MODIFIED, &kind, Body::empty()),
        false => answer(StatusCode::OK, &kind, Body::from(found.data.into_owned())),
    };
    let headers = response.headers_mut();
    headers.extend(HeaderValue::from_str(&tag).map(|tag| (header::ETAG, tag)));
    // Names carry no version: ask each time, and mostly hear "not modified".
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn nothing() -> Response<Body> {
    answer(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", Body::from("There is nothing here.\n"))
}

fn answer(status: StatusCode, kind: &str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().extend(HeaderValue::from_str(kind).map(|kind| (header::CONTENT_TYPE, kind)));
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn get(path: &str) -> Response<Body> {
        file(path, &HeaderMap::new())
    }

    fn text(response: &Response<Body>, name: header::HeaderName) -> String {
        response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    }

    #[test]
    fn an_unchanged_file_is_not_sent_again() {
        let path = "weir.js";
        let script = get(path);
        assert_eq!(script.status(), StatusCode::OK);
        let tag = text(&script, header::ETAG);
        for (asked, status) in [
            (tag.clone(), StatusCode::NOT_MODIFIED),
            (format!("\"x\", W/{tag}"), StatusCode::NOT_MODIFIED),
            ("*".to_owned(), StatusCode::NOT_MODIFIED),
            ("\"x\"".to_owned(), StatusCode::OK),
        ] {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_str(&asked).expect("a header"))]);
            assert_eq!(file(path, &headers).status(), status, "{asked}");
        }
    }

    #[test]
    fn the_pages_and_all_that_they_name_are_there() {
        for page in [PAGE, DASHBOARD] {
            let page = Files::get(page).expect("the page");
            let page = String::from_utf8_lossy(&page.data).into_owned();
            let named = page.split("=\"/").skip(1).filter_map(|rest| rest.split('"').next());
            let named: Vec<_> = named.collect();
            assert!(named.iter().any(|path| path.ends_with(".js")), "{named:?}");
            for path in named {
                assert_eq!(get(path).status(), StatusCode::OK, "{path}");
            }
        }
    }

    #[test]
    fn a_page_may_connect_to_the_other_edges_and_nothing_can_be_smuggled_in() {
        let listed = ["https://sin.example", "http://localhost:*/", "https://x; script-src *", "javascript:alert", "*"];
        let policy = connect_policy(&listed.map(str::to_owned));
        let (_, connect) = policy.split_once("connect-src").expect("a rule for connections");
        assert_eq!(connect, " 'self' https://sin.example wss://sin.example http://localhost:* ws://localhost:*");
    }

    #[test]
    fn nothing_outside_the_app_is_served() {
        for path in ["../Cargo.toml", "/etc/passwd", "app/../../Cargo.toml", "", ".", "app"] {
            assert_eq!(get(path).status(), StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[test]
    fn every_file_has_the_type_that_a_browser_insists_on() {
        let mut endings = BTreeSet::new();
        for path in Files::iter() {
            let kind = text(&get(&path), header::CONTENT_TYPE);
            let ending = path.rsplit('.').next().unwrap_or_default().to_owned();
            let expected = match ending.as_str() {
                "js" | "mjs" => "text/javascript; charset=utf-8",
                "css" => "text/css; charset=utf-8",
                "woff2" => "font/woff2",
                "svg" => "image/svg+xml",
                _ => continue,
            };
            assert_eq!(kind, expected, "{path}");
            endings.insert(ending);
        }
        assert!(endings.contains("js"), "the app has scripts");
    }

    #[test]
    fn pages_have_nothing_inline() {
        for path in Files::iter().filter(|path| path.ends_with(".html")) {
            let page = Files::get(&path).expect("it was listed");
            let page = String::from_utf8_lossy(&page.data).to_lowercase();
            for inline in ["<style", " style=", " onload=", " onclick=", "javascript:"] {
                assert!(!page.contains(inline), "{path}: {inline} is refused by the content security policy");
            }
            for script in page.split("<script").skip(1) {
                let has_source = script.split('>').next().is_some_and(|tag| tag.contains("src="));
                assert!(has_source, "{path}: an inline script is refused by the content security policy");
            }
        }
    }
}
