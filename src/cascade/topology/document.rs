//! A document as it was written: every value of the right kind, with its place. Owns keys, kinds and ranges; what the values
//! mean together is [`super::check`]'s.

use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Finding, Geo, Mode, Problem, Tier};
use crate::cascade::wire;
use crate::cluster::Role;
use crate::id::{MAX_NAME, is_name};

/// Problems that are told of one document; the rest is counted.
const MAX_PROBLEMS: usize = 50;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

#[derive(Debug)]
pub(super) struct Document {
    pub(super) epoch: u64,
    pub(super) mode: Option<At<Mode>>,
    pub(super) max_region_hops: Option<At<i64>>,
    pub(super) weights: Weights,
    pub(super) regions: Vec<RegionEntry>,
    pub(super) links: Vec<LinkEntry>,
    pub(super) nodes: Vec<NodeEntry>,
}

/// What a dollar per gigabyte, a millisecond of the way there and the use of a backup count in a cost. The ranges keep every
/// cost below [`super::MAX_COST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Weights {
    pub(super) usd_gb: u32,
    pub(super) ms: u32,
    pub(super) backup: u32,
}

impl Default for Weights {
    fn default() -> Self {
        Self { usd_gb: 1_000, ms: 1, backup: 500 }
    }
}

#[derive(Debug)]
pub(super) struct RegionEntry {
    pub(super) id: At<String>,
    pub(super) tier: Option<At<Tier>>,
    pub(super) parents: Vec<At<String>>,
    /// In millionths of a dollar.
    pub(super) price: u32,
    pub(super) backup_transit: bool,
    pub(super) max_mbps: Option<At<u32>>,
    pub(super) load_mbps: Option<At<u32>>,
    pub(super) geo: Option<Geo>,
}

#[derive(Debug)]
pub(super) struct LinkEntry {
    pub(super) span: Range<usize>,
    pub(super) from: At<String>,
    pub(super) to: At<String>,
    pub(super) rtt_ms: Option<At<u32>>,
    /// It is written, but told to be none.
    pub(super) has_bad_rtt: bool,
    /// In millionths of a dollar.
    pub(super) price: Option<At<u32>>,
    pub(super) max_mbps: Option<At<u32>>,
}

#[derive(Debug)]
pub(super) struct NodeEntry {
    pub(super) id: At<String>,
    pub(super) region: At<String>,
    pub(super) role: Role,
    pub(super) addr: String,
    pub(super) url: Option<String>,
}

/// Everything that is wrong, as far as it can be told without consequences of one mistake being told as others.
#[derive(Debug)]
pub(super) struct Problems<'t> {
    text: &'t str,
    found: Vec<Problem>,
    more: usize,
}

impl<'t> Problems<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        Self { text, found: Vec::new(), more: 0 }
    }

    pub(super) fn add(&mut self, span: &Range<usize>, what: impl Into<String>, mend: impl Into<String>) {
        if self.found.len() < MAX_PROBLEMS {
            self.found.push(Finding::new(self.text, span.clone(), what, mend));
        } else {
            self.more += 1;
        }
    }

    pub(super) fn count(&self) -> usize {
        self.found.len() + self.more
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All of them by place.
    pub(super) fn sorted(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|problem| problem.span.start);
        if self.more > 0 {
            let end = self.text.len();
            self.found.push(Finding::new(self.text, end..end, format!("and {} more", self.more), ""));
        }
        self.found
    }
}

/// The document's values; what could not be read is told and left out.
pub(super) fn read(text: &str, problems: &mut Problems<'_>) -> Option<Document> {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        problems.add(&error.span().unwrap_or(0..0), format!("not TOML: {}", error.message()), "");
    }
    if !errors.is_empty() {
        return None;
    }
    let mut top = Fields::new(document.get_ref(), 0..0, "the document", "", problems);
    top.only(&["version", "epoch", "mode", "max_region_hops", "weights", "region", "link", "node"]);
    match top.integer("version", 1..=i64::MAX) {
        Some(At { value: 1, .. }) => {}
        Some(At { span, value }) => {
            top.problems.add(&span, format!("version {value} of the format is not known here"), "this weir reads version 1");
        }
        None => top.needs("version", "version = 1"),
    }
    let epoch = top.integer("epoch", 1..=i64::MAX);
    if epoch.is_none() {
        top.needs("epoch", "epoch = 1, and one more with each change");
    }
    let mode = top.choice("mode", &[("tree", Mode::Tree), ("mesh", Mode::Mesh)]);
    let max_region_hops = top.integer("max_region_hops", 1..=super::MAX_HOPS.into());
    let weights = top.table("weights").map(|table| top.inner(&table, "weights").weights()).unwrap_or_default();
    let mut regions = Vec::new();
    for table in top.tables("region") {
        regions.extend(top.inner(&table, "region").region());
    }
    let mut links = Vec::new();
    for table in top.tables("link") {
        links.extend(top.inner(&table, "link").link());
    }
    let mut nodes = Vec::new();
    for table in top.tables("node") {
        nodes.extend(top.inner(&table, "node").node());
    }
    let epoch = epoch.map_or(0, |epoch| epoch.value.unsigned_abs());
    Some(Document { epoch, mode, max_region_hops, weights, regions, links, nodes })
}

/// One table, read key by key.
struct Fields<'a, 'p, 't> {
    table: &'a DeTable<'a>,
    /// The whole entry, for what is missing in it.
    span: Range<usize>,
    /// As errors call it, such as "region mad".
    title: String,
    /// Of its keys' full names: empty, or such as "region".
    kind: &'static str,
    problems: &'p mut Problems<'t>,
}

/// A table within another.
struct Inner<'a> {
    table: &'a DeTable<'a>,
    span: Range<usize>,
}

impl<'a, 'p, 't> Fields<'a, 'p, 't> {
    fn new(
        table: &'a DeTable<'a>,
        span: Range<usize>,
        title: impl Into<String>,
        kind: &'static str,
        problems: &'p mut Problems<'t>,
    ) -> Self {
        Self { table, span, title: title.into(), kind, problems }
    }

    fn inner<'b>(&'b mut self, inner: &Inner<'a>, kind: &'static str) -> Fields<'a, 'b, 't> {
        let id = inner.table.get("id").and_then(|id| id.get_ref().as_str());
        let title = match (kind, id) {
            ("weights", _) => kind.to_owned(),
            (_, Some(id)) => format!("{kind} {}", shown(id)),
            _ => format!("a {kind}"),
        };
        Fields::new(inner.table, inner.span.clone(), title, kind, self.problems)
    }

    /// Refuses keys that are not among `known`.
    fn only(&mut self, known: &[&str]) {
        let mut foreign: Vec<_> = self.table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())).collect();
        foreign.sort_by_key(|key| key.span().start);
        for key in foreign {
            let name: &str = key.get_ref();
            let distance = |known: &&&str| strsim::damerau_levenshtein(name, known);
            let near = known.iter().min_by_key(distance).filter(|near| distance(near) <= 1 + near.chars().count() / 3);
            let mend = match near {
                Some(near) => format!("did you mean {near}?"),
                None => format!("there are {}", known.join(", ")),
            };
            let dot = if self.kind.is_empty() { "" } else { "." };
            self.problems.add(&key.span(), format!("no such key: {}{dot}{}", self.kind, shown(name)), mend);
        }
    }

    fn needs(&mut self, key: &str, mend: &str) {
        // A value of the wrong kind has been told already.
        if !self.table.contains_key(key) {
            self.problems.add(&self.span, format!("{} lacks {key}", self.title), format!("write {mend}"));
        }
    }

    fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.get(key)
    }

    fn wrong(&mut self, span: &Range<usize>, key: &str, expected: &str) {
        self.problems.add(span, format!("{}: {key} is not {expected}", self.title), "");
    }

    fn integer(&mut self, key: &str, range: RangeInclusive<i64>) -> Option<At<i64>> {
        let found = self.value(key)?;
        let value = found.get_ref().as_integer().and_then(|number| i64::from_str_radix(number.as_str(), number.radix()).ok());
        match value.filter(|value| range.contains(value)) {
            Some(value) => Some(At { value, span: found.span() }),
            None => {
                let to = if *range.end() == i64::MAX { "up".to_owned() } else { format!("to {}", range.end()) };
                self.wrong(&found.span(), key, &format!("a whole number from {} {to}", range.start()));
                None
            }
        }
    }

    fn small(&mut self, key: &str, range: RangeInclusive<i64>) -> Option<At<u32>> {
        let found = self.integer(key, range)?;
        Some(At { value: u32::try_from(found.value).unwrap_or(u32::MAX), span: found.span })
    }

    fn number(&mut self, key: &str, range: RangeInclusive<f64>) -> Option<At<f64>> {
        let found = self.value(key)?;
        match plain_number(found.get_ref()).filter(|value| range.contains(value)) {
            Some(value) => Some(At { value, span: found.span() }),
            None => {
                self.wrong(&found.span(), key, &format!("a number from {} to {}", range.start(), range.end()));
                None
            }
        }
    }

    /// Dollars, in millionths.
    fn price(&mut self) -> Option<At<u32>> {
        // The range keeps the product within u32.
        self.number("usd_gb", 0.0..=100.0).map(|At { value, span }| At { value: (value * 1e6).round() as u32, span })
    }

    fn text(&mut self, key: &str) -> Option<At<String>> {
        let found = self.value(key)?;
        match found.get_ref().as_str().filter(|text| text.len() <= wire::MAX_TEXT) {
            Some(text) => Some(At { value: text.to_owned(), span: found.span() }),
            None => {
                self.wrong(&found.span(), key, &format!("a text in quotes of at most {} bytes", wire::MAX_TEXT));
                None
            }
        }
    }

    fn name(&mut self, key: &str) -> Option<At<String>> {
        let found = self.value(key)?;
        self.as_name(key, found)
    }

    fn as_name(&mut self, key: &str, found: &Spanned<DeValue<'a>>) -> Option<At<String>> {
        match found.get_ref().as_str().filter(|text| is_name(text)) {
            Some(text) => Some(At { value: text.to_owned(), span: found.span() }),
            None => {
                let expected = format!(
                    "a name in quotes: 1 to {MAX_NAME} characters a-z, 0-9, and inside also '-' and single dots, such as \"fra-1\""
                );
                self.wrong(&found.span(), key, &expected);
                None
            }
        }
    }

    fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Option<At<T>> {
        let found = self.value(key)?;
        let chosen = choices.iter().find(|(name, _)| found.get_ref().as_str() == Some(name));
        match chosen {
            Some((_, value)) => Some(At { value: *value, span: found.span() }),
            None => {
                let names: Vec<_> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
                self.wrong(&found.span(), key, &names.join(" or "));
                None
            }
        }
    }

    fn table(&mut self, key: &str) -> Option<Inner<'a>> {
        let found = self.value(key)?;
        let Some(table) = found.get_ref().as_table() else {
            self.wrong(&found.span(), key, "a table");
            return None;
        };
        Some(Inner { table, span: found.span() })
    }

    /// A list of tables, inline or with `[[key]]`.
    fn tables(&mut self, key: &str) -> Vec<Inner<'a>> {
        let Some(found) = self.value(key) else { return Vec::new() };
        let Some(items) = found.get_ref().as_array() else {
            let expected = format!("a list of tables: write {key} = [ {{ … }}, {{ … }} ], or [[{key}]] above each");
            self.wrong(&found.span(), key, &expected);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in items.iter() {
            match item.get_ref().as_table() {
                Some(table) => tables.push(Inner { table, span: item.span() }),
                None => self.problems.add(&item.span(), format!("an entry of {key} is not a table"), "write { … } around it"),
            }
        }
        tables
    }

    fn weights(mut self) -> Weights {
        self.only(&["usd_gb", "ms", "backup"]);
        let Weights { usd_gb, ms, backup } = Weights::default();
        let mut weight = |key, most, usual| self.small(key, 0..=most).map_or(usual, |found| found.value);
        Weights {
            usd_gb: weight("usd_gb", 100_000, usd_gb),
            ms: weight("ms", 1_000, ms),
            backup: weight("backup", 10_000_000, backup),
        }
    }

    fn region(mut self) -> Option<RegionEntry> {
        self.only(&["id", "tier", "parents", "usd_gb", "transit", "max_mbps", "load_mbps", "geo"]);
        let id = self.name("id");
        self.needs("id", "id = \"…\"");
        let tier = self.choice("tier", &[("hub", Tier::Hub), ("leaf", Tier::Leaf)]);
        let parents = self.parents();
        let price = self.price().map_or(0, |price| price.value);
        let transit = self.choice("transit", &[("open", false), ("backup", true)]);
        let max_mbps = self.small("max_mbps", 1..=10_000_000);
        let load_mbps = self.small("load_mbps", 0..=10_000_000);
        let geo = self.geo();
        let backup_transit = transit.is_some_and(|transit| transit.value);
        Some(RegionEntry { id: id?, tier, parents, price, backup_transit, max_mbps, load_mbps, geo })
    }

    fn parents(&mut self) -> Vec<At<String>> {
        let Some(found) = self.value("parents") else { return Vec::new() };
        let Some(items) = found.get_ref().as_array() else {
            self.wrong(&found.span(), "parents", "a list of regions, such as [\"fra\", \"iad\"], the preferred one first");
            return Vec::new();
        };
        items.iter().filter_map(|item| self.as_name("parents", item)).collect()
    }

    fn geo(&mut self) -> Option<Geo> {
        let found = self.value("geo")?;
        let pair = found.get_ref().as_array().and_then(|items| {
            let numbers: Option<Vec<f64>> = items.iter().map(|item| plain_number(item.get_ref())).collect();
            <[f64; 2]>::try_from(numbers?).ok()
        });
        match pair {
            Some([lat, lon]) if (-90.0..=90.0).contains(&lat) && (-180.0..=180.0).contains(&lon) => {
                Some(Geo { lat: (lat * 1e6).round() as i32, lon: (lon * 1e6).round() as i32 })
            }
            _ => {
                self.wrong(&found.span(), "geo", "[latitude, longitude] in degrees, such as [50.11, 8.68]");
                None
            }
        }
    }

    fn link(mut self) -> Option<LinkEntry> {
        self.only(&["from", "to", "rtt_ms", "usd_gb", "max_mbps"]);
        let (from, to) = (self.name("from"), self.name("to"));
        self.needs("from", "from = \"…\"");
        self.needs("to", "to = \"…\"");
        let rtt_ms = self.number("rtt_ms", 0.0..=10_000.0);
        let rtt_ms = rtt_ms.map(|At { value, span }| At { value: value.round().max(1.0) as u32, span });
        let price = self.price();
        let max_mbps = self.small("max_mbps", 1..=10_000_000);
        let has_bad_rtt = rtt_ms.is_none() && self.value("rtt_ms").is_some();
        Some(LinkEntry { span: self.span, from: from?, to: to?, rtt_ms, has_bad_rtt, price, max_mbps })
    }

    fn node(mut self) -> Option<NodeEntry> {
        self.only(&["id", "region", "role", "addr", "url"]);
        let (id, region) = (self.name("id"), self.name("region"));
        self.needs("id", "id = \"…\"");
        self.needs("region", "region = \"…\"");
        let role = self.choice("role", &[("edge", Role::Edge), ("core", Role::Core), ("both", Role::Both)]);
        let addr = self.text("addr");
        self.needs("addr", "addr = \"host:port\", where neighbours dial it");
        if let Some(At { span, .. }) = addr.as_ref().filter(|addr| !is_host_and_port(&addr.value)) {
            self.wrong(&span.clone(), "addr", "host:port, such as \"fra-1.example.org:7443\" or \"[2001:db8::1]:7443\"");
        }
        let url = self.text("url");
        if let Some(At { span, .. }) = url.as_ref().filter(|url| !is_url(&url.value)) {
            self.wrong(&span.clone(), "url", "an address for browsers, such as \"https://fra.example.org\"");
        }
        let role = role.map_or(Role::Both, |role| role.value);
        Some(NodeEntry { id: id?, region: region?, role, addr: addr?.value, url: url.map(|url| url.value) })
    }
}

fn plain_number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number as f64),
        DeValue::Float(number) => number.as_str().parse().ok(),
        _ => None,
    }
}

/// A text of the document that goes into an error: short, and on one line.
fn shown(text: &str) -> String {
    text.chars().take(MAX_NAME).map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let known_host = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_host(host),
    };
    known_host && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_host(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
    let authority = rest.split('/').next().unwrap_or_default();
    (is_host(authority) || is_host_and_port(authority)) && rest.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for text in ["a:1", "fra-1.example.org:7443", "10.0.0.1:65535", "[2001:db8::1]:7443", "[::1]:1"] {
            assert!(is_host_and_port(text), "{text}");
        }
        for text in
            ["", "a", ":1", "a:", "a:0", "a:65536", "a:+1", "::1:7443", "[::1]", "[a]:1", "a b:1", "https://a:1", "a/b:1"]
        {
            assert!(!is_host_and_port(text), "{text}");
        }
    }

    #[test]
    fn urls_are_for_browsers() {
        for text in ["https://fra.example.org", "http://localhost:8080", "https://[::1]:8443/x"] {
            assert!(is_url(text), "{text}");
        }
        for text in ["", "fra.example.org", "https://", "ws://a", "https:///x", "https://a b", "https://a/ü"] {
            assert!(!is_url(text), "{text}");
        }
    }
}
