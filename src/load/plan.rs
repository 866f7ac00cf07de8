//! What a run is told: the crowd, the servers, how fast and for how long. Plain data; `cli::load` fills it, `drive` obeys it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::Keys;
use crate::edge::token::{self, Claims, MAX_JOIN_TTL};

use super::http::Http;
use super::scenario::{Scenario, Seat};
use super::server::Meter;

/// Everything a run needs.
#[derive(Clone, Debug)]
pub struct Plan {
    pub scenario: Scenario,
    /// Servers, as `http://HOST:PORT`; seats say which.
    pub servers: Vec<String>,
    pub tokens: Tokens,
    /// Instead of the room protocol.
    pub http: Option<Exchange>,
    /// Joins per second.
    pub ramp: f64,
    /// From the moment all have joined.
    pub duration: Duration,
    /// Media threads.
    pub threads: usize,
    /// Every packet is opened.
    pub verify: bool,
    /// What each subscriber wants to receive at most, in bits per second.
    pub limit_bps: Option<u32>,
    pub meter: Meter,
}

/// Where tokens come from.
#[derive(Clone, Debug)]
pub enum Tokens {
    /// `weir dev` gives them to whoever asks.
    Dev,
    /// Signed here, with the secret of this key.
    Signed { keys: Keys, key: String },
    /// The same for all.
    Given(String),
    /// None is shown: a server of WHIP and WHEP that lets everybody in.
    None,
}

/// Addresses of WHIP and WHEP, in which `{room}` and `{identity}` stand for the seat's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// Publishers.
    pub whip: Option<String>,
    /// Subscribers.
    pub whep: Option<String>,
}

impl Exchange {
    /// Where a seat offers.
    pub fn url(&self, seat: &Seat) -> Result<String, String> {
        let (template, flag) = match seat.publishes() {
            true => (&self.whip, "--whip"),
            false => (&self.whep, "--whep"),
        };
        let template = template
            .as_ref()
            .ok_or_else(|| format!("{flag} is needed for those who {}", if seat.publishes() { "publish" } else { "watch" }))?;
        Ok(template.replace("{room}", &seat.room).replace("{identity}", &seat.identity))
    }
}

impl Tokens {
    /// One for a seat. An error says the mend.
    pub async fn of(&self, http: &Http, server: &str, seat: &Seat) -> Result<Option<String>, String> {
        match self {
            Self::Dev => http.dev_token(server, &seat.room, &seat.identity).await.map(Some),
            Self::Signed { keys, key } => {
                let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                let claims = Claims::join(key, &seat.room, &seat.identity, &seat.identity, unix, MAX_JOIN_TTL);
                token::mint(keys, &claims).map(Some).map_err(|why| why.to_string())
            }
            Self::Given(token) => Ok(Some(token.clone())),
            Self::None => Ok(None),
        }
    }
}
