//! Types that a key may have, each with how it is read, what it expects and how it is printed. Secrets never print.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use super::setting::{Setting, Shape};
use crate::cluster::Role;
use crate::id::{NodeId, RegionId};

/// A text that must not be printed or logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for signing and checking.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// API keys by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(BTreeMap<String, Secret>);

impl Keys {
    /// Each key's name and secret, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.0.iter().map(|(name, secret)| (name.as_str(), secret))
    }

    /// The secret of the key of that name.
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.0.get(name)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(String, Secret)> for Keys {
    fn from_iter<I: IntoIterator<Item = (String, Secret)>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}

/// An address told to browsers, with the port that stands for the first shard's where a NAT maps it to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertised {
    pub ip: IpAddr,
    pub port: Option<u16>,
}

impl Advertised {
    /// The UDP address of the shard at `index`, if its own port is `base + index`.
    pub fn udp(&self, base: u16, index: u8) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or(base).saturating_add(u16::from(index)))
    }
}

impl fmt::Display for Advertised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

/// A web origin: scheme, host, and port unless it is the scheme's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// As a browser sends it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Names an app of PeerJS clients: a part of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AppKey(String);

impl AppKey {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for AppKey {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        name(text).map(|text| Self(text.to_owned())).ok_or(())
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl Setting for u16 {
    const SHAPE: Shape = Shape::Integer;
    fn read(value: &toml::Value) -> Result<Self, String> {
        integer(value, "a port number, 0 to 65535")
    }
    fn write(&self) -> toml::Value {
        toml::Value::Integer((*self).into())
    }
}

impl Setting for u32 {
    const SHAPE: Shape = Shape::Integer;
    fn read(value: &toml::Value) -> Result<Self, String> {
        integer(value, "a whole number from 0 up")
    }
    fn write(&self) -> toml::Value {
        toml::Value::Integer((*self).into())
    }
}

/// Declares settings that are one text.
macro_rules! text_setting {
    ($($kind:ty, $expects:literal, $parse:expr, $print:expr;)+) => {
        $(impl Setting for $kind {
            const SHAPE: Shape = Shape::Text;
            fn read(value: &toml::Value) -> Result<Self, String> {
                let parse: fn(&str) -> Option<Self> = $parse;
                value.as_str().and_then(parse).ok_or_else(|| expected($expects, value))
            }
            fn write(&self) -> toml::Value {
                let print: fn(&Self) -> String = $print;
                toml::Value::String(print(self))
            }
        })+
    };
}

text_setting! {
    String, "a text", |text| Some(text.to_owned()), Self::clone;
    IpAddr, "an IP address such as \"0.0.0.0\" or \"::\"", |text| text.parse().ok(), Self::to_string;
    SocketAddr, "an address and port such as \"127.0.0.1:8080\" or \"[::]:8080\"", |text| text.parse().ok(), Self::to_string;
    NodeId, "a name of 1 to 64 letters, digits, '-', '_' or '.'", |text| name(text).map(Self::new), Self::to_string;
    RegionId, "a name of 1 to 64 letters, digits, '-', '_' or '.'", |text| name(text).map(Self::new), Self::to_string;
    Role, "\"edge\", \"core\" or \"both\"", |text| match text {
        "edge" => Some(Self::Edge),
        "core" => Some(Self::Core),
        "both" => Some(Self::Both),
        _ => None,
    }, |role| match role {
        Self::Edge => "edge".to_owned(),
        Self::Core => "core".to_owned(),
        Self::Both => "both".to_owned(),
    };
    LogFormat, "\"text\" or \"json\"", |text| match text {
        "text" => Some(Self::Text),
        "json" => Some(Self::Json),
        _ => None,
    }, |format| match format {
        Self::Text => "text".to_owned(),
        Self::Json => "json".to_owned(),
    };
}

impl Setting for Vec<Advertised> {
    const SHAPE: Shape = Shape::List;
    fn read(value: &toml::Value) -> Result<Self, String> {
        list(value, "addresses such as \"203.0.113.7\" or \"203.0.113.7:40000\"", |text| {
            let bare = || text.parse().ok().map(|ip| Advertised { ip, port: None });
            let mapped = |addr: SocketAddr| Advertised { ip: addr.ip(), port: Some(addr.port()) };
            text.parse().ok().map(mapped).or_else(bare).filter(|addr| addr.port != Some(0))
        })
    }
    fn write(&self) -> toml::Value {
        self.iter().map(ToString::to_string).collect::<Vec<_>>().into()
    }
}

impl Setting for Secret {
    const SHAPE: Shape = Shape::Secret;
    fn read(value: &toml::Value) -> Result<Self, String> {
        // The value is not repeated in the message: it may be a secret of the wrong type.
        value.as_str().map(Self::new).ok_or_else(|| "expected the secret as a text".to_owned())
    }
    fn write(&self) -> toml::Value {
        if self.expose().is_empty() { "" } else { "(secret)" }.into()
    }
}

/// Declares settings that are lists of what can be parsed and printed.
macro_rules! list_setting {
    ($($kind:ty, $expects:literal;)+) => {
        $(impl Setting for Vec<$kind> {
            const SHAPE: Shape = Shape::List;
            fn read(value: &toml::Value) -> Result<Self, String> {
                list(value, $expects, |text| text.parse().ok())
            }
            fn write(&self) -> toml::Value {
                self.iter().map(ToString::to_string).collect::<Vec<_>>().into()
            }
        })+
    };
}

list_setting! {
    SocketAddr, "addresses and ports such as \"0.0.0.0:3478\" or \"[::]:3478\"";
    IpAddr, "IP addresses such as \"203.0.113.7\"";
    AppKey, "names of 1 to 64 letters, digits, '-', '_' or '.'";
    IpNet, "networks such as \"10.1.0.0/16\" or \"fd00::/8\"";
}

impl Setting for Vec<Origin> {
    const SHAPE: Shape = Shape::List;
    fn read(value: &toml::Value) -> Result<Self, String> {
        list(value, "origins such as \"https://meet.example.org\", without a path", |text| {
            let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
            let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '?' | '#' | '@' | '*');
            // Browsers send the host in lower case, and the check compares bytes.
            (!host.is_empty() && host.chars().all(plain)).then(|| Origin(text.to_ascii_lowercase()))
        })
    }
    fn write(&self) -> toml::Value {
        self.iter().map(|origin| origin.0.clone()).collect::<Vec<_>>().into()
    }
}

impl Setting for Keys {
    const SHAPE: Shape = Shape::Map;
    fn read(value: &toml::Value) -> Result<Self, String> {
        let table = value.as_table().ok_or_else(|| expected("a table of NAME = \"SECRET\"", value))?;
        let entry = |(name, secret): (&String, &toml::Value)| {
            // The value is not repeated in the message: it may be a secret of the wrong type.
            let secret = secret.as_str().ok_or_else(|| "expected the secret as a text".to_owned())?;
            Ok((name.clone(), Secret::new(secret)))
        };
        table.iter().map(entry).collect()
    }
    fn write(&self) -> toml::Value {
        toml::Value::Table(self.0.keys().map(|name| (name.clone(), "(secret)".into())).collect())
    }
}

fn integer<T: TryFrom<i64>>(value: &toml::Value, expects: &str) -> Result<T, String> {
    value.as_integer().and_then(|number| T::try_from(number).ok()).ok_or_else(|| expected(expects, value))
}

fn list<T>(value: &toml::Value, expects: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    let items = value.as_array().ok_or_else(|| expected(&format!("a list of {expects}"), value))?;
    items.iter().map(|item| item.as_str().and_then(&parse).ok_or_else(|| expected(expects, item))).collect()
}

fn name(text: &str) -> Option<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    ((1..=64).contains(&text.len()) && text.chars().all(plain)).then_some(text)
}

fn expected(what: &str, found: &toml::Value) -> String {
    let found = match found {
        toml::Value::String(text) => format!("the text {text:?}"),
        toml::Value::Integer(number) => format!("the number {number}"),
        toml::Value::Float(number) => format!("the number {number}"),
        toml::Value::Boolean(truth) => format!("{truth}"),
        toml::Value::Datetime(_) => "a date".to_owned(),
        toml::Value::Array(_) => "a list".to_owned(),
        toml::Value::Table(_) => "a table".to_owned(),
    };
    format!("expected {what}, found {found}")
}
