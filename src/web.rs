//! The web app that is built into the binary: its files, their types, caching, and the headers that keep a page honest. Owns
//! no room, token or socket. `node` merges its routes into the public listener.

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::middleware::map_response;
use axum::routing::get;
use rust_embed::RustEmbed;

/// A debug build reads the files at each request instead, so that the app can be worked on without building.
#[derive(RustEmbed)]
#[folder = "web/"]
#[allow_missing = true]
struct Files;

/// The page of every address that a person may open.
const PAGE: &str = "index.html";

/// Scripts, styles, fonts and sockets from this host only; nothing inline, nothing framed. `blob:` and `data:` are pictures and
/// sounds that the page itself made.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self'; font-src 'self'; \
    img-src 'self' blob: data:; media-src 'self' blob: data:; worker-src 'self'; connect-src 'self'; object-src 'none'; \
    base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The page at `/` and `/room/NAME`, its files everywhere else. Less specific than any other route, so it merges with all.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(|headers: HeaderMap| async move { file(PAGE, &headers) }))
        .route("/room/{name}", get(|headers: HeaderMap| async move { file(PAGE, &headers) }))
        .route("/{*path}", get(|Path(path): Path<String>, headers: HeaderMap| async move { file(&path, &headers) }))
        .layer(map_response(harden))
}

/// Sets the headers that every answer of the public listener should carry and does not carry yet.
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
    let Some(found) = Files::get(path) else {
        return answer(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", Body::from("There is nothing here.\n"));
    };
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
    fn the_page_and_all_that_it_names_are_there() {
        let page = Files::get(PAGE).expect("the page");
        let page = String::from_utf8_lossy(&page.data).into_owned();
        let named = page.split("=\"/").skip(1).filter_map(|rest| rest.split('"').next());
        let named: Vec<_> = named.collect();
        assert!(named.iter().any(|path| path.ends_with(".js")), "{named:?}");
        for path in named {
            assert_eq!(get(path).status(), StatusCode::OK, "{path}");
        }
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
