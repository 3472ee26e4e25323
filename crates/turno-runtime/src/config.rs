//! Configuration in layers: defaults < TOML file < `TURNO_*` < flags. clap reads the last two into a struct of
//! options; what is set there is laid over the file's table, and the whole is read once into the process's config.

use std::io::{self, Write as _};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::Error;

/// A process's whole configuration.
pub trait Config: Serialize + DeserializeOwned + Default {
    /// Names the key and the reason when values do not go together.
    fn validate(&self) -> Result<(), String>;
}

/// Lays `flags` over the TOML `file` over the defaults.
pub fn load<C: Config>(file: Option<&Path>, flags: &impl Serialize) -> Result<C, Error> {
    let file = file.map(File::read).transpose()?;
    let mut table: Table = file.as_ref().map(File::parse).transpose()?.unwrap_or_default();
    let over = Table::try_from(flags).map_err(|error| Error::Config(error.to_string()))?;
    lay_over(&mut table, over);
    let config: C = Value::Table(table).try_into().map_err(|error: toml::de::Error| {
        // What is laid together has no lines any more; the file has, if the mistake is its own.
        let in_file = file.as_ref().and_then(|file| file.parse::<C>().err());
        in_file.unwrap_or_else(|| Error::Config(error.to_string().trim().replace('\n', " ")))
    })?;
    config.validate().map_err(Error::Config)?;
    Ok(config)
}

/// [`load`] for a main: `None` when the configuration was only to be printed, and has been.
///
/// # Errors
/// A file that cannot be read, or values that make no sense.
pub fn prepare<C: Config>(
    file: Option<&Path>,
    only_print: bool,
    flags: &impl Serialize,
) -> Result<Option<C>, Error> {
    let config: C = load(file, flags)?;
    if !only_print {
        return Ok(Some(config));
    }
    let (text, mut out) = (print(&config)?, io::stdout());
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever no longer reads has seen enough.
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::System { what: "cannot print the configuration", source })
        }
        _ => Ok(None),
    }
}

/// The configuration as a TOML file that says the same.
pub fn print(config: &impl Serialize) -> Result<String, Error> {
    toml::to_string(config).map_err(|error| Error::Config(error.to_string()))
}

/// A configuration file as it was read.
struct File<'a> {
    path: &'a Path,
    text: String,
}

impl<'a> File<'a> {
    fn read(path: &'a Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::ConfigFile { path: path.to_owned(), source })?;
        Ok(Self { path, text })
    }

    fn parse<T: DeserializeOwned>(&self) -> Result<T, Error> {
        toml::from_str(&self.text).map_err(|error| self.mistake(&error))
    }

    /// Where it is and what it is. The line itself is not shown: there may be a secret in it.
    fn mistake(&self, error: &toml::de::Error) -> Error {
        let path = self.path.display();
        let place = error.span().map_or_else(String::new, |span| place(&self.text, span.start));
        Error::Config(format!("{path}{place}: {}", error.message().trim()))
    }
}

/// Line and column of a byte, counted from 1, as editors and compilers write them.
fn place(text: &str, byte: usize) -> String {
    let before = text.get(..byte).unwrap_or(text);
    let (line, beginning) = (before.matches('\n').count() + 1, before.rfind('\n').map_or(0, |at| at + 1));
    format!(":{line}:{}", before[beginning..].chars().count() + 1)
}

fn lay_over(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => lay_over(below, above),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, load};
    use serde::{Deserialize, Serialize};
    use std::io::Write as _;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Bakery {
        ovens: u32,
        name: String,
        shop: Shop,
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Shop {
        street: String,
        open: bool,
    }

    impl Config for Bakery {
        fn validate(&self) -> Result<(), String> {
            if self.ovens > 9 { Err("ovens: at most 9".to_owned()) } else { Ok(()) }
        }
    }

    #[derive(Serialize)]
    struct Flags {
        #[serde(skip_serializing_if = "Option::is_none")]
        ovens: Option<u32>,
        shop: ShopFlags,
    }

    #[derive(Serialize)]
    struct ShopFlags {
        #[serde(skip_serializing_if = "Option::is_none")]
        open: Option<bool>,
    }

    fn flags(ovens: Option<u32>, open: Option<bool>) -> Flags {
        Flags { ovens, shop: ShopFlags { open } }
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn flags_win_over_the_file_key_by_key() {
        let file = file("ovens = 2\nname = \"Rosa\"\n[shop]\nstreet = \"Via Roma\"\n");
        let got: Bakery = load(Some(file.path()), &flags(Some(3), Some(true))).unwrap();
        let shop = Shop { street: "Via Roma".into(), open: true };
        assert_eq!(got, Bakery { ovens: 3, name: "Rosa".into(), shop });
        let got: Bakery = load(Some(file.path()), &flags(None, None)).unwrap();
        assert_eq!(got.ovens, 2);
    }

    #[test]
    fn a_mistake_in_a_file_is_told_with_its_place() {
        for (text, place, what) in [
            ("oven = 2\n", "1:1", "unknown field `oven`, expected one of `ovens`, `name`, `shop`"),
            (
                "# A bakery.\novens = 2\n\n[shop]\n  strete = 1\n",
                "5:3",
                "unknown field `strete`, expected `street` or `open`",
            ),
            ("name = \"Bäcker\"\novens = \"two\"\n", "2:9", "invalid type: string \"two\", expected u32"),
            ("shop = { street = \"ß\", open = 1 }", "1:31", "invalid type: integer `1`, expected a boolean"),
        ] {
            let file = file(text);
            let error = load::<Bakery>(Some(file.path()), &flags(None, None)).unwrap_err().to_string();
            assert_eq!(error, format!("configuration: {}:{place}: {what}", file.path().display()));
        }
    }

    #[test]
    fn a_file_that_is_no_toml_is_told_with_its_place_and_without_its_secrets() {
        let file = file("ovens = 2\nname = \"open-sesame\n");
        let error = load::<Bakery>(Some(file.path()), &flags(None, None)).unwrap_err().to_string();
        let place = format!("configuration: {}:2:", file.path().display());
        assert!(error.starts_with(&place) && !error.contains("sesame"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }

    #[test]
    fn a_flag_stands_for_what_the_file_says_wrong() {
        let file = file("ovens = \"two\"\n");
        let got: Bakery = load(Some(file.path()), &flags(Some(2), None)).unwrap();
        assert_eq!(got.ovens, 2);
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        let error = load::<Bakery>(None, &flags(Some(10), None)).unwrap_err().to_string();
        assert_eq!(error, "configuration: ovens: at most 9");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error =
            load::<Bakery>(Some("no/such.toml".as_ref()), &flags(None, None)).unwrap_err().to_string();
        assert!(error.contains("no/such.toml"), "{error}");
    }
}
