//! The effective configuration as a TOML text that can be read back, each key with its meaning and who set it.

use std::fmt::Write;

use super::setting::Shape;
use super::{Config, Loaded, Source};

/// Every section and key; secrets are left out, with a comment in their place.
pub fn effective(loaded: &Loaded) -> String {
    let mut out = String::new();
    for (section, about, keys) in Config::SECTIONS {
        comment(&mut out, about);
        line(&mut out, &format!("[{section}]"));
        for key in *keys {
            comment(&mut out, key.doc);
            let path = key.path();
            let value = loaded.config.get(section, key.name);
            if key.shape == Shape::Map {
                let entries = value.as_ref().and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::keys);
                let mut none = true;
                for entry in entries {
                    none = false;
                    let source = source_of(loaded, &format!("{path}.{entry}"));
                    line(&mut out, &format!("# {}.{entry} = (secret)  # {source}", key.name));
                }
                if none {
                    line(&mut out, &format!("# {}: none", key.name));
                }
            } else if key.shape == Shape::Secret {
                let is_set = value.as_ref().and_then(toml::Value::as_str).is_some_and(|shown| !shown.is_empty());
                let shown = if is_set { "= (secret)" } else { ": none" };
                line(
                    &mut out,
                    &format!("# {}{}{shown}  # {}", key.name, if is_set { " " } else { "" }, source_of(loaded, &path)),
                );
            } else if let Some(value) = value {
                line(&mut out, &format!("{} = {value}  # {}", key.name, source_of(loaded, &path)));
            }
        }
        line(&mut out, "");
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn source_of<'a>(loaded: &'a Loaded, path: &str) -> &'a Source {
    loaded.sources.get(path).unwrap_or(&Source::Default)
}

fn comment(out: &mut String, doc: &[&str]) {
    for text in doc {
        line(out, &format!("#{text}"));
    }
}

fn line(out: &mut String, text: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}
