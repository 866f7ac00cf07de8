//! How a key is declared. `section!` makes a plain struct, its defaults and its table of [`Key`]s from one declaration, and
//! `tree!` joins sections, so that a key is written once. Knows nothing of files, variables or flags: those are `layers`.

/// One key as a person may write it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    pub(super) doc: &'static [&'static str],
    pub(super) shape: Shape,
}

impl Key {
    /// `section.name`
    pub(super) fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }
}

/// Which TOML type a key has; a text from the environment or a flag is read accordingly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Integer,
    Text,
    /// A text that is never shown.
    Secret,
    /// Of texts; commas between them outside TOML.
    List,
    /// Of texts by name; each entry is set on its own.
    Map,
}

/// A type that a key may have.
pub(super) trait Setting: Sized {
    const SHAPE: Shape;
    /// From a TOML value, or what was expected.
    fn read(value: &toml::Value) -> Result<Self, String>;
    /// Back to TOML, to be printed. Never a secret.
    fn write(&self) -> toml::Value;
}

/// A struct of settings with their keys.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $name:ident as $section:literal {
            $( $(#[doc = $doc:literal])+ $field:ident: $kind:ty = $default:expr, )+
        }
    ) => {
        $(#[doc = $about])+
        // The same words are printed as comments of a TOML file, where `<…>` around an address would be wrong.
        #[allow(rustdoc::bare_urls)]
        #[derive(Clone, Debug)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: $kind, )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        impl $name {
            pub(in crate::config) const ABOUT: &'static [&'static str] = &[$($about),+];
            pub(in crate::config) const KEYS: &'static [$crate::config::setting::Key] = &[
                $( $crate::config::setting::Key {
                    section: $section,
                    name: stringify!($field),
                    doc: &[$($doc),+],
                    shape: <$kind as $crate::config::setting::Setting>::SHAPE,
                }, )+
            ];

            pub(in crate::config) fn set(&mut self, name: &str, value: &toml::Value) -> Result<(), String> {
                match name {
                    $( stringify!($field) => self.$field = $crate::config::setting::Setting::read(value)?, )+
                    _ => return Err("no such key".to_owned()),
                }
                Ok(())
            }

            pub(in crate::config) fn get(&self, name: &str) -> Option<toml::Value> {
                match name {
                    $( stringify!($field) => Some($crate::config::setting::Setting::write(&self.$field)), )+
                    _ => None,
                }
            }
        }
    };
}

/// The struct of all sections.
macro_rules! tree {
    ( $(#[doc = $about:literal])+ $name:ident { $( $field:ident: $section:ident, )+ } ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, Default)]
        pub struct $name {
            $( pub $field: $section, )+
            /// Set by `weir dev` only, and by no file: the node hands out tokens to whoever asks. It listens on loopback then.
            pub dev: bool,
        }

        impl $name {
            /// Sections in the order they are printed: name and what it is about.
            const SECTIONS: &'static [(&'static str, &'static [&'static str], &'static [$crate::config::setting::Key])] =
                &[ $( (stringify!($field), $section::ABOUT, $section::KEYS), )+ ];

            fn set(&mut self, section: &str, name: &str, value: &toml::Value) -> Result<(), String> {
                match section {
                    $( stringify!($field) => self.$field.set(name, value), )+
                    _ => Err("no such section".to_owned()),
                }
            }

            fn get(&self, section: &str, name: &str) -> Option<toml::Value> {
                match section {
                    $( stringify!($field) => self.$field.get(name), )+
                    _ => None,
                }
            }

            fn keys() -> impl Iterator<Item = &'static $crate::config::setting::Key> {
                Self::SECTIONS.iter().flat_map(|(_, _, keys)| keys.iter())
            }
        }
    };
}

pub(super) use {section, tree};
