//! Requests: what their method, path and headers ask for, and what their body must be. Part of `edge::whip`.

use axum::http::{HeaderMap, Method, StatusCode, header};

use super::{Act, Ask, Protocol, Query, Refused, Tags};
use crate::edge::sdp::{self, Fragment, Offer};
use crate::id::RoomId;

/// The longest body that is read.
pub const MAX_BODY: usize = sdp::MAX_TEXT;

pub(super) const SDP: &str = "application/sdp";
pub(super) const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// What is kept of a client's name for itself.
const CLIENT_CHARS: usize = 64;

/// Entity tags in one `If-Match`; ours are one.
const MOST_TAGS: usize = 16;

/// A request whose body has not been read.
#[derive(Debug)]
pub struct Head {
    pub(super) protocol: Protocol,
    pub(super) room: RoomId,
    pub(super) session: Option<String>,
    pub(super) query: Query,
    pub(super) origin: Option<String>,
    pub(super) verb: Verb,
    token: String,
    tags: Tags,
    client: String,
}

/// What a method means here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// Which methods there are; also what a browser asks before a request from another origin (CORS preflight).
    Options,
    Post,
    Patch,
    Delete,
}

impl Head {
    /// Judges a request by all but its body. `session` is what stands behind the room in its path. `origin_allowed`: the web page
    /// that it comes from, if any, may talk to us.
    pub fn read(
        method: &Method,
        (protocol, room, session): (Protocol, &str, Option<&str>),
        query: Query,
        headers: &HeaderMap,
        origin_allowed: bool,
    ) -> Result<Self, Box<super::Response>> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let verb = match (session, method.as_str()) {
            (_, "OPTIONS") => Some(Verb::Options),
            (None, "POST") => Some(Verb::Post),
            (Some(_), "PATCH") => Some(Verb::Patch),
            (Some(_), "DELETE") => Some(Verb::Delete),
            _ => None,
        };
        let mut head = Self {
            protocol,
            room: RoomId::new(room),
            session: session.map(str::to_owned),
            query,
            origin: text(header::ORIGIN).filter(|_| origin_allowed).map(str::to_owned),
            verb: verb.unwrap_or(Verb::Options),
            token: String::new(),
            tags: Tags::Any,
            client: text(header::USER_AGENT).unwrap_or("?").chars().take(CLIENT_CHARS).collect(),
        };
        head.judge(verb, headers, origin_allowed).map_err(|refused| Box::new(head.refused(refused)))?;
        Ok(head)
    }

    fn judge(&mut self, verb: Option<Verb>, headers: &HeaderMap, origin_allowed: bool) -> Result<(), Refused> {
        if !origin_allowed {
            return Err(Refused::new(StatusCode::FORBIDDEN, "this web origin may not connect: add it to http.origins"));
        }
        let Some(verb) = verb else {
            let text = match self.session {
                None => "an endpoint takes POST with an SDP offer; a session is below it, at the Location of the answer",
                Some(_) => "a session takes PATCH with a fragment of SDP, and DELETE",
            };
            return Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, text));
        };
        if verb == Verb::Options {
            return Ok(());
        }
        let Some(token) = bearer(headers) else {
            let text = "send a token: `Authorization: Bearer …`; `weir token` makes one";
            return Err(Refused::new(StatusCode::UNAUTHORIZED, text));
        };
        token.clone_into(&mut self.token);
        let wanted = match verb {
            Verb::Post => Some(SDP),
            Verb::Patch => Some(FRAGMENT),
            Verb::Options | Verb::Delete => None,
        };
        if let Some(wanted) = wanted {
            if !is_of_type(headers, wanted) {
                return Err(Refused::new(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    format!("send the body as `Content-Type: {wanted}`"),
                ));
            }
            if !accepts(headers, wanted) {
                return Err(Refused::new(
                    StatusCode::NOT_ACCEPTABLE,
                    format!("the answer is `{wanted}`, which `Accept` leaves out"),
                ));
            }
        }
        let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length > self.most()) {
            return Err(self.too_large());
        }
        if verb != Verb::Post {
            self.tags = tags(headers)?;
        }
        Ok(())
    }

    /// The most bytes that the body may have.
    pub fn most(&self) -> usize {
        match self.verb {
            Verb::Post => MAX_BODY,
            Verb::Patch => sdp::MAX_FRAGMENT,
            Verb::Options | Verb::Delete => 0,
        }
    }

    fn too_large(&self) -> Refused {
        Refused::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is too large: {} bytes at most", self.most()))
    }

    /// Takes in the body, `None` if it was too large. What can be answered without the hub comes back as an error, and so does what
    /// is no failure.
    pub fn ask(&self, body: Option<&[u8]>) -> Result<Ask, Box<super::Response>> {
        if self.verb == Verb::Options {
            return Err(Box::new(self.options()));
        }
        let act = self.act(body).map_err(|refused| Box::new(self.refused(refused)))?;
        Ok(Ask { protocol: self.protocol, room: self.room.clone(), token: self.token.clone(), act })
    }

    fn act(&self, body: Option<&[u8]>) -> Result<Act, Refused> {
        let malformed = |text: String| Refused::new(StatusCode::BAD_REQUEST, text);
        let body = body.ok_or_else(|| self.too_large())?;
        let body = std::str::from_utf8(body).map_err(|_| malformed("the body is no UTF-8 text".into()))?;
        let (session, tags) = (self.session.clone().unwrap_or_default(), self.tags.clone());
        Ok(match self.verb {
            Verb::Post => {
                Offer::parse(body).map_err(|error| malformed(error.to_string()))?;
                Act::Open { offer: body.to_owned(), query: self.query.clone(), client: self.client.clone() }
            }
            Verb::Patch => {
                let fragment = Fragment::parse(body).map_err(|error| malformed(error.to_string()))?;
                Act::Patch { session, tags, fragment }
            }
            Verb::Options | Verb::Delete => Act::Close { session, tags },
        })
    }
}

/// RFC 6750 §2.1; the name of the scheme has no case (RFC 9110 §11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Parameters of the type, such as a charset, change nothing.
fn is_of_type(headers: &HeaderMap, wanted: &str) -> bool {
    let sent = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    essence(sent).eq_ignore_ascii_case(wanted)
}

/// RFC 9110 §12.5.1: absent is anything; a weight of 0 excludes.
fn accepts(headers: &HeaderMap, answered: &str) -> bool {
    let mut ranges = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    if ranges.peek().is_none() {
        return true;
    }
    let fits = |range: &str| {
        let zero = range.split(';').skip(1).any(|parameter| {
            let weight = parameter.trim().strip_prefix("q=");
            weight.is_some_and(|weight| weight.parse::<f32>().is_ok_and(|weight| weight == 0.0))
        });
        let range = essence(range);
        !zero && (range == "*/*" || range.eq_ignore_ascii_case("application/*") || range.eq_ignore_ascii_case(answered))
    };
    ranges.any(|list| list.split(',').any(fits))
}

fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

fn tags(headers: &HeaderMap) -> Result<Tags, Refused> {
    let mut tags = Vec::new();
    for value in headers.get_all(header::IF_MATCH) {
        let list = value.to_str().unwrap_or_default();
        for tag in list.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
            // Some clients put quotes around the star.
            if matches!(tag, "*" | "\"*\"") {
                return Ok(Tags::Any);
            }
            if tags.len() == MOST_TAGS {
                return Err(Refused::new(StatusCode::BAD_REQUEST, format!("If-Match: {MOST_TAGS} entity tags at most")));
            }
            // A weak tag never matches (RFC 9110 §8.8.3.2), so its mark stays on.
            tags.push(tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag).to_owned());
        }
    }
    Ok(if headers.contains_key(header::IF_MATCH) { Tags::OneOf(tags) } else { Tags::Any })
}
