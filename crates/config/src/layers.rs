//! Reads the layers and lays them over each other.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use serde_saphyr::{Location, Spanned};

use crate::effective::{Effective, Setting};
use crate::error::{ConfigError, Origin, Problem, ProblemKind};
use crate::format;
use crate::keys::{self, ENV_PREFIX, KEYS, Key};
use crate::master::{MasterConfig, StoreConfig, StoreType};
use crate::secret::Secret;
use crate::sources::{Flag, Sources};
use crate::suggest::suggest;
use crate::value::{self, Refused};
use crate::yaml::{self, Node};

/// The environment unless `UBER_ENVIRONMENT` says otherwise.
const DEFAULT_ENVIRONMENT: &str = "development";

/// Largest file in bytes. All keys together need a few kilobytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A configuration that was read and checked.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The values.
    pub config: MasterConfig,
    /// The values with where they came from.
    pub effective: Effective,
}

/// Reads all layers and checks the result.
///
/// # Errors
///
/// All problems of all layers together, each with its place.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let mut layers = Layers::with_defaults();
    layers.add_files(sources);
    layers.add_env(sources);
    layers.add_flags(sources);
    layers.finish()
}

/// The built-in defaults and these flags, without files and environment variables: for a master that
/// is part of another program.
///
/// # Errors
///
/// All problems of all flags together.
pub fn load_flags(flags: Vec<Flag>) -> Result<Loaded, ConfigError> {
    let mut layers = Layers::with_defaults();
    layers.add_flags(&Sources { flags, ..Sources::default() });
    layers.finish()
}

struct Layers {
    effective: Effective,
    problems: Vec<Problem>,
}

impl Layers {
    fn with_defaults() -> Self {
        let effective =
            Effective { environment: String::new(), files: Vec::new(), settings: Vec::new() };
        let mut layers = Self { effective, problems: Vec::new() };
        for key in KEYS {
            let value = layers.accept(key, value::from_text(key, key.default), &Origin::Default);
            layers
                .effective
                .settings
                .push(Setting { value: value.flatten(), origin: Origin::Default });
        }
        layers
    }

    fn problem(&mut self, origin: Origin, kind: ProblemKind) {
        self.problems.push(Problem { origin, kind });
    }

    // --- files ---

    fn add_files(&mut self, sources: &Sources) {
        let chosen = sources.variable("UBER_ENVIRONMENT");
        let environment = match &chosen {
            None => DEFAULT_ENVIRONMENT.to_owned(),
            Some(name) => name.to_string_lossy().into_owned(),
        };
        self.effective.environment.clone_from(&environment);
        let dir = sources.config_dir();
        let file = |path: &Path| Origin::File { path: path.to_owned(), line: None, column: None };
        if !dir.is_dir() {
            self.problem(file(&dir), ProblemKind::NoDirectory);
            return;
        }
        let base = dir.join("base.yaml");
        if base.exists() {
            self.add_file(&base);
        } else {
            self.problem(file(&base), ProblemKind::NoBase);
        }
        if !format::is_name(&environment) {
            let origin = Origin::Env { name: "UBER_ENVIRONMENT".into() };
            self.problem(origin, ProblemKind::EnvironmentName(environment));
            return;
        }
        let path = dir.join(format!("{environment}.yaml"));
        if path.exists() {
            self.add_file(&path);
        } else if chosen.is_some() {
            // Nobody asked for the default environment, so it may be without a file.
            let present = environments_in(&dir);
            self.problem(file(&path), ProblemKind::NoEnvironment { environment, present });
        }
    }

    fn add_file(&mut self, path: &Path) {
        let origin = |line, column| Origin::File { path: path.to_owned(), line, column };
        let text = match read_limited(path) {
            Ok(text) => text,
            Err(kind) => return self.problem(origin(None, None), kind),
        };
        self.effective.files.push(path.to_owned());
        match yaml::parse(&text) {
            Ok(document) => self.add_node(path, "", &document),
            Err(error) => {
                let kind = ProblemKind::Syntax(error.message);
                self.problem(origin(error.line, error.column), kind);
            }
        }
    }

    /// Lays a map over a section. An empty section (`mesos:` with nothing but comments below)
    /// changes nothing.
    fn add_node(&mut self, file: &Path, section: &str, node: &Spanned<Node>) {
        let entries = match &node.value {
            Node::Map(entries) => entries,
            Node::Null => return,
            other => {
                let kind = not_a_section(section, value::describe(other));
                return self.problem(place(file, &node.referenced), kind);
            }
        };
        for (name, node) in entries {
            let path = join(section, &name.value);
            let origin = place(file, &name.referenced);
            if keys::is_section(&path) {
                self.add_node(file, &path, node);
            } else if let Some(index) = keys::index_of(&path) {
                self.set(index, |key| value::from_node(key, &node.value), origin);
            } else {
                let kind = unknown_key(&path, path.clone(), str::to_owned);
                self.problem(origin, kind);
            }
        }
    }

    // --- environment variables and flags ---

    fn add_env(&mut self, sources: &Sources) {
        let mut seen: BTreeMap<usize, String> = BTreeMap::new();
        let mut variables: Vec<_> = sources.env.iter().collect();
        // The order in which a process gets its variables is arbitrary; messages should not be.
        variables.sort();
        for (name, text) in variables {
            let name = name.to_string_lossy().into_owned();
            let Some(rest) = strip_env_prefix(&name) else { continue };
            let origin = Origin::Env { name: name.clone() };
            let path = rest.replace("__", ".").to_lowercase();
            let Some(index) = KEYS.iter().position(|key| key.path.to_lowercase() == path) else {
                let kind = match section_like(&path) {
                    Some(section) => not_a_section(section, "set itself".into()),
                    None => unknown_key(&path, name, keys::env_name),
                };
                self.problem(origin, kind);
                continue;
            };
            if let Some(other) = seen.insert(index, name) {
                let key = KEYS[index].path.to_owned();
                self.problem(origin, ProblemKind::SetTwice { key, other });
                continue;
            }
            match text.to_str() {
                Some(text) => self.set(index, |key| value::from_text(key, text), origin),
                None => self.problem(origin, ProblemKind::NotUtf8),
            }
        }
    }

    fn add_flags(&mut self, sources: &Sources) {
        for flag in &sources.flags {
            let origin = Origin::Flag { name: flag.source.clone() };
            if let Some(index) = keys::index_of(&flag.key) {
                self.set(index, |key| value::from_text(key, &flag.value), origin);
            } else if keys::is_section(&flag.key) {
                self.problem(origin, not_a_section(&flag.key, "set itself".into()));
            } else {
                self.problem(origin, unknown_key(&flag.key, flag.key.clone(), str::to_owned));
            }
        }
    }

    // --- values ---

    fn set(
        &mut self,
        index: usize,
        read: impl FnOnce(&Key) -> Result<Option<value::Value>, Refused>,
        origin: Origin,
    ) {
        let key = &KEYS[index];
        let Some(value) = self.accept(key, read(key), &origin) else { return };
        let setting = match value {
            Some(_) => Setting { value, origin },
            // Without a value, the key is as if no layer had set it.
            None => Setting { value: default_of(key), origin },
        };
        self.effective.settings[index] = setting;
    }

    fn accept(
        &mut self,
        key: &Key,
        read: Result<Option<value::Value>, Refused>,
        origin: &Origin,
    ) -> Option<Option<value::Value>> {
        let Refused { found, wrong_type } = match read {
            Ok(value) => return Some(value),
            Err(refused) => refused,
        };
        let (name, allowed) = (key.path.to_owned(), value::allowed(&key.kind));
        let kind = if wrong_type {
            ProblemKind::WrongType { key: name, found, allowed }
        } else {
            ProblemKind::NotAllowed { key: name, found, allowed }
        };
        self.problem(origin.clone(), kind);
        None
    }

    // --- the result ---

    fn finish(mut self) -> Result<Loaded, ConfigError> {
        let config =
            match serde_path_to_error::deserialize::<_, MasterConfig>(self.effective.to_json()) {
                Ok(mut config) => {
                    self.check(&config);
                    let file = config.mesos.framework.secret_file.as_deref();
                    config.mesos.framework.secret =
                        self.read_secret("mesos.framework.secretFile", file);
                    let file = config.store.password_file.as_deref();
                    config.store.password = self.read_secret("store.passwordFile", file);
                    Some(config)
                }
                Err(error) => {
                    let (key, reason) = (error.path().to_string(), error.inner().to_string());
                    self.problem(Origin::Default, ProblemKind::Internal { key, reason });
                    None
                }
            };
        match config {
            Some(config) if self.problems.is_empty() => {
                Ok(Loaded { config, effective: self.effective })
            }
            _ => Err(ConfigError { problems: self.problems }),
        }
    }

    /// Checks of the result, as opposed to checks of single values in each layer.
    fn check(&mut self, config: &MasterConfig) {
        if config.store.kind == StoreType::Etcd {
            self.check_etcd(&config.store);
        }
    }

    fn check_etcd(&mut self, store: &StoreConfig) {
        if store.endpoints.is_empty() {
            self.needs("store.type", "store.endpoints when it is etcd");
        }
        for (one, other, set, other_set) in [
            ("certFile", "keyFile", store.cert_file.is_some(), store.key_file.is_some()),
            ("user", "passwordFile", store.user.is_some(), store.password_file.is_some()),
        ] {
            if set && !other_set {
                self.needs(&format!("store.{one}"), &format!("store.{other}"));
            } else if other_set && !set {
                self.needs(&format!("store.{other}"), &format!("store.{one}"));
            }
        }
        let plain = store.endpoints.iter().any(|endpoint| endpoint.starts_with("http://"));
        let files = [("caFile", &store.ca_file), ("certFile", &store.cert_file)];
        for (name, _) in files.into_iter().filter(|(_, file)| plain && file.is_some()) {
            self.needs(&format!("store.{name}"), "https in every one of store.endpoints");
        }
    }

    fn needs(&mut self, key: &str, needs: &str) {
        let origin = self.effective.get(key).map(|setting| setting.origin.clone());
        let kind = ProblemKind::Needs { key: key.to_owned(), needs: needs.to_owned() };
        self.problem(origin.unwrap_or(Origin::Default), kind);
    }

    fn read_secret(&mut self, key: &str, path: Option<&Path>) -> Option<Secret> {
        let path = path?;
        match Secret::read(path) {
            Ok(secret) => Some(secret),
            Err(reason) => {
                let origin = self.effective.get(key).map(|setting| setting.origin.clone());
                let (key, path) = (key.to_owned(), path.to_owned());
                let kind = ProblemKind::SecretFile { key, path, reason };
                self.problem(origin.unwrap_or(Origin::Default), kind);
                None
            }
        }
    }
}

fn default_of(key: &Key) -> Option<value::Value> {
    value::from_text(key, key.default).ok().flatten()
}

fn read_limited(path: &Path) -> Result<String, ProblemKind> {
    let unreadable = |error: std::io::Error| ProblemKind::Unreadable(error.to_string());
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let bytes = file.metadata().map_err(unreadable)?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(ProblemKind::TooLarge { bytes, limit: MAX_FILE_BYTES });
    }
    let mut text = String::new();
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

fn environments_in(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<_> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| Some(name.strip_suffix(".yaml")?.to_owned()))
        .filter(|name| name != "base")
        .collect();
    names.sort();
    names
}

fn place(file: &Path, location: &Location) -> Origin {
    let known = |number: u64| (number > 0).then_some(number);
    Origin::File {
        path: file.to_owned(),
        line: known(location.line()),
        column: known(location.column()),
    }
}

fn join(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

fn strip_env_prefix(name: &str) -> Option<&str> {
    let prefix = name.get(..ENV_PREFIX.len())?;
    prefix.eq_ignore_ascii_case(ENV_PREFIX).then(|| &name[ENV_PREFIX.len()..])
}

fn section_like(path: &str) -> Option<&'static str> {
    keys::SECTIONS.iter().map(|section| section.path).find(|known| known.to_lowercase() == path)
}

fn not_a_section(section: &str, found: String) -> ProblemKind {
    let allowed = keys::names_under(section).into_iter().map(str::to_owned).collect();
    let section = if section.is_empty() { "the document" } else { section }.to_owned();
    ProblemKind::NotASection { section, found, allowed }
}

/// `shown` is the key as it was written; `write` is how a path is written there.
fn unknown_key(path: &str, shown: String, write: impl Fn(&str) -> String) -> ProblemKind {
    // The names of the innermost section that exists.
    let mut within = path;
    let section = loop {
        within = within.rsplit_once('.').map_or("", |(section, _)| section);
        match section_like(&within.to_lowercase()) {
            Some(section) => break section,
            None if within.is_empty() => break "",
            None => {}
        }
    };
    ProblemKind::UnknownKey {
        key: shown,
        suggestion: suggest(path).map(write),
        within: section.to_owned(),
        allowed: keys::names_under(section).into_iter().map(str::to_owned).collect(),
    }
}
