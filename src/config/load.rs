//! Defaults, then the file, then the environment: three layers become one [`Settings`].
//!
//! Finding and reading the sources is here, and so is all of figment, which lays them over each
//! other and remembers which layer a value came from. What the values mean is `build`'s business.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, io};

use figment::value::{Dict, Map, Num, Tag, Value as Merged};
use figment::{Figment, Metadata, Profile, Provider};

use super::build;
use super::document::Document;
use super::effective::effective;
use super::environment::Environment;
use super::file;
use super::report::{Effective, Origin, Problem};
use super::secret::Secret;
use super::settings::Settings;
use super::unknown::unknown;
use super::value::{Table, Value};

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{}: cannot be read: {cause}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// Everything that is wrong, one a line.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
}

/// Settings and what there is to say about them.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The file they came from; `None`: no file, built-in defaults.
    pub file: Option<PathBuf>,
    /// What was in it, passwords and all.
    pub text: Option<Secret>,
    /// Every key with its value and origin, secrets redacted, in the order of the file.
    pub effective: Vec<Effective>,
    /// What is allowed and probably not meant.
    pub warnings: Vec<String>,
}

/// Everything that settings are made of.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file's name and text.
    pub file: Option<(PathBuf, String)>,
    /// Environment variables, ours among all the others.
    pub environment: Vec<(OsString, OsString)>,
    /// Where state is kept when nothing says so.
    pub state_dir: PathBuf,
}

/// Loads the named file, or the first that exists of `./appliance.toml` and
/// `/etc/callbox/appliance.toml`, or none, under this process's environment.
pub fn load(explicit: Option<&Path>) -> Result<Loaded, Error> {
    Sources::find(explicit)?.load()
}

impl Sources {
    /// Reads the file and the environment.
    pub fn find(explicit: Option<&Path>) -> Result<Self, Error> {
        let file = match explicit {
            Some(path) => Some(read(path)?),
            None => SEARCHED
                .iter()
                .map(|path| read(Path::new(path)))
                .find(|result| {
                    !matches!(result, Err(Error::Unreadable { cause, .. })
                        if cause.kind() == io::ErrorKind::NotFound)
                })
                .transpose()?,
        };
        Ok(Self {
            file,
            environment: env::vars_os().collect(),
            state_dir: state_dir(),
        })
    }

    /// Makes the settings, or says everything that is wrong.
    pub fn load(self) -> Result<Loaded, Error> {
        let (path, text, document) = match self.file {
            Some((path, text)) => (
                Some(path),
                Some(Secret::new(text.as_str())),
                Document::parse(&text),
            ),
            None => (None, None, Document::default()),
        };
        let environment = Environment::read(&self.environment);
        let layers = Layers::new(path, document, environment.root);

        let mut problems = layers.problems();
        problems.extend(environment.problems);
        let built = build::settings(&layers, self.state_dir);
        problems.extend(built.problems);
        if !problems.is_empty() {
            problems.sort_by_key(|problem| match &problem.origin {
                Origin::File { line, .. } => *line,
                Origin::Default | Origin::Variable(_) => usize::MAX,
            });
            return Err(Error::Invalid(problems));
        }
        let ignored = environment.ignored.into_iter().map(|name| {
            format!("{name} is set and begins like a setting, but is none: it is ignored")
        });
        Ok(Loaded {
            effective: effective(&layers, &built.settings),
            warnings: built.warnings.into_iter().chain(ignored).collect(),
            settings: built.settings,
            file: layers.path,
            text,
        })
    }
}

impl Settings {
    /// The defaults, untouched by any file or environment.
    pub fn builtin(state_dir: PathBuf) -> Self {
        let layers = Layers::new(None, Document::default(), Table::new());
        build::settings(&layers, state_dir).settings
    }
}

/// Where a file is looked for when none is named.
const SEARCHED: &[&str] = &["appliance.toml", "/etc/callbox/appliance.toml"];

fn read(path: &Path) -> Result<(PathBuf, String), Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((path.to_owned(), text)),
        Err(cause) => Err(Error::Unreadable {
            path: path.to_owned(),
            cause,
        }),
    }
}

/// What systemd assigned; for root the system's place; else the user's.
fn state_dir() -> PathBuf {
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    // systemd sets this for `StateDirectory=`; a unit with several lists them with colons.
    if let Some(path) =
        absolute("STATE_DIRECTORY").filter(|p| !p.as_os_str().as_encoded_bytes().contains(&b':'))
    {
        return path;
    }
    // Not the owner of /proc/self: that is root for every program with file capabilities.
    let root = std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| status.lines().any(|line| line.starts_with("Uid:\t0\t")));
    let home = || {
        absolute("XDG_STATE_HOME")
            .or_else(|| Some(absolute("HOME")?.join(".local/state")))
            .map(|state| state.join("callbox"))
    };
    match root {
        true => None,
        false => home(),
    }
    .unwrap_or_else(|| PathBuf::from("/var/lib/callbox"))
}

/// Which layer a value came from, lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layer {
    /// Built in.
    Default,
    /// `appliance.toml`
    File,
    /// A variable.
    Environment,
}

/// The three layers, laid over each other.
pub(super) struct Layers {
    figment: Figment,
    document: Document,
    path: Option<PathBuf>,
}

impl Layers {
    fn new(path: Option<PathBuf>, document: Document, environment: Table) -> Self {
        let defaults = Document::parse(&file::defaults());
        let figment = Figment::new()
            .merge(Source(DEFAULT, &defaults.root))
            .merge(Source(FILE, &document.root))
            .merge(Source(ENVIRONMENT, &environment));
        Self {
            figment,
            document,
            path,
        }
    }

    /// The value on top, and the layer it is in.
    pub(super) fn get(&self, path: &str) -> Option<(Value, Layer)> {
        let value = self.figment.find_value(path).ok()?;
        let layer = match self.figment.get_metadata(value.tag()) {
            Some(metadata) if metadata.name == FILE => Layer::File,
            Some(metadata) if metadata.name == ENVIRONMENT => Layer::Environment,
            _ => Layer::Default,
        };
        Some((from_figment(value), layer))
    }

    /// Where a key of this layer is written; `at` leads into its value.
    pub(super) fn origin(&self, layer: Layer, path: &str, at: &str) -> Origin {
        match (layer, &self.path) {
            (Layer::File, Some(file)) => Origin::File {
                path: file.clone(),
                line: self.document.line(&format!("{path}{at}")).unwrap_or(1),
            },
            (Layer::Environment, _) => Origin::Variable(file::variable(path)),
            (Layer::Default | Layer::File, _) => Origin::Default,
        }
    }

    /// Relative paths in a file are relative to the file, wherever the process was started.
    pub(super) fn resolve(&self, layer: Layer, written: &str) -> PathBuf {
        match (layer, self.path.as_deref().and_then(Path::parent)) {
            (Layer::File, Some(directory)) => directory.join(written),
            _ => PathBuf::from(written),
        }
    }

    /// What is wrong with the file before any value is looked at.
    fn problems(&self) -> Vec<Problem> {
        let Some(path) = &self.path else {
            return Vec::new();
        };
        let syntax = self.document.errors.iter().map(|(line, what)| Problem {
            origin: Origin::File {
                path: path.clone(),
                line: *line,
            },
            key: String::new(),
            what: what.clone(),
            meant: None,
        });
        let unknown = unknown(&self.document.root)
            .into_iter()
            .map(|unknown| Problem {
                origin: self.origin(Layer::File, &unknown.path, ""),
                key: unknown.path,
                what: unknown.what,
                meant: unknown.meant,
            });
        syntax.chain(unknown).collect()
    }
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<_> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n")
}

const DEFAULT: &str = "default";
const FILE: &str = "file";
const ENVIRONMENT: &str = "environment";

/// A layer as figment wants it.
struct Source<'a>(&'static str, &'a Table);

impl Provider for Source<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.0)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, to_dict(self.1))]))
    }
}

fn to_dict(table: &Table) -> Dict {
    table
        .iter()
        .map(|(name, value)| (name.clone(), to_figment(value)))
        .collect()
}

fn to_figment(value: &Value) -> Merged {
    let tag = Tag::Default;
    match value {
        Value::Text(text) => Merged::String(tag, text.clone()),
        Value::Number(number) => Merged::Num(tag, Num::I128(*number)),
        Value::Flag(flag) => Merged::Bool(tag, *flag),
        Value::List(list) => Merged::Array(tag, list.iter().map(to_figment).collect()),
        Value::Table(table) => Merged::Dict(tag, to_dict(table)),
        Value::Other(_) => Merged::Empty(tag, figment::value::Empty::None),
    }
}

fn from_figment(value: Merged) -> Value {
    match value {
        Merged::String(_, text) => Value::Text(text),
        Merged::Char(_, c) => Value::Text(c.to_string()),
        Merged::Num(_, number) => number
            .to_i128()
            .map_or(Value::Other("a number"), Value::Number),
        Merged::Bool(_, flag) => Value::Flag(flag),
        Merged::Array(_, list) => Value::List(list.into_iter().map(from_figment).collect()),
        Merged::Dict(_, dict) => Value::Table(
            dict.into_iter()
                .map(|(name, value)| (name, from_figment(value)))
                .collect(),
        ),
        Merged::Empty(..) => Value::Other("a number with a fraction or a date"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::file::KEYS;
    use super::*;

    fn load(text: &str) -> Result<Loaded, Error> {
        let sources = Sources {
            file: Some((PathBuf::from("appliance.toml"), text.to_owned())),
            environment: Vec::new(),
            state_dir: PathBuf::from("/state"),
        };
        sources.load()
    }

    #[test]
    fn listeners_of_old_clients_are_written_as_their_addresses_are() {
        let text = |listeners: &str| format!("[signaling]\nlegacy_listen = {listeners}");
        let loaded = load(&text(r#"["ws://[::]:7777", "wss://0.0.0.0:7778/"]"#)).unwrap();
        let found: Vec<_> = loaded
            .settings
            .signaling
            .legacy_listen
            .iter()
            .map(|one| (one.tls, one.address.to_string()))
            .collect();
        let expected = [(false, "[::]:7777"), (true, "0.0.0.0:7778")];
        assert_eq!(found, expected.map(|(tls, at)| (tls, at.to_owned())));
        for (listeners, why) in [
            (r#"["7777"]"#, "such as \"ws://[::]:7777\""),
            (r#"["http://[::]:7777"]"#, "such as \"ws://[::]:7777\""),
            (r#"["ws://:7777"]"#, "an address is missing"),
            (r#"["wss://[::]:443"]"#, "already"),
        ] {
            let error = load(&text(listeners)).unwrap_err().to_string();
            assert!(error.contains(why), "{listeners}: {error}");
        }
    }

    #[test]
    fn the_built_in_settings_are_those_of_the_documents() {
        let settings = Settings::builtin(PathBuf::from("/state"));
        assert_eq!(settings.front.https, ["[::]:443".parse().unwrap()]);
        assert_eq!(settings.front.idle_timeout, Duration::from_secs(75));
        assert_eq!(settings.signaling.max_message, 64 * 1024);
        assert_eq!(settings.turn.relay_ports, 49_152..=65_535);
        assert_eq!(settings.turn.credential_ttl, Duration::from_secs(12 * 3600));
        assert_eq!(settings.state_dir, Path::new("/state"));
        assert!(settings.turn.secret.is_none());
        assert!(settings.log.privacy);
    }

    #[test]
    fn a_network_may_do_more_where_an_address_may() {
        let budgets = |text: &str| {
            let signaling = load(text).unwrap().settings.signaling;
            let connections = signaling.prefix_connections_per_second;
            (connections, signaling.prefix_messages_per_second)
        };
        assert_eq!(budgets(""), (26, 2_000));
        let more = "[front]\nmax_per_ip = 5000\n[signaling]\nmessages_per_second = 1000\n";
        assert_eq!(budgets(more), (500, 40_000));
        let said = format!("{more}prefix_connections_per_second = 0\n");
        assert_eq!(budgets(&said), (0, 40_000));
        assert_eq!(budgets("signaling.messages_per_second = 0\n"), (26, 0));
    }

    #[test]
    fn every_key_of_the_table_is_read_by_somebody() {
        // A key that nothing reads would take the wrong kind of value in silence.
        for key in KEYS {
            let wrong = format!("{} = 1.5\n", key.path);
            let Err(Error::Invalid(problems)) = load(&wrong) else {
                panic!("{} is not read", key.path);
            };
            assert!(
                problems.iter().any(|problem| problem.key == key.path),
                "{problems:?}"
            );
        }
    }

    #[test]
    fn a_list_replaces_the_list_below_it() {
        let loaded = load("[front]\nhttps = ['127.0.0.1:1', '127.0.0.1:2']\n").unwrap();
        assert_eq!(loaded.settings.front.https.len(), 2);
        assert_eq!(loaded.settings.front.http.len(), 1);
    }

    #[test]
    fn a_section_that_is_no_section_is_said_once() {
        let Err(Error::Invalid(problems)) = load("turn = 5\n") else {
            panic!("it was accepted");
        };
        let said: Vec<_> = problems.iter().map(Problem::to_string).collect();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].starts_with("appliance.toml:1: turn: expected a section [turn]"),
            "{said:?}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_value_of_any_key_breaks_the_loader(
            index in 0..KEYS.len(),
            value in prop_oneof![
                any::<String>().prop_map(|text| Value::Text(text).to_toml()),
                any::<i64>().prop_map(|number| number.to_string()),
                Just("[]".to_owned()),
                Just("{}".to_owned()),
                Just("[[1], {a = 'b'}]".to_owned()),
                Just("1.5".to_owned()),
            ],
        ) {
            // Good or bad, but an answer; and a bad one names the key.
            let path = KEYS[index].path;
            if let Err(Error::Invalid(problems)) = load(&format!("{path} = {value}\n")) {
                prop_assert!(!problems.is_empty());
            }
        }
    }
}
