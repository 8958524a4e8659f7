//! The table of all keys. Everything that knows about keys is made from it.

use crate::format;

/// Port of the API unless configured otherwise; clients of the original use it.
pub const DEFAULT_PORT: u16 = 5289;

/// Most shards a cluster may have: each is a Mesos framework with its own stream, and a Mesos
/// master keeps state per framework.
pub const MAX_SHARDS: i64 = 1024;

/// Ten years, in seconds: Mesos counts the time-out in nanoseconds in 64 bits, and far larger
/// values overflow there into an immediate removal of the framework.
pub const MAX_FAILOVER_TIMEOUT_SECS: i64 = 315_360_000;

/// Least fail-over time-out in seconds: when it runs out, Mesos kills every task of the
/// framework, and a take-over after a crash or a Mesos fail-over takes tens of seconds.
pub const MIN_FAILOVER_TIMEOUT_SECS: i64 = 60;

/// What values a key takes.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number within bounds, both included.
    Int {
        /// Least value.
        min: i64,
        /// Greatest value.
        max: i64,
    },
    /// One of the words.
    OneOf(&'static [&'static str]),
    /// Text that passes the check.
    Text(Check),
    /// A list of texts, each of which passes the check.
    List(Check),
}

/// A check of a text, with the words that tell what it lets through.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// What is allowed, as a phrase: "an absolute path".
    pub allowed: &'static str,
    /// Whether the text is allowed.
    pub ok: fn(&str) -> bool,
}

/// One key of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The sections and the name, joined by dots: `mesos.framework.role`.
    pub path: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// The default as one would write it in an environment variable; empty for none.
    pub default: &'static str,
    /// What it means, for the reference.
    pub meaning: &'static str,
}

impl Key {
    /// Whether the key may be without a value.
    #[must_use]
    pub fn is_optional(&self) -> bool {
        self.default.is_empty()
    }

    /// The environment variable that sets the key.
    #[must_use]
    pub fn env_name(&self) -> String {
        env_name(self.path)
    }
}

/// The environment variable for a path of keys.
pub(crate) fn env_name(path: &str) -> String {
    format!("{ENV_PREFIX}{}", path.replace('.', "__").to_uppercase())
}

/// What the names of environment variables that set keys start with.
pub const ENV_PREFIX: &str = "PELOTON__";

/// What a section is for; shown in the reference.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// The path of the section.
    pub path: &'static str,
    /// What it is for.
    pub meaning: &'static str,
}

/// All sections, in the order of the reference.
pub const SECTIONS: &[Section] = &[
    Section { path: "logging", meaning: "What is logged, where to and how." },
    Section { path: "master", meaning: "The master's own API." },
    Section { path: "mesos", meaning: "How to reach Mesos." },
    Section {
        path: "mesos.framework",
        meaning: "How the master presents itself to Mesos. Each shard is a framework of its own.",
    },
    Section { path: "cluster", meaning: "What all masters of a cluster must agree on." },
    Section { path: "store", meaning: "Where the state is kept." },
    Section { path: "agents", meaning: "What to do when agents go away." },
];

const FILTER: Check = Check {
    allowed: "trace, debug, info, warn, error or off, optionally followed by directives such as \
              info,peloton_store=debug",
    ok: format::is_log_filter,
};
const IP: Check = Check {
    allowed: "an IP address such as 127.0.0.1, 0.0.0.0 or ::",
    ok: |text| text.parse::<std::net::IpAddr>().is_ok(),
};
const HOST_PORT: Check = Check {
    allowed: "host:port with a port from 1 to 65535, without a scheme or path, such as \
              mesos1.example.com:5050 or [2001:db8::1]:5050",
    ok: |text| text.parse::<format::HostPort>().is_ok(),
};
const API_PATH: Check = Check {
    allowed: "a path that starts with / and has no spaces, ? or #",
    ok: |text| text.starts_with('/') && !text.contains(['?', '#']) && format::is_word(text),
};
const WORD: Check = Check { allowed: "text without spaces", ok: format::is_word };
const LINE: Check = Check {
    allowed: "text of 1 to 256 characters on one line",
    ok: |text| {
        !text.trim().is_empty()
            && text.chars().count() <= 256
            && !text.chars().any(char::is_control)
    },
};
const ROLE: Check = Check {
    allowed: "a Mesos role other than *: parts joined by single slashes, none of which is ., .. \
              or *, starts with - or contains spaces",
    ok: format::is_role,
};
const FILE: Check =
    Check { allowed: "a path", ok: |text| !text.is_empty() && !text.contains('\0') };
const NAME: Check = Check {
    allowed: "1 to 64 of A-Z a-z 0-9 . _ -, starting with a letter or digit",
    ok: format::is_name,
};
const ENDPOINT: Check =
    Check { allowed: "http://host:port or https://host:port", ok: format::is_endpoint };
const ZOOKEEPER: Check = Check {
    allowed: "zk://host:port,host:port/path or zk://user:password@host:port/path, with the port of \
              each server and a path below /",
    ok: format::is_zookeeper_url,
};
const PREFIX: Check = Check {
    allowed: "a path of at most 128 bytes that starts with /, does not end with / and has no spaces \
              or //",
    ok: |text| {
        text.len() <= 128
            && text.starts_with('/')
            && !text.ends_with('/')
            && !text.contains("//")
            && format::is_word(text)
    },
};

/// All keys, in the order of the reference.
pub const KEYS: &[Key] = &[
    Key {
        path: "logging.level",
        kind: Kind::Text(FILTER),
        default: "info",
        meaning: "Least severe level that is logged; directives set it for single modules.",
    },
    Key {
        path: "logging.stdout",
        kind: Kind::Bool,
        default: "true",
        meaning: "Log to standard output; otherwise to standard error.",
    },
    Key {
        path: "logging.format",
        kind: Kind::OneOf(&["text", "json"]),
        default: "text",
        meaning: "One line of text, or one JSON object, for each event.",
    },
    Key {
        path: "master.port",
        kind: Kind::Int { min: 1, max: 65_535 },
        default: "5289",
        meaning: "Port of the API, `/health` and `/metrics`.",
    },
    Key {
        path: "master.listen",
        kind: Kind::Text(IP),
        default: "127.0.0.1",
        meaning: "Address the API listens on. The default serves this machine only, because the \
                  API asks nobody who they are; `0.0.0.0` serves the network.",
    },
    Key {
        path: "master.advertise",
        kind: Kind::Text(HOST_PORT),
        default: "",
        meaning: "Where others reach the API, as `peloton cluster status` shows it. Without it the \
                  address and port that the API listens on, or this host's name where it listens on \
                  all addresses.",
    },
    Key {
        path: "master.shutdownTimeoutSecs",
        kind: Kind::Int { min: 1, max: 3600 },
        default: "30",
        meaning: "Most seconds to finish what is in hand after SIGTERM.",
    },
    Key {
        path: "master.maxRequestBytes",
        kind: Kind::Int { min: 1024, max: 268_435_456 },
        default: "4194304",
        meaning: "Largest request in bytes; larger ones are refused before they are read.",
    },
    Key {
        path: "mesos.hostPort",
        kind: Kind::Text(HOST_PORT),
        default: "127.0.0.1:5050",
        meaning: "The Mesos master. Ignored when `mesos.masters` or `mesos.zk` is set.",
    },
    Key {
        path: "mesos.masters",
        kind: Kind::List(HOST_PORT),
        default: "",
        meaning: "All Mesos masters; whichever of them leads is found by redirects.",
    },
    Key {
        path: "mesos.zk",
        kind: Kind::Text(ZOOKEEPER),
        default: "",
        meaning: "Where the Mesos masters elect their leader: the same text as their `--zk`. With it \
                  `mesos.masters` and `mesos.hostPort` are ignored.",
    },
    Key {
        path: "mesos.apiPath",
        kind: Kind::Text(API_PATH),
        default: "/api/v1/scheduler",
        meaning: "Path of the scheduler API, for Mesos behind a proxy.",
    },
    Key {
        path: "mesos.framework.user",
        kind: Kind::Text(WORD),
        default: "root",
        meaning: "User that tasks run as on the agents, where the job names none.",
    },
    Key {
        path: "mesos.framework.name",
        kind: Kind::Text(LINE),
        default: "Peloton",
        meaning: "Name in Mesos's lists of frameworks; the shard's number is added.",
    },
    Key {
        path: "mesos.framework.role",
        kind: Kind::Text(ROLE),
        default: "peloton",
        meaning: "Parent role; shard `n` has the role `<role>/<n>`. Reservations belong to it: \
                  do not change it while jobs exist.",
    },
    Key {
        path: "mesos.framework.principal",
        kind: Kind::Text(WORD),
        default: "peloton",
        meaning: "Principal for authentication and for the reservations.",
    },
    Key {
        path: "mesos.framework.failoverTimeout",
        kind: Kind::Int { min: MIN_FAILOVER_TIMEOUT_SECS, max: MAX_FAILOVER_TIMEOUT_SECS },
        default: "604800",
        meaning: "Seconds that Mesos waits for a master to come back before it kills all tasks.",
    },
    Key {
        path: "mesos.framework.checkpoint",
        kind: Kind::Bool,
        default: "true",
        meaning: "Agents keep tasks running while the agent process restarts.",
    },
    Key {
        path: "mesos.framework.secretFile",
        kind: Kind::Text(FILE),
        default: "",
        meaning: "File with the secret of the principal; without it nothing is authenticated.",
    },
    Key {
        path: "cluster.name",
        kind: Kind::Text(NAME),
        default: "peloton",
        meaning: "Name of the cluster, for people.",
    },
    Key {
        path: "cluster.shards",
        kind: Kind::Int { min: 1, max: MAX_SHARDS },
        default: "8",
        meaning: "Number of shards. Fixed when the cluster is created.",
    },
    Key {
        path: "cluster.leaseSecs",
        kind: Kind::Int { min: 2, max: 60 },
        default: "3",
        meaning: "Seconds that its shards stay with a master which is not heard of. Less is a faster \
                  take-over, and shards that stop and begin again when etcd takes long for an \
                  election.",
    },
    Key {
        path: "store.type",
        kind: Kind::OneOf(&["embedded", "etcd"]),
        default: "embedded",
        meaning: "`embedded` keeps the state in files of one master, `etcd` in an etcd cluster, 3.4 \
                  or later.",
    },
    Key {
        path: "store.path",
        kind: Kind::Text(FILE),
        default: "/var/lib/peloton",
        meaning: "Directory of the embedded store; relative to the working directory.",
    },
    Key {
        path: "store.endpoints",
        kind: Kind::List(ENDPOINT),
        default: "",
        meaning: "Members of etcd, needed for `etcd`: those of one cluster, best all of them.",
    },
    Key {
        path: "store.prefix",
        kind: Kind::Text(PREFIX),
        default: "/peloton",
        meaning: "What all keys in etcd start with, so that clusters can share one.",
    },
    Key {
        path: "store.caFile",
        kind: Kind::Text(FILE),
        default: "",
        meaning: "PEM file of the authorities that etcd's certificates are checked against; without \
                  it the system's. For endpoints with `https`.",
    },
    Key {
        path: "store.certFile",
        kind: Kind::Text(FILE),
        default: "",
        meaning: "PEM file of the certificate that the master shows etcd. It is read for each new \
                  connection.",
    },
    Key {
        path: "store.keyFile",
        kind: Kind::Text(FILE),
        default: "",
        meaning: "PEM file of the key of `store.certFile`.",
    },
    Key {
        path: "store.user",
        kind: Kind::Text(WORD),
        default: "",
        meaning: "User of etcd, where it asks for one.",
    },
    Key {
        path: "store.passwordFile",
        kind: Kind::Text(FILE),
        default: "",
        meaning: "File with the password of `store.user`.",
    },
    Key {
        path: "store.maxTxnOps",
        kind: Kind::Int { min: 16, max: 65_536 },
        default: "128",
        meaning: "Operations in one transaction of etcd: not more than its `--max-txn-ops`, whose \
                  default is the same. More make larger commits.",
    },
    Key {
        path: "agents.unreachableReplaceSecs",
        kind: Kind::Int { min: 10, max: 2_592_000 },
        default: "300",
        meaning: "Seconds after which instances on an unreachable agent are replaced elsewhere.",
    },
    Key {
        path: "agents.massUnreachablePercent",
        kind: Kind::Int { min: 1, max: 100 },
        default: "10",
        meaning: "When more than this share of the agents becomes unreachable within a minute, \
                  nothing is replaced: it is rather the network.",
    },
];

/// The index of a key in [`KEYS`].
pub(crate) fn index_of(path: &str) -> Option<usize> {
    KEYS.iter().position(|key| key.path == path)
}

/// Whether the path is one of a section.
pub(crate) fn is_section(path: &str) -> bool {
    SECTIONS.iter().any(|section| section.path == path)
}

/// The names right under a section, or at the top for the empty path.
pub(crate) fn names_under(section: &str) -> Vec<&'static str> {
    let paths = SECTIONS.iter().map(|section| section.path).chain(KEYS.iter().map(|key| key.path));
    let mut names: Vec<_> = paths
        .filter_map(|path| match section {
            "" => Some(path),
            _ => path.strip_prefix(section)?.strip_prefix('.'),
        })
        .filter(|rest| !rest.contains('.'))
        .collect();
    names.sort_unstable();
    names
}
