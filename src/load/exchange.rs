//! Members that come by WHIP (RFC 9725) and WHEP: one offer in a POST, one answer, one DELETE at the end. So the crowd can visit other
//! servers too, and this one without its room protocol.

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use tokio::sync::watch;

use crate::edge::plan::{Fingerprint, IceCredentials};
use crate::rtp::Kind;

use super::http::Http;
use super::member::Role;
use super::offer::{self, Line, Way};
use super::plan;
use super::scenario::Seat;
use super::session::sending_lines;
use super::signal::{Ended, Entered, stopped};
use super::subscriber::Bound;
use super::worker::{Command, Key, Worker};

const SDP: &str = "application/sdp";

/// Everything a member's task needs.
pub(super) struct Member {
    pub(super) key: Key,
    pub(super) seat: Seat,
    pub(super) role: Role,
    pub(super) worker: Arc<Worker>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) ice: IceCredentials,
    pub(super) fingerprint: Fingerprint,
    pub(super) token: Option<String>,
    pub(super) http: Http,
    pub(super) exchange: plan::Exchange,
}

impl Member {
    /// Carries the member from its offer to its goodbye.
    pub(super) async fn carry(mut self, entered: Entered) -> Ended {
        let mut came = false;
        let entered = || {
            came = true;
            entered();
        };
        let done = self.run(entered).await;
        self.worker.tell(Command::Leave { key: self.key }).await;
        match done {
            Ok(()) => Ended::Left,
            Err(why) => Ended::Failed { entered: came, why },
        }
    }

    async fn run(&mut self, entered: impl FnOnce()) -> Result<(), String> {
        let url = self.exchange.url(&self.seat)?;
        let mut lines = sending_lines(&self.seat.published, self.role.seed);
        if lines.is_empty() {
            let receives = |(kind, mid): (Kind, &str)| Line { mid: mid.to_owned(), kind, way: Way::Receives };
            lines = [(Kind::Audio, "0"), (Kind::Video, "1")].map(receives).into();
        }
        let sdp = offer::write(&lines, &self.ice, &self.fingerprint);
        let token = self.token.as_deref();
        let answer = self.http.ask(Method::POST, &url, Some(SDP), token, sdp).await?;
        if answer.status != StatusCode::CREATED && answer.status != StatusCode::OK {
            return Err(refusal(&url, answer.status, &answer.body));
        }
        entered();
        let settled = Box::new(offer::settle(&answer.body, &lines, &self.ice).map_err(|why| format!("{url}: {why}"))?);
        let slots: Vec<String> = settled.slots.iter().map(|slot| slot.mid.clone()).collect();
        let (key, role) = (self.key, Box::new(self.role.clone()));
        self.worker.tell(Command::Configure { key, role, settled }).await;
        for mid in slots {
            self.worker.tell(Command::Bind { key, mid, bound: Bound::default() }).await;
        }
        stopped(&mut self.stop).await;
        if let Some(resource) = answer.location.map(|location| resource(&url, &location)) {
            // The server may be gone already.
            let _ = self.http.ask(Method::DELETE, &resource, None, token, String::new()).await;
        }
        Ok(())
    }
}

/// Where a session lives: `Location` may be relative to what was asked (RFC 9110 §10.2.2).
fn resource(url: &str, location: &str) -> String {
    if location.contains("://") {
        return location.to_owned();
    }
    let host = url.find("://").map_or(0, |at| at + 3);
    let path = url.get(host..).and_then(|rest| rest.find('/')).map_or(url.len(), |at| host + at);
    let base = match location.starts_with('/') {
        true => path,
        false => url.rfind('/').map_or(url.len(), |at| at + 1),
    };
    format!("{}{location}", url.get(..base).unwrap_or_default())
}

fn refusal(url: &str, status: StatusCode, body: &str) -> String {
    let hint = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            ": give --config FILE, --key and --secret, --dev, or --bearer TOKEN"
        }
        StatusCode::NOT_FOUND => ": is the address right? {room} and {identity} in it are filled in",
        StatusCode::SERVICE_UNAVAILABLE => ": the server is full",
        _ => "",
    };
    let said: String = body.trim().chars().take(200).collect();
    format!("{url} answers {status}{hint} {said}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_taken_as_it_is_meant() {
        for (location, expected) in
            [("https://other/x", "https://other/x"), ("/resource/7", "http://host:1/resource/7"), ("7", "http://host:1/whip/7")]
        {
            assert_eq!(resource("http://host:1/whip/room", location), expected);
        }
        assert_eq!(resource("http://host", "/7"), "http://host/7");
    }
}
