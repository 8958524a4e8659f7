//! The configuration through its public interface: real files in temporary directories.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that panics fails"
)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use peloton_config::keys::{KEYS, Kind, SECTIONS};
use peloton_config::{
    ConfigError, Flag, Loaded, LogFormat, Origin, Sources, StoreType, Value, load,
    reference_markdown,
};

/// A directory of configuration files, and what goes with them.
struct Setup {
    dir: tempfile::TempDir,
    sources: Sources,
}

impl Setup {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let sources = Sources { dir: Some(dir.path().to_owned()), ..Sources::default() };
        Self { dir, sources }
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.sources.env.push((name.into(), value.into()));
        self
    }

    fn flag(mut self, pair: &str) -> Self {
        self.sources.flags.push(pair.parse().unwrap());
        self
    }

    fn load(&self) -> Result<Loaded, ConfigError> {
        load(&self.sources)
    }

    fn loaded(&self) -> Loaded {
        self.load().unwrap_or_else(|error| panic!("{error}"))
    }

    /// The whole message, with the directory as `DIR`.
    fn message(&self) -> String {
        let error = self.load().expect_err("the configuration must be refused");
        error.to_string().replace(&self.dir.path().display().to_string(), "DIR")
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

// --- values ---

#[test]
fn defaults_are_complete_and_every_key_has_a_field() {
    let loaded = Setup::new(&[("base.yaml", "")]).loaded();
    let config = &loaded.config;
    assert_eq!(config.master.socket_addr().to_string(), "127.0.0.1:5289");
    assert_eq!(config.mesos.addresses()[0].to_string(), "127.0.0.1:5050");
    assert_eq!(config.mesos.framework.failover_timeout().as_secs(), 604_800);
    assert_eq!((config.cluster.shards, config.store.kind), (8, StoreType::Embedded));
    assert_eq!(config.cluster.lease_ttl().as_secs(), 3);
    assert_eq!(config.agents.unreachable_replace_secs, 300);

    // Serialized back, the types have exactly the leaves of the table.
    let mut leaves = Vec::new();
    collect_leaves("", &serde_json::to_value(config).unwrap(), &mut leaves);
    leaves.sort();
    let mut paths: Vec<_> = KEYS.iter().map(|key| key.path.to_owned()).collect();
    paths.sort();
    assert_eq!(leaves, paths);
}

fn collect_leaves(path: &str, value: &serde_json::Value, leaves: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) => {
            for (name, value) in map {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                collect_leaves(&path, value, leaves);
            }
        }
        _ => leaves.push(path.to_owned()),
    }
}

#[test]
fn every_key_has_its_section_and_both_bounds_work() {
    for key in KEYS {
        let (section, _) = key.path.rsplit_once('.').unwrap();
        assert!(SECTIONS.iter().any(|known| known.path == section), "{}", key.path);
        if let Kind::Int { min, max } = key.kind {
            for (number, good) in [(min, true), (max, true), (min - 1, false), (max + 1, false)] {
                let setup =
                    Setup::new(&[("base.yaml", "")]).flag(&format!("{}={number}", key.path));
                assert_eq!(setup.load().is_ok(), good, "{} = {number}", key.path);
            }
        }
    }
}

#[test]
fn types_are_read_from_files_and_text_alike() {
    let file = "logging: {stdout: false, format: json}\nmaster: {port: 1}\n\
                mesos: {masters: ['a:1', 'b:2'], framework: {name: My Peloton}}\n";
    let from_file = Setup::new(&[("base.yaml", file)]).loaded();
    let from_env = Setup::new(&[("base.yaml", "")])
        .env("PELOTON__LOGGING__STDOUT", "false")
        .env("peloton__logging__Format", "json")
        .env("PELOTON__MASTER__PORT", " 1 ")
        .env("PELOTON__MESOS__MASTERS", "a:1, b:2")
        .env("PELOTON__MESOS__FRAMEWORK__NAME", "My Peloton")
        .loaded();
    assert_eq!(from_file.config, from_env.config);
    assert_eq!(from_file.config.logging.format, LogFormat::Json);
    let masters: Vec<_> = from_file.config.mesos.addresses();
    assert_eq!(masters.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a:1", "b:2"]);
}

#[test]
fn null_and_empty_go_back_to_the_default() {
    let base = "master: {port: 1}\nmesos: {masters: ['a:1'], framework: {secretFile: nowhere}}\n";
    let over = "master: {port: null}\nmesos:\n  # nothing\ncluster:\n";
    let setup = Setup::new(&[("base.yaml", base), ("development.yaml", over)])
        .env("PELOTON__MESOS__FRAMEWORK__SECRETFILE", "");
    let loaded = setup.loaded();
    assert_eq!(loaded.config.master.port, 5289);
    assert_eq!(loaded.config.mesos.masters.len(), 1, "an empty section changes nothing");
    assert_eq!(loaded.config.mesos.framework.secret_file, None);
    let emptied = setup.flag("mesos.masters=").loaded();
    assert!(emptied.config.mesos.masters.is_empty());
}

#[test]
fn other_environment_variables_are_left_alone() {
    let setup = Setup::new(&[("base.yaml", "")])
        .env("PELOTON_MASTERS", "a:1")
        .env("PELOTON", "x")
        .env("PELOTÖN__X", "x")
        .env("PATH", "/bin");
    setup.loaded();
}

// --- precedence ---

/// For each set of layers that give a value, the highest of them wins and is named.
#[test]
fn the_highest_layer_wins_whichever_layers_give_a_value() {
    type Case = (&'static str, [&'static str; 4]);
    let cases: [Case; 3] = [
        ("master.port", ["1001", "1002", "1003", "1004"]),
        ("mesos.framework.role", ["base", "file", "env", "flag"]),
        ("mesos.masters", ["a:1,b:2", "c:3", "d:4,e:5", "f:6"]),
    ];
    for (path, values) in cases {
        for layers in 0..16_u8 {
            let has = |layer: usize| layers & (1 << layer) != 0;
            let yaml =
                |layer: usize| if has(layer) { as_yaml(path, values[layer]) } else { "".into() };
            let mut setup = Setup::new(&[("base.yaml", &yaml(0)), ("development.yaml", &yaml(1))]);
            if has(2) {
                let name = format!("PELOTON__{}", path.replace('.', "__").to_uppercase());
                setup = setup.env(&name, values[2]);
            }
            if has(3) {
                setup = setup.flag(&format!("{path}={}", values[3]));
            }
            let loaded = setup.loaded();
            let setting = loaded.effective.get(path).unwrap();
            let highest = (0..4).rev().find(|layer| has(*layer));
            let shown = match &setting.value {
                Some(Value::Int(number)) => number.to_string(),
                Some(Value::Text(text)) => text.clone(),
                Some(Value::List(items)) => items.join(","),
                _ => String::new(),
            };
            let layer = match &setting.origin {
                Origin::Default => None,
                Origin::File { path: file, line, .. } => {
                    // In `as_yaml`, each section above the key takes one line.
                    assert_eq!(*line, Some(path.split('.').count() as u64));
                    Some(usize::from(file.ends_with("development.yaml")))
                }
                Origin::Env { .. } => Some(2),
                Origin::Flag { .. } => Some(3),
            };
            assert_eq!(layer, highest, "{path} with layers {layers:04b}");
            if let Some(layer) = highest {
                assert_eq!(shown, values[layer], "{path} with layers {layers:04b}");
            }
        }
    }
}

fn as_yaml(path: &str, value: &str) -> String {
    let mut text = String::new();
    let parts: Vec<_> = path.split('.').collect();
    for (depth, part) in parts.iter().enumerate() {
        text += &format!("{:1$}{part}:", "", 2 * depth);
        text += if depth + 1 < parts.len() { "\n" } else { " " };
    }
    if value.contains(':') {
        let items: Vec<_> = value.split(',').map(|item| format!("\"{item}\"")).collect();
        text += &format!("[{}]\n", items.join(", "));
    } else {
        text += &format!("{value}\n");
    }
    text
}

#[test]
fn layers_merge_key_by_key() {
    let base = "mesos: {hostPort: 'a:1', framework: {role: r, user: u}}\n";
    let over = "mesos: {framework: {user: v}}\n";
    let setup = Setup::new(&[("base.yaml", base), ("production.yaml", over)])
        .env("UBER_ENVIRONMENT", "production");
    let mesos = setup.loaded().config.mesos;
    assert_eq!((mesos.framework.role.as_str(), mesos.framework.user.as_str()), ("r", "v"));
    assert_eq!(mesos.host_port.to_string(), "a:1");
}

#[test]
fn the_directory_comes_from_the_environment_unless_given() {
    let setup = Setup::new(&[("base.yaml", "cluster: {name: here}\n")]);
    let env = vec![("UBER_CONFIG_DIR".into(), OsString::from(setup.dir.path()))];
    let sources = Sources { env, ..Sources::default() };
    assert_eq!(load(&sources).unwrap().config.cluster.name, "here");
    assert_eq!(Sources::default().config_dir(), Path::new("config/master"));
}

// --- errors: whole messages, because they are what the operator sees ---

#[test]
fn unknown_keys_in_files() {
    let base = "master:\n  prot: 1\nmesos:\n  hostport: a:1\n  password: s3cret\nkafka: {a: 1}\n";
    assert_eq!(
        Setup::new(&[("base.yaml", base)]).message(),
        "\
the configuration has 4 problems:
  DIR/base.yaml:2: unknown key \"master.prot\", did you mean \"master.port\"?; allowed in master: \
         advertise, listen, maxRequestBytes, port, shutdownTimeoutSecs
  DIR/base.yaml:4: unknown key \"mesos.hostport\", did you mean \"mesos.hostPort\"?; allowed in \
         mesos: apiPath, framework, hostPort, masters, zk
  DIR/base.yaml:5: unknown key \"mesos.password\"; allowed in mesos: apiPath, framework, hostPort, \
         masters, zk
  DIR/base.yaml:6: unknown key \"kafka\"; allowed at the top: agents, cluster, logging, master, \
         mesos, store"
    );
}

#[test]
fn wrong_types_in_files() {
    let base = "\
logging: {stdout: yes, level: 3}
master: {port: '5289', listen: [a]}
mesos: {masters: 'a:1', framework: 7}
cluster: {shards: 1.5}
store: {endpoints: [1]}
";
    assert_eq!(
        Setup::new(&[("base.yaml", base)]).message(),
        "\
the configuration has 8 problems:
  DIR/base.yaml:1: logging.stdout cannot be the text \"yes\"; allowed: true or false
  DIR/base.yaml:1: logging.level cannot be the number 3; allowed: trace, debug, info, warn, error \
         or off, optionally followed by directives such as info,peloton_store=debug
  DIR/base.yaml:2: master.port cannot be the text \"5289\"; allowed: a whole number from 1 to 65535
  DIR/base.yaml:2: master.listen cannot be a list; allowed: an IP address such as 127.0.0.1, \
         0.0.0.0 or ::
  DIR/base.yaml:3: mesos.masters cannot be the text \"a:1\"; allowed: a list, each item of which is \
         host:port with a port from 1 to 65535, without a scheme or path, such as \
         mesos1.example.com:5050 or [2001:db8::1]:5050
  DIR/base.yaml:3: mesos.framework is a section and cannot be the number 7; it has the keys \
         checkpoint, failoverTimeout, name, principal, role, secretFile, user
  DIR/base.yaml:4: cluster.shards cannot be the number 1.5; allowed: a whole number from 1 to 1024
  DIR/base.yaml:5: store.endpoints cannot be a list with the number 1; allowed: a list, each item \
         of which is http://host:port or https://host:port"
    );
}

#[test]
fn values_out_of_range_in_all_layers_are_reported_together() {
    let setup = Setup::new(&[
        ("base.yaml", "master: {port: 0}\nmesos: {framework: {role: '/a'}}\n"),
        ("development.yaml", "agents: {massUnreachablePercent: 101}\n"),
    ])
    .env("PELOTON__MESOS__HOSTPORT", "http://u:p@a:1")
    .env("PELOTON__MASTER__PORT", "70000")
    .flag("store.type=redis");
    assert_eq!(
        setup.message(),
        "\
the configuration has 6 problems:
  DIR/base.yaml:1: master.port cannot be 0; allowed: a whole number from 1 to 65535
  DIR/base.yaml:2: mesos.framework.role cannot be \"/a\"; allowed: a Mesos role other than *: parts \
         joined by single slashes, none of which is ., .. or *, starts with - or contains spaces
  DIR/development.yaml:1: agents.massUnreachablePercent cannot be 101; allowed: a whole number from \
         1 to 100
  environment variable PELOTON__MASTER__PORT: master.port cannot be 70000; allowed: a whole number \
         from 1 to 65535
  environment variable PELOTON__MESOS__HOSTPORT: mesos.hostPort cannot be \"http://***@a:1\"; \
         allowed: host:port with a port from 1 to 65535, without a scheme or path, such as \
         mesos1.example.com:5050 or [2001:db8::1]:5050
  flag --set: store.type cannot be \"redis\"; allowed: embedded or etcd"
    );
}

#[test]
fn bad_environment_variables_and_flags() {
    let mut setup = Setup::new(&[("base.yaml", "")])
        .env("PELOTON__MASTER__PROT", "1")
        .env("PELOTON__MASTER", "1")
        .env("PELOTON__LOGGING__STDOUT", "yes")
        .env("PELOTON__STORE__PATH", "/a")
        .env("peloton__store__path", "/b")
        .flag("mesos.hostport=a:1")
        .flag("mesos=a:1");
    setup.sources.flags.push(Flag::new("master.port", "x", "--port"));
    assert_eq!(
        setup.message(),
        "\
the configuration has 7 problems:
  environment variable PELOTON__LOGGING__STDOUT: logging.stdout cannot be \"yes\"; allowed: true or \
         false
  environment variable PELOTON__MASTER: master is a section and cannot be set itself; it has the \
         keys advertise, listen, maxRequestBytes, port, shutdownTimeoutSecs
  environment variable PELOTON__MASTER__PROT: unknown key \"PELOTON__MASTER__PROT\", did you mean \
         \"PELOTON__MASTER__PORT\"?; allowed in master: advertise, listen, maxRequestBytes, port, \
         shutdownTimeoutSecs
  environment variable peloton__store__path: store.path is also set by environment variable \
         PELOTON__STORE__PATH; remove one of them
  flag --set: unknown key \"mesos.hostport\", did you mean \"mesos.hostPort\"?; allowed in mesos: \
         apiPath, framework, hostPort, masters, zk
  flag --set: mesos is a section and cannot be set itself; it has the keys apiPath, framework, \
         hostPort, masters, zk
  flag --port: master.port cannot be \"x\"; allowed: a whole number from 1 to 65535"
    );
}

#[cfg(unix)]
#[test]
fn what_is_not_utf8_is_refused_by_name() {
    use std::os::unix::ffi::OsStringExt as _;
    let mut setup = Setup::new(&[("base.yaml", "")]);
    let value = OsString::from_vec(vec![0xff]);
    setup.sources.env.push(("PELOTON__CLUSTER__NAME".into(), value.clone()));
    setup.sources.env.push(("OTHER".into(), value));
    assert_eq!(
        setup.message(),
        "configuration: environment variable PELOTON__CLUSTER__NAME: not valid UTF-8"
    );
}

#[test]
fn missing_directory_and_files() {
    let mut setup = Setup::new(&[]);
    setup.sources.dir = Some(setup.dir.path().join("none"));
    assert_eq!(
        setup.message(),
        "configuration: DIR/none: no such directory; set UBER_CONFIG_DIR to the directory that has \
         base.yaml (it is config/master in the source tree)"
    );
    let setup = Setup::new(&[("production.yaml", "")]).env("UBER_ENVIRONMENT", "prod");
    assert_eq!(
        setup.message(),
        "\
the configuration has 2 problems:
  DIR/base.yaml: no such file; base.yaml is needed, but may be empty
  DIR/prod.yaml: no such file; UBER_ENVIRONMENT is \"prod\", allowed here: production"
    );
    let setup = Setup::new(&[("base.yaml", "")]).env("UBER_ENVIRONMENT", "../x");
    assert_eq!(
        setup.message(),
        "configuration: environment variable UBER_ENVIRONMENT: cannot be \"../x\"; allowed: letters, \
         digits, . _ and -, starting with a letter or digit"
    );
}

#[test]
fn documents_that_are_not_maps_or_not_yaml() {
    let setup = Setup::new(&[("base.yaml", "- 1\n"), ("development.yaml", "a: [1\nb: }\n")]);
    let message = setup.message();
    let mut lines = message.lines();
    assert_eq!(lines.next(), Some("the configuration has 2 problems:"));
    assert_eq!(
        lines.next(),
        Some(
            "  DIR/base.yaml:1: the document is a section and cannot be a list; it has the keys \
             agents, cluster, logging, master, mesos, store"
        )
    );
    let syntax = lines.next().unwrap();
    assert!(syntax.starts_with("  DIR/development.yaml:2: not valid YAML: "), "{syntax}");
    assert_eq!(lines.next(), None, "one line for each problem");

    let large = format!("# {}\n", "x".repeat(1 << 20));
    assert_eq!(
        Setup::new(&[("base.yaml", &large)]).message(),
        "configuration: DIR/base.yaml: has 1048579 bytes; allowed: at most 1048576"
    );
}

#[test]
fn a_zookeeper_has_ports_and_a_path_and_its_password_is_not_shown() {
    let base = "mesos: {zk: 'zk://u:geheim@z1:2181,z2:2181/mesos'}\n";
    let setup = Setup::new(&[("base.yaml", base)]);
    let loaded = setup.loaded();
    let shown = loaded.effective.render();
    assert!(
        shown.contains("zk://***@z1:2181,z2:2181/mesos") && !shown.contains("geheim"),
        "{shown}"
    );
    assert_eq!(loaded.config.mesos.zk.as_deref(), Some("zk://u:geheim@z1:2181,z2:2181/mesos"));
    assert_eq!(setup.flag("mesos.zk=").loaded().config.mesos.zk, None);

    let base = "mesos: {zk: 'zk://u:geheim@z1,z2:2181'}\n";
    let setup = Setup::new(&[("base.yaml", base)]);
    assert_eq!(
        setup.message(),
        "\
configuration: DIR/base.yaml:1: mesos.zk cannot be \"zk://***@z1,z2:2181\"; allowed: \
         zk://host:port,host:port/path or zk://user:password@host:port/path, with the port of each server \
         and a path below /"
    );
}

#[test]
fn what_etcd_needs_together_is_set_together() {
    let base = "store:\n  type: etcd\n  certFile: cert.pem\n  user: peloton\n";
    assert_eq!(
        Setup::new(&[("base.yaml", base)]).message(),
        "\
the configuration has 3 problems:
  DIR/base.yaml:2: store.type needs store.endpoints when it is etcd
  DIR/base.yaml:3: store.certFile needs store.keyFile
  DIR/base.yaml:4: store.user needs store.passwordFile"
    );
    let base = "store: {type: etcd, endpoints: ['https://a:1', 'http://b:1'], caFile: ca.pem}\n";
    assert_eq!(
        Setup::new(&[("base.yaml", base)]).message(),
        "configuration: DIR/base.yaml:1: store.caFile needs https in every one of store.endpoints"
    );
    // Of a store that is not used, nothing is needed.
    Setup::new(&[("base.yaml", "store: {certFile: cert.pem}\n")]).loaded();

    let setup = Setup::new(&[("base.yaml", ""), ("password", "hunter2\n")]);
    let path = setup.dir.path().join("password");
    let loaded = setup
        .flag("store.type=etcd")
        .flag("store.endpoints=https://a:1,https://b:1")
        .flag("store.user=peloton")
        .flag(&format!("store.passwordFile={}", path.display()))
        .loaded();
    let store = &loaded.config.store;
    assert_eq!((store.kind, store.endpoints.len(), store.max_txn_ops), (StoreType::Etcd, 2, 128));
    assert_eq!(store.password.as_ref().unwrap().reveal(), "hunter2");
    assert!(!format!("{:?} {}", loaded.config, loaded.effective.render()).contains("hunter2"));
}

#[test]
fn flags_are_pairs() {
    let flag: Flag = " master.port =1=2".parse().unwrap();
    assert_eq!(flag, Flag::new("master.port", "1=2", "--set"));
    for bad in ["master.port", "=x", ""] {
        assert!(bad.parse::<Flag>().is_err(), "{bad:?}");
    }
}

// --- secrets ---

#[test]
fn secrets_are_read_and_never_shown() {
    let setup = Setup::new(&[("base.yaml", ""), ("secret", "hunter2\n")]);
    let path = setup.dir.path().join("secret");
    let loaded = setup.flag(&format!("mesos.framework.secretFile={}", path.display())).loaded();
    let secret = loaded.config.mesos.framework.secret.as_ref().unwrap();
    assert_eq!(secret.reveal(), "hunter2");
    let shown = format!(
        "{:?} {secret} {} {}",
        loaded.config,
        loaded.effective.render(),
        serde_json::to_string(&loaded.config).unwrap()
    );
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("***"));
}

#[test]
fn secret_files_that_cannot_be_used() {
    let setup = Setup::new(&[("base.yaml", ""), ("empty", "\n")]);
    let dir = setup.dir.path().display().to_string();
    let setup = setup.flag(&format!("mesos.framework.secretFile={dir}/empty"));
    assert_eq!(
        setup.message(),
        "configuration: flag --set: mesos.framework.secretFile: DIR/empty: the file is empty"
    );
    let setup = setup.flag(&format!("mesos.framework.secretFile={dir}/none"));
    assert_eq!(
        setup.message(),
        "configuration: flag --set: mesos.framework.secretFile: DIR/none: No such file or directory \
         (os error 2)"
    );
}

// --- the effective configuration, the files in the repository, the reference ---

#[test]
fn the_effective_configuration_shows_every_source_and_can_be_read_back() {
    let base = "master:\n  port: 1001\nstore:\n  endpoints: ['http://etcd:2379']\n";
    let setup = Setup::new(&[("base.yaml", base), ("development.yaml", "")])
        .env("PELOTON__MESOS__MASTERS", "a:1,b:2")
        .flag("cluster.name=x1");
    let first = setup.loaded();
    let shown = first.effective.render().replace(&setup.dir.path().display().to_string(), "DIR");
    for line in [
        "# environment: development",
        "# files: DIR/base.yaml, DIR/development.yaml",
        "  level: \"info\"                              # default",
        "  port: 1001                                 # DIR/base.yaml:2",
        "  masters: [\"a:1\", \"b:2\"]                    # environment variable PELOTON__MESOS__MASTERS",
        "  zk: null                                   # default",
        "    role: \"peloton\"                          # default",
        "  name: \"x1\"                                 # flag --set",
        "  endpoints: [\"http://etcd:2379\"]            # DIR/base.yaml:4",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line:?} is not in\n{shown}");
    }
    let second = Setup::new(&[("base.yaml", &shown)]).loaded();
    assert_eq!(first.config, second.config);
}

#[test]
fn the_files_in_the_repository_load() {
    let dir = repository().join("config/master");
    for (environment, path, format, listen) in [
        ("development", ".peloton/master", LogFormat::Text, "127.0.0.1:5289"),
        ("production", "/var/lib/peloton", LogFormat::Json, "0.0.0.0:5289"),
        ("cluster", "/var/lib/peloton", LogFormat::Json, "0.0.0.0:5289"),
    ] {
        let env = vec![("UBER_ENVIRONMENT".into(), environment.into())];
        let loaded = load(&Sources { dir: Some(dir.clone()), env, flags: Vec::new() })
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(loaded.config.store.path, Path::new(path));
        assert_eq!(loaded.config.logging.format, format);
        assert_eq!(loaded.config.master.socket_addr().to_string(), listen);
        assert_eq!(loaded.effective.files().len(), 2);
        assert_eq!(loaded.effective.environment(), environment);
        let of_cluster = (StoreType::Etcd, 3, 3);
        let store = &loaded.config.store;
        let found = (store.kind, store.endpoints.len(), loaded.config.mesos.addresses().len());
        assert_eq!(found == of_cluster, environment == "cluster", "{found:?}");
    }
}

#[test]
fn the_reference_page_is_current() {
    let path = repository().join("docs/reference/configuration.md");
    let page = reference_markdown();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &page).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == page,
        "docs/reference/configuration.md is not what the table of keys says; \
         run UPDATE_GOLDEN=1 cargo test -p peloton-config"
    );
}
