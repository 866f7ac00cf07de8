//! `weir token`: mints tokens that let somebody join a room, and API keys to sign them with.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;

use super::flags::ConfigFlags;
use super::say;
use crate::config::{Auth, Keys};
use crate::edge::token::{self, Claims, VideoGrant};
use crate::rtp::Source;

/// Flags of `weir token`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Print a fresh API key with its secret, ready for the configuration, and nothing else
    #[arg(long)]
    generate_key: bool,
    /// Room to join
    #[arg(long, required_unless_present = "generate_key")]
    room: Option<String>,
    /// Who joins, as the application knows them; a second one of the same identity replaces the first
    #[arg(long, required_unless_present = "generate_key")]
    identity: Option<String>,
    /// The name that others see [default: the identity]
    #[arg(long)]
    name: Option<String>,
    /// How long the token may be used to join, such as 90s, 10m
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    ttl: Duration,
    /// Text of the application's own, passed on to others
    #[arg(long, value_name = "TEXT")]
    metadata: Option<String>,
    /// Whether they may send audio and video
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    can_publish: bool,
    /// Whether they may receive audio and video
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    can_subscribe: bool,
    /// Whether they may chat and send data
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    can_publish_data: bool,
    /// What they may send; all of it without this flag
    #[arg(long, value_name = "SOURCE,…", value_delimiter = ',', value_parser = source)]
    sources: Vec<Source>,
    /// Whether they may mute and remove others
    #[arg(long)]
    admin: bool,
    /// Whether others do not see them
    #[arg(long)]
    hidden: bool,
    /// The API key to sign with, by name; needed if the configuration holds several
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    #[command(flatten)]
    flags: ConfigFlags,
}

const EXAMPLES: &str = "\
The token goes to standard output and nothing else does, so that scripts can take it. \
It is signed with an API key of the configuration. A token is for joining: a call outlives it.

Examples:
  weir token --generate-key
  weir token --config weir.toml --room standup --identity alice --name Alice
  weir token --config weir.toml --room townhall --identity guest-7 --can-publish false
  weir token --config weir.toml --room townhall --identity radio --sources microphone --ttl 60s";

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.generate_key {
        say(fresh_key());
        return Ok(ExitCode::SUCCESS);
    }
    let config = args.flags.load()?.config;
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?.as_secs();
    say(minted(args, &config.auth, unix)?);
    Ok(ExitCode::SUCCESS)
}

/// Two lines of TOML with 256 bits from the system's randomness.
fn fresh_key() -> String {
    let secret: String = rand::random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("[auth.keys]\nkey-{:08x} = \"{secret}\"", rand::random::<u32>())
}

fn minted(args: Args, auth: &Auth, unix: u64) -> anyhow::Result<String> {
    let longest = Duration::from_secs(auth.max_ttl_s.into());
    anyhow::ensure!(
        args.ttl <= longest,
        "--ttl: {} s is longer than the {} s that auth.max_ttl_s allows; the node would refuse it",
        args.ttl.as_secs(),
        longest.as_secs()
    );
    let identity = args.identity.unwrap_or_default();
    let claims = Claims {
        iss: chosen(args.key, &auth.keys)?,
        sub: identity.clone(),
        name: Some(args.name.unwrap_or(identity)),
        metadata: args.metadata,
        exp: unix + args.ttl.as_secs(),
        nbf: None,
        video: VideoGrant {
            room: args.room.unwrap_or_default(),
            room_join: true,
            room_admin: args.admin,
            // An absent grant is given; only what is withheld needs to be said.
            can_publish: (!args.can_publish).then_some(false),
            can_subscribe: (!args.can_subscribe).then_some(false),
            can_publish_data: (!args.can_publish_data).then_some(false),
            can_publish_sources: args.sources,
            hidden: args.hidden.then_some(true),
        },
    };
    let token = token::mint(&auth.keys, &claims)?;
    // As the node will: better to hear of a bad room name here than at the door.
    token::verify(&auth.keys, &token, unix, longest)?;
    Ok(token)
}

/// The API key to sign with: the one named, or the only one.
pub(super) fn chosen(named: Option<String>, keys: &Keys) -> anyhow::Result<String> {
    let names: Vec<&str> = keys.iter().map(|(name, _)| name).collect();
    match (named, names.as_slice()) {
        (_, []) => anyhow::bail!("no API key is configured: name the file with --config, or make a key with --generate-key"),
        (Some(named), _) if names.contains(&named.as_str()) => Ok(named),
        (Some(named), _) => anyhow::bail!("--key: no API key is called {named}; there are: {}", names.join(", ")),
        (None, [only]) => Ok((*only).to_owned()),
        (None, _) => anyhow::bail!("several API keys are configured; choose one with --key: {}", names.join(", ")),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let expected = "expected seconds, minutes or hours, such as 90s, 10m or 1h";
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let count: u64 = digits.parse().map_err(|_| expected)?;
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err(expected.to_owned()),
    };
    count.checked_mul(seconds).filter(|seconds| *seconds > 0).map(Duration::from_secs).ok_or_else(|| expected.to_owned())
}

fn source(text: &str) -> Result<Source, String> {
    serde_json::from_value(text.into())
        .map_err(|_| "expected camera, microphone, screen_share or screen_share_audio".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::Secret;

    const NOW: u64 = 1_800_000_000;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &str) -> Args {
        Line::try_parse_from(std::iter::once("token").chain(line.split(' '))).expect(line).args
    }

    fn auth() -> Auth {
        Auth { keys: keys(&["app"]), ..Auth::default() }
    }

    fn keys(names: &[&str]) -> Keys {
        names.iter().map(|name| ((*name).to_owned(), Secret::new(format!("{name:x<40}")))).collect()
    }

    #[test]
    fn a_minted_token_gives_what_was_asked_and_no_more() {
        let auth = auth();
        let line = "--room r --identity alice --can-publish false --sources camera,screen_share --ttl 60s --admin";
        let access = token::verify(&auth.keys, &minted(args(line), &auth, NOW).expect("minted"), NOW, Duration::from_secs(60))
            .expect("it is good");
        assert_eq!((access.room.as_str(), access.identity.as_str(), access.name.as_str()), ("r", "alice", "alice"));
        assert_eq!(access.claims.exp, NOW + 60);
        assert_eq!(access.claims.video.can_publish, Some(false));
        assert_eq!(access.claims.video.can_publish_sources, [Source::Camera, Source::ScreenShare]);
        assert!(access.claims.video.room_admin && !access.grants.hidden);
    }

    #[test]
    fn what_the_node_would_refuse_is_refused_here() {
        for (line, named) in [
            (format!("--room {} --identity a", "r".repeat(500)), "room"),
            ("--room r --identity a --ttl 2h".to_owned(), "auth.max_ttl_s"),
        ] {
            let said = minted(args(&line), &auth(), NOW).expect_err(&line).to_string();
            assert!(said.contains(named), "{said}");
        }
    }

    #[test]
    fn the_key_is_the_only_one_or_the_one_that_is_named() {
        assert_eq!(chosen(None, &keys(&["a"])).expect("the only one"), "a");
        assert_eq!(chosen(Some("b".into()), &keys(&["a", "b"])).expect("named"), "b");
        for (named, names) in [(None, &["a", "b"][..]), (Some("c".to_owned()), &["a", "b"]), (None, &[])] {
            assert!(chosen(named.clone(), &keys(names)).is_err(), "{named:?} of {names:?}");
        }
    }

    #[test]
    fn a_fresh_key_is_sound_configuration() {
        let mut layers = crate::config::Layers::default();
        layers.toml(std::path::Path::new("weir.toml"), &fresh_key());
        assert_eq!(layers.load().expect("sound").config.auth.keys.iter().count(), 1);
        assert_ne!(fresh_key(), fresh_key());
    }

    #[test]
    fn durations_are_seconds_minutes_or_hours() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3_600)));
        for text in ["", "m", "-1s", "1d", "0", "99999999999999999999h", "18446744073709551615h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
