//! Where values come from: a TOML file with its lines, `WEIR_…` variables, flags. Finds each value's key, refuses what is
//! no key with the nearest one that is, and remembers who set what. `cli` hands it the sources; `Config` gives the keys.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::Config;
use super::setting::{Key, Shape};

/// Every variable that sets a key starts so, and joins its sections by two underscores: `WEIR_MEDIA__UDP_PORT`.
const PREFIX: &str = "WEIR_";

/// Who set a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Default,
    File {
        path: PathBuf,
        line: usize,
    },
    /// The variable's name.
    Env(String),
    /// The flag's name.
    Flag(String),
    /// `weir dev`, which has defaults of its own.
    Dev,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Env(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Dev => f.write_str("weir dev"),
        }
    }
}

/// One thing that is wrong in what was configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    pub source: Source,
    pub what: String,
}

/// All that is wrong, so that it can be mended in one go.
#[derive(Debug, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{}: {}", mistake.source, mistake.what)?;
        }
        Ok(())
    }
}

/// A configuration and who set what in it.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// By `section.name`, or `section.name.entry`; absent is a default.
    pub sources: BTreeMap<String, Source>,
}

/// Sources in the order they were added; a later one wins.
#[derive(Debug, Default)]
pub struct Layers {
    values: BTreeMap<String, (toml::Value, Source)>,
    mistakes: Vec<Mistake>,
}

impl Layers {
    /// Adds a TOML file.
    pub fn file(&mut self, path: &Path) {
        match std::fs::read_to_string(path) {
            Ok(text) => self.toml(path, &text),
            Err(why) => self.mistake(Source::File { path: path.to_owned(), line: 0 }, format!("cannot be read: {why}")),
        }
    }

    /// Adds a TOML text that came from `path`.
    pub fn toml(&mut self, path: &Path, text: &str) {
        let (document, errors) = DeTable::parse_recoverable(text);
        let at = |offset: usize| Source::File { path: path.to_owned(), line: line_of(text, offset) };
        for error in &errors {
            self.mistake(at(error.span().map_or(0, |span| span.start)), format!("not TOML: {}", error.message()));
        }
        if errors.is_empty() {
            self.table("", document.get_ref(), &at);
        }
    }

    /// Adds those of the variables that are keys.
    pub fn env(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        for (name, text) in variables {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            if rest.contains("__") {
                // Sections and keys are lower case; the name of an entry, such as an API key, keeps its case.
                let mut parts = rest.splitn(3, "__");
                let mut path: Vec<_> = parts.by_ref().take(2).map(str::to_ascii_lowercase).collect();
                path.extend(parts.map(str::to_owned));
                self.text(&path.join("."), &text, Source::Env(name), |key| {
                    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
                });
            } else if let Some(key) = Config::keys().find(|key| key.path().replace('.', "_").eq_ignore_ascii_case(rest)) {
                // Other names are left alone: an orchestrator sets WEIR_PORT and the like for a service called weir.
                let meant = key.path().replace('.', "__").to_ascii_uppercase();
                self.mistake(Source::Env(name), format!("no such key; two underscores follow the section: {PREFIX}{meant}"));
            }
        }
    }

    /// Adds a flag that stands for one key.
    pub fn flag(&mut self, flag: &str, path: &str, text: &str) {
        self.given(Source::Flag(flag.to_owned()), path, text);
    }

    /// Adds a text for one key from any source.
    pub fn given(&mut self, source: Source, path: &str, text: &str) {
        self.text(path, text, source, str::to_owned);
    }

    /// The typed tree, or all that is wrong.
    pub fn load(mut self) -> Result<Loaded, Mistakes> {
        let mut config = Config::default();
        for key in Config::keys() {
            let path = key.path();
            let set = if key.shape == Shape::Map {
                // Entries may come from several sources; each was checked for its type when it was added.
                let prefix = format!("{path}.");
                let entries: toml::Table = self
                    .values
                    .iter()
                    .filter_map(|(at, (value, _))| Some((at.strip_prefix(&prefix)?.to_owned(), value.clone())))
                    .collect();
                config.set(key.section, key.name, &toml::Value::Table(entries)).map_err(|what| (Source::Default, what))
            } else if let Some((value, source)) = self.values.get(&path) {
                config.set(key.section, key.name, value).map_err(|what| (source.clone(), what))
            } else {
                Ok(())
            };
            if let Err((source, what)) = set {
                self.mistakes.push(Mistake { source, what: format!("{path}: {what}") });
            }
        }
        let sources: BTreeMap<_, _> = self.values.into_iter().map(|(path, (_, source))| (path, source)).collect();
        let broken = config.broken_rules().into_iter().map(|(path, what)| Mistake {
            source: sources.get(&path).cloned().unwrap_or(Source::Default),
            what: format!("{path}: {what}"),
        });
        // A value that could not be read left its default behind; rules would blame that.
        if self.mistakes.is_empty() {
            self.mistakes.extend(broken);
        }
        if self.mistakes.is_empty() { Ok(Loaded { config, sources }) } else { Err(Mistakes(self.mistakes)) }
    }

    fn table(&mut self, prefix: &str, table: &DeTable<'_>, at: &impl Fn(usize) -> Source) {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in entries {
            let path = if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
            let source = at(name.span().start);
            let is_section = Config::SECTIONS.iter().any(|(section, ..)| *section == path);
            let is_map = Config::keys().any(|key| key.shape == Shape::Map && key.path() == path);
            match value.get_ref() {
                DeValue::Table(inner) if is_section || is_map => self.table(&path, inner, at),
                _ if is_section => self.mistake(source, format!("{path} is a section: write [{path}] and its keys below it")),
                _ if is_map => self.mistake(source, format!("{path}: expected a table of NAME = \"TEXT\"")),
                found => match (find(&path), plain(found)) {
                    (None, _) => self.unknown(&path, source, str::to_owned),
                    (Some(_), None) => self.mistake(source, format!("{path}: the number is out of range")),
                    (Some(key), Some(value)) if key.shape == Shape::Map && !value.is_str() => {
                        self.mistake(source, format!("{path}: expected a text in quotes"));
                    }
                    (Some(_), Some(value)) => self.put(path, value, source),
                },
            }
        }
    }

    /// Takes a text for a key, reading it as the key's shape asks.
    fn text(&mut self, path: &str, text: &str, source: Source, spell: impl Fn(&str) -> String) {
        let Some(key) = find(path) else { return self.unknown(path, source, spell) };
        let value = match key.shape {
            Shape::Integer => match text.trim().parse() {
                Ok(number) => toml::Value::Integer(number),
                Err(_) => toml::Value::String(text.to_owned()),
            },
            Shape::Text | Shape::Secret | Shape::Map => toml::Value::String(text.to_owned()),
            Shape::List => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                items.map(str::to_owned).collect::<Vec<_>>().into()
            }
        };
        self.put(path.to_owned(), value, source);
    }

    fn put(&mut self, path: String, value: toml::Value, source: Source) {
        self.values.insert(path, (value, source));
    }

    fn unknown(&mut self, path: &str, source: Source, spell: impl Fn(&str) -> String) {
        let mend = match (nearest(path), nearest_section(path)) {
            (Some(key), _) => format!("did you mean {}?", spell(&key)),
            (None, Some(section)) => format!("did you mean [{section}]?"),
            (None, None) => "weir config print lists them all".to_owned(),
        };
        self.mistake(source, format!("no such key: {path}; {mend}"));
    }

    fn mistake(&mut self, source: Source, what: String) {
        self.mistakes.push(Mistake { source, what });
    }
}

/// The key that `path` sets, or whose entry it sets.
fn find(path: &str) -> Option<&'static Key> {
    Config::keys().find(|key| {
        let rest =
            path.strip_prefix(key.section).and_then(|rest| rest.strip_prefix('.')).and_then(|rest| rest.strip_prefix(key.name));
        match key.shape {
            Shape::Map => rest.and_then(|rest| rest.strip_prefix('.')).is_some_and(|entry| !entry.is_empty()),
            _ => rest == Some(""),
        }
    })
}

/// The key that was probably meant: close as a whole, or of the same name in another section.
fn nearest(path: &str) -> Option<String> {
    let name = path.rsplit('.').next().unwrap_or(path);
    let distance = |key: &&Key| {
        let whole = strsim::damerau_levenshtein(path, &key.path());
        // A name put into the wrong section, or into none, is one step away however far the sections are apart.
        whole.min(1 + strsim::damerau_levenshtein(name, key.name))
    };
    let key = Config::keys().min_by_key(distance)?;
    (distance(&key) <= 1 + name.chars().count() / 3).then(|| key.path())
}

/// The section that was probably meant by a name without a dot.
fn nearest_section(path: &str) -> Option<&'static str> {
    let near = |section: &&str| strsim::damerau_levenshtein(path, section) <= 2;
    Config::SECTIONS.iter().map(|(section, ..)| *section).find(near)
}

/// A parsed value without its place. None: a number that does not fit.
fn plain(value: &DeValue<'_>) -> Option<toml::Value> {
    Some(match value {
        DeValue::String(text) => toml::Value::String(text.to_string()),
        DeValue::Integer(number) => toml::Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()?),
        DeValue::Float(number) => toml::Value::Float(number.as_str().parse().ok()?),
        DeValue::Boolean(truth) => toml::Value::Boolean(*truth),
        DeValue::Datetime(date) => toml::Value::Datetime(*date),
        DeValue::Array(items) => toml::Value::Array(items.iter().map(|item| plain(item.get_ref())).collect::<Option<_>>()?),
        DeValue::Table(_) => toml::Value::Table(toml::Table::new()),
    })
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}
