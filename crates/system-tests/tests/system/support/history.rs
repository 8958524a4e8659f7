//! What stands in etcd, and what ever stood there, read through etcd's own interface for people.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use peloton_testbed::etcd::Etcd;
use serde_json::{Value, json};

/// The keys under one prefix of an etcd.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys<'a> {
    etcd: &'a Etcd,
    prefix: &'a str,
}

/// A key's value, and the revision that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) value: String,
    pub(crate) revision: u64,
}

impl<'a> Keys<'a> {
    pub(crate) fn new(etcd: &'a Etcd, prefix: &'a str) -> Self {
        Self { etcd, prefix }
    }

    fn whole(&self, key: &str) -> String {
        STANDARD.encode(format!("{}/data/{key}", self.prefix))
    }

    /// Writes a key of the store, past all masters.
    pub(crate) fn put(&self, key: &str, value: &str) {
        let body = json!({"key": self.whole(key), "value": STANDARD.encode(value)});
        self.etcd.post(0, "/v3/kv/put", &body).unwrap();
    }

    /// Deletes a key of the store, past all masters.
    pub(crate) fn delete(&self, key: &str) {
        self.etcd.post(0, "/v3/kv/deleterange", &json!({"key": self.whole(key)})).unwrap();
    }

    /// A key of the store as it is.
    pub(crate) fn get(&self, key: &str) -> Option<Found> {
        self.range(&json!({"key": self.whole(key)})).0.into_values().next()
    }

    /// The revision of the store.
    pub(crate) fn revision(&self) -> u64 {
        self.range(&json!({"key": self.whole("meta/schema")})).1
    }

    /// Everything that begins with these words, at a revision; `written` leaves only what that very
    /// revision wrote.
    fn at(&self, words: &str, revision: u64, written: bool) -> BTreeMap<String, Found> {
        let mut body = json!({
            "key": self.whole(words),
            // '0' comes right after '/', with which all words end here.
            "range_end": self.whole(&format!("{}0", words.strip_suffix('/').unwrap())),
            "revision": revision.to_string(),
        });
        if written {
            body["min_mod_revision"] = json!(revision.to_string());
        }
        self.range(&body).0
    }

    fn range(&self, body: &Value) -> (BTreeMap<String, Found>, u64) {
        let answer = self.etcd.post(0, "/v3/kv/range", body).unwrap();
        let number = |value: &Value| value.as_str().unwrap().parse::<u64>().unwrap();
        let text = |value: &Value| {
            let bytes = STANDARD.decode(value.as_str().unwrap_or_default()).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        let before = format!("{}/data/", self.prefix);
        let found = answer["kvs"].as_array().into_iter().flatten().map(|kv| {
            let key = text(&kv["key"]).strip_prefix(&before).unwrap().to_owned();
            let revision = number(&kv["mod_revision"]);
            (key, Found { value: text(&kv["value"]), revision })
        });
        (found.collect(), number(&answer["header"]["revision"]))
    }
}

/// Everything that masters did in the store, revision by revision.
#[derive(Debug)]
pub(crate) struct History {
    /// Each claim of a shard: revision, shard, master.
    pub(crate) claims: Vec<(u64, u16, String)>,
    /// Each commit of a shard's actual state: revision, shard, master.
    pub(crate) commits: Vec<(u64, u16, String)>,
    /// How often an owner began to run a shard: once for each claim, and again when it was in doubt.
    begins: BTreeMap<u16, usize>,
}

impl History {
    /// Reads it from the first revision on, and asserts that whoever committed actual state of a shard
    /// owned it in the revision before, or claimed it in the same: the fence held, each time.
    #[track_caller]
    pub(crate) fn audited(keys: Keys<'_>) -> Self {
        let (mut claims, mut commits) = (Vec::new(), Vec::new());
        let (mut owners, mut begins) = (BTreeMap::<u16, String>::new(), BTreeMap::new());
        for revision in 2..=keys.revision() {
            let now: BTreeMap<u16, String> =
                keys.at("own/", revision, false).into_iter().map(owner).collect();
            for (key, found) in keys.at("a/", revision, true) {
                let Some(shard) = key.strip_prefix("a/").and_then(|k| k.strip_suffix("/fence"))
                else {
                    continue;
                };
                let shard: u16 = shard.parse().unwrap();
                let master = found.value.split(' ').next().unwrap().to_owned();
                // The claim of a shard that nobody has comes with its first commit.
                let owner = owners.get(&shard).or_else(|| now.get(&shard));
                assert_eq!(
                    owner,
                    Some(&master),
                    "revision {revision} wrote shard {shard} for {master}, who did not own it"
                );
                *begins.entry(shard).or_default() += usize::from(found.value.contains(" begins "));
                commits.push((revision, shard, master));
            }
            for (shard, master) in &now {
                if owners.get(shard) != Some(master) {
                    claims.push((revision, *shard, master.clone()));
                }
            }
            owners = now;
        }
        assert!(!claims.is_empty() && !commits.is_empty(), "{claims:?}, {commits:?}");
        Self { claims, commits, begins }
    }

    /// How often an owner began to run a shard.
    pub(crate) fn begins_of(&self, shard: u16) -> usize {
        self.begins.get(&shard).copied().unwrap_or_default()
    }
}

fn owner((key, found): (String, Found)) -> (u16, String) {
    let shard = key.strip_prefix("own/").unwrap().parse().unwrap();
    let record: Value = serde_json::from_str(&found.value).unwrap();
    (shard, record["master"].as_str().unwrap().to_owned())
}
