//! The key schema: which key holds what. Nothing else in Peloton builds or takes apart a key.
//!
//! Keys are UTF-8 words separated by `/`. Numbers are padded with zeros to a fixed width, so that the
//! order of keys is the order of numbers. Job ids, slots and the like contain only `[A-Za-z0-9._-]`, so
//! `/` never occurs in them; agent ids come from Mesos, master ids from host names, and may contain
//! anything, so what lies outside that set is percent-encoded. Everything of a shard lies in two
//! ranges, one of desired and one of actual state; everything of a job within a shard lies together,
//! which also is what makes commits fast (neighbouring keys share pages).
//!
//! A prefix in front of all keys, when several clusters share an etcd, is the back end's business.

use bytes::Bytes;

use crate::{Key, KeyRange};

/// Digits of a shard number; [`u16::MAX`] needs one more, see [`MAX_SHARD`].
const SHARD_DIGITS: usize = 4;
/// Digits of instance, configuration version and run.
const NUMBER_DIGITS: usize = 10;
/// Digits of a time in milliseconds, counted backwards.
const TIME_DIGITS: usize = 20;

/// The greatest shard number that keeps the order of keys.
pub const MAX_SHARD: u16 = 9999;
/// The greatest configuration version or run that keeps the order of keys.
pub const MAX_NUMBER: u64 = 9_999_999_999;

/// The key of the schema version of everything stored.
pub const META_SCHEMA: &str = "meta/schema";
/// The key of the cluster's own record: its name, its number of shards.
pub const META_CLUSTER: &str = "meta/cluster";

/// A key taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParsedKey {
    /// [`META_SCHEMA`].
    MetaSchema,
    /// [`META_CLUSTER`].
    MetaCluster,
    /// A master that lives; attached to its lease.
    Member {
        /// The master's id.
        master: String,
    },
    /// Who owns a shard; attached to the owner's lease.
    Owner {
        /// The shard.
        shard: u16,
    },
    /// The last deletions of jobs that share a place.
    Deletions {
        /// The place: see [`deletions`].
        place: u16,
    },
    /// A job as its user wants it.
    DesiredJob {
        /// The shard.
        shard: u16,
        /// The job.
        job: String,
    },
    /// One immutable configuration of a job.
    DesiredConfig {
        /// The shard.
        shard: u16,
        /// The job.
        job: String,
        /// The configuration version, from 1.
        version: u64,
    },
    /// An upgrade of a job, as it was asked for.
    DesiredUpgrade {
        /// The shard.
        shard: u16,
        /// The job.
        job: String,
        /// The configuration version that it goes to.
        version: u64,
    },
    /// An entry of the shard's list of upgrades, the newest first.
    DesiredRecent {
        /// The shard.
        shard: u16,
        /// When the upgrade was asked for, in milliseconds since the Unix epoch.
        at: u64,
        /// The job.
        job: String,
        /// The configuration version that it goes to.
        version: u64,
    },
    /// What is asked of a volume, or of the slot that has it.
    DesiredVolume {
        /// The shard.
        shard: u16,
        /// The volume's id, or the slot's name.
        volume: String,
    },
    /// The chain of the shard's commits.
    ActualFence {
        /// The shard.
        shard: u16,
    },
    /// The shard's Mesos framework.
    ActualFramework {
        /// The shard.
        shard: u16,
    },
    /// A job as it is.
    ActualJob {
        /// The shard.
        shard: u16,
        /// The job.
        job: String,
    },
    /// An instance as it is.
    ActualInstance {
        /// The shard.
        shard: u16,
        /// The job.
        job: String,
        /// The instance, from 0.
        instance: u32,
    },
    /// A slot: resources reserved for an instance.
    ActualSlot {
        /// The shard.
        shard: u16,
        /// The job.
        job: String,
        /// The instance, from 0.
        instance: u32,
        /// The slot's name.
        slot: String,
    },
    /// One run of an instance.
    ActualRun {
        /// The shard.
        shard: u16,
        /// The job.
        job: String,
        /// The instance, from 0.
        instance: u32,
        /// The run, from 1.
        run: u64,
    },
    /// An upgrade of a job, as it is.
    ActualUpgrade {
        /// The shard.
        shard: u16,
        /// The job.
        job: String,
        /// The configuration version that it goes to.
        version: u64,
    },
    /// An event of an upgrade.
    ActualEvent {
        /// The shard.
        shard: u16,
        /// The job.
        job: String,
        /// The configuration version that the upgrade goes to.
        version: u64,
        /// The event's number, from 0.
        number: u64,
    },
    /// What the shard knows about an agent.
    ActualAgent {
        /// The shard.
        shard: u16,
        /// The agent's id in Mesos.
        agent: String,
    },
}

fn key(text: String) -> Key {
    Bytes::from(text)
}

/// The key of the schema version.
pub fn meta_schema() -> Key {
    Bytes::from_static(META_SCHEMA.as_bytes())
}

/// The key of the cluster's own record.
pub fn meta_cluster() -> Key {
    Bytes::from_static(META_CLUSTER.as_bytes())
}

/// The key of a master that lives.
pub fn member(master: &str) -> Key {
    key(format!("meta/member/{}", encode(master)))
}

/// The key of a shard's owner.
pub fn owner(shard: u16) -> Key {
    key(format!("own/{shard:04}"))
}

/// The key of the last deletions of jobs whose ids fall on this place. Each deletion writes it and each
/// creation compares it, so that a creation that was lost on the way can not land after a deletion. Jobs
/// come and go without end, so they share places; `meta/cluster`'s number of shards has nothing to do with it.
pub fn deletions(place: u16) -> Key {
    key(format!("gone/{place:04}"))
}

/// The key of a job as its user wants it.
pub fn desired_job(shard: u16, job: &str) -> Key {
    key(format!("d/{shard:04}/job/{job}"))
}

/// The key of a configuration of a job.
pub fn desired_config(shard: u16, job: &str, version: u64) -> Key {
    key(format!("d/{shard:04}/config/{job}/{version:010}"))
}

/// The key of an upgrade of a job, as it was asked for.
pub fn desired_upgrade(shard: u16, job: &str, version: u64) -> Key {
    key(format!("d/{shard:04}/upgrade/{job}/{version:010}"))
}

/// The key of an entry of the shard's list of upgrades. The time is counted backwards, so that the order of
/// keys is from the newest to the oldest.
pub fn desired_recent(shard: u16, at: u64, job: &str, version: u64) -> Key {
    key(format!("d/{shard:04}/recent/{:020}/{job}/{version:010}", u64::MAX - at))
}

/// The key of what is asked of a volume, or of the slot that has it.
pub fn desired_volume(shard: u16, volume: &str) -> Key {
    key(format!("d/{shard:04}/volume/{}", encode(volume)))
}

/// The key of a shard's framework.
pub fn actual_framework(shard: u16) -> Key {
    key(format!("a/{shard:04}/framework"))
}

/// The key that each commit of a shard's actual state compares and writes, so that commits form a chain:
/// none can land after a later one, and whether one landed can be read.
pub fn actual_fence(shard: u16) -> Key {
    key(format!("a/{shard:04}/fence"))
}

/// The key of a job as it is.
pub fn actual_job(shard: u16, job: &str) -> Key {
    key(format!("a/{shard:04}/job/{job}"))
}

/// The key of an instance.
pub fn actual_instance(shard: u16, job: &str, instance: u32) -> Key {
    key(format!("a/{shard:04}/inst/{job}/{instance:010}"))
}

/// The key of a slot.
pub fn actual_slot(shard: u16, job: &str, instance: u32, slot: &str) -> Key {
    key(format!("a/{shard:04}/slot/{job}/{instance:010}/{slot}"))
}

/// The key of a run.
pub fn actual_run(shard: u16, job: &str, instance: u32, run: u64) -> Key {
    key(format!("a/{shard:04}/run/{job}/{instance:010}/{run:010}"))
}

/// The key of an upgrade of a job, as it is.
pub fn actual_upgrade(shard: u16, job: &str, version: u64) -> Key {
    key(format!("a/{shard:04}/upgrade/{job}/{version:010}"))
}

/// The key of an event of an upgrade.
pub fn actual_event(shard: u16, job: &str, version: u64, number: u64) -> Key {
    key(format!("a/{shard:04}/event/{job}/{version:010}/{number:010}"))
}

/// The key of an agent.
pub fn actual_agent(shard: u16, agent: &str) -> Key {
    key(format!("a/{shard:04}/agent/{}", encode(agent)))
}

/// All masters that live, in the order of their ids' spelling.
pub fn members() -> KeyRange {
    KeyRange::prefix("meta/member/")
}

/// All masters that live and the owners of all shards, so that one watch tells of both in the order in
/// which they changed. What else lies in between is to be ignored.
pub fn members_and_owners() -> KeyRange {
    KeyRange { start: members().start, end: owners().end }
}

/// The owners of all shards.
pub fn owners() -> KeyRange {
    KeyRange::prefix("own/")
}

/// The desired state of all shards.
pub fn all_desired() -> KeyRange {
    KeyRange::prefix("d/")
}

/// The actual state of all shards.
pub fn all_actual() -> KeyRange {
    KeyRange::prefix("a/")
}

/// The desired state of a shard.
pub fn desired(shard: u16) -> KeyRange {
    KeyRange::prefix(format!("d/{shard:04}/"))
}

/// The actual state of a shard.
pub fn actual(shard: u16) -> KeyRange {
    KeyRange::prefix(format!("a/{shard:04}/"))
}

/// All jobs of a shard as their users want them, in the order of their ids.
pub fn desired_jobs(shard: u16) -> KeyRange {
    KeyRange::prefix(format!("d/{shard:04}/job/"))
}

/// All configurations of a job, oldest first.
pub fn desired_configs(shard: u16, job: &str) -> KeyRange {
    KeyRange::prefix(format!("d/{shard:04}/config/{job}/"))
}

/// All upgrades of a job as they were asked for, oldest first.
pub fn desired_upgrades(shard: u16, job: &str) -> KeyRange {
    KeyRange::prefix(format!("d/{shard:04}/upgrade/{job}/"))
}

/// The shard's list of upgrades, newest first.
pub fn desired_recents(shard: u16) -> KeyRange {
    KeyRange::prefix(format!("d/{shard:04}/recent/"))
}

/// All upgrades of a job as they are, oldest first.
pub fn actual_upgrades(shard: u16, job: &str) -> KeyRange {
    KeyRange::prefix(format!("a/{shard:04}/upgrade/{job}/"))
}

/// All events of all upgrades of a job.
pub fn actual_job_events(shard: u16, job: &str) -> KeyRange {
    KeyRange::prefix(format!("a/{shard:04}/event/{job}/"))
}

/// All events of an upgrade, oldest first.
pub fn actual_upgrade_events(shard: u16, job: &str, version: u64) -> KeyRange {
    KeyRange::prefix(format!("a/{shard:04}/event/{job}/{version:010}/"))
}

/// All jobs of a shard as they are.
pub fn actual_jobs(shard: u16) -> KeyRange {
    KeyRange::prefix(format!("a/{shard:04}/job/"))
}

/// All instances of a job, in order.
pub fn actual_instances(shard: u16, job: &str) -> KeyRange {
    KeyRange::prefix(format!("a/{shard:04}/inst/{job}/"))
}

/// The instances `from` up to, not including, `to` of a job.
pub fn actual_instances_between(shard: u16, job: &str, from: u32, to: u32) -> KeyRange {
    KeyRange::new(actual_instance(shard, job, from), actual_instance(shard, job, to))
}

/// All slots of a job, by instance.
pub fn actual_slots(shard: u16, job: &str) -> KeyRange {
    KeyRange::prefix(format!("a/{shard:04}/slot/{job}/"))
}

/// All slots of a shard.
pub fn actual_shard_slots(shard: u16) -> KeyRange {
    KeyRange::prefix(format!("a/{shard:04}/slot/"))
}

/// All slots of an instance.
pub fn actual_instance_slots(shard: u16, job: &str, instance: u32) -> KeyRange {
    KeyRange::prefix(format!("a/{shard:04}/slot/{job}/{instance:010}/"))
}

/// All runs of a job, by instance.
pub fn actual_runs(shard: u16, job: &str) -> KeyRange {
    KeyRange::prefix(format!("a/{shard:04}/run/{job}/"))
}

/// All runs of an instance, oldest first.
pub fn actual_instance_runs(shard: u16, job: &str, instance: u32) -> KeyRange {
    KeyRange::prefix(format!("a/{shard:04}/run/{job}/{instance:010}/"))
}

/// All agents a shard knows.
pub fn actual_agents(shard: u16) -> KeyRange {
    KeyRange::prefix(format!("a/{shard:04}/agent/"))
}

/// Takes a key apart; `None` if it is not exactly what a constructor here makes.
pub fn parse(key: &[u8]) -> Option<ParsedKey> {
    let text = std::str::from_utf8(key).ok()?;
    let words: Vec<&str> = text.split('/').collect();
    match words.as_slice() {
        ["meta", "schema"] => Some(ParsedKey::MetaSchema),
        ["meta", "cluster"] => Some(ParsedKey::MetaCluster),
        ["meta", "member", master] => Some(ParsedKey::Member { master: decode(master)? }),
        ["gone", place] => Some(ParsedKey::Deletions { place: parse_shard(place)? }),
        ["own", shard] => Some(ParsedKey::Owner { shard: parse_shard(shard)? }),
        ["d", shard, rest @ ..] => parse_desired(parse_shard(shard)?, rest),
        ["a", shard, rest @ ..] => parse_actual(parse_shard(shard)?, rest),
        _ => None,
    }
}

fn parse_desired(shard: u16, words: &[&str]) -> Option<ParsedKey> {
    match words {
        ["job", job] => Some(ParsedKey::DesiredJob { shard, job: word(job)? }),
        ["config", job, version] => {
            let version = number(version)?;
            Some(ParsedKey::DesiredConfig { shard, job: word(job)?, version })
        }
        ["upgrade", job, version] => {
            let version = number(version)?;
            Some(ParsedKey::DesiredUpgrade { shard, job: word(job)?, version })
        }
        ["volume", volume] => Some(ParsedKey::DesiredVolume { shard, volume: decode(volume)? }),
        ["recent", backwards, job, version] => {
            let at = u64::MAX - digits(backwards, TIME_DIGITS)?;
            let version = number(version)?;
            Some(ParsedKey::DesiredRecent { shard, at, job: word(job)?, version })
        }
        _ => None,
    }
}

fn parse_actual(shard: u16, words: &[&str]) -> Option<ParsedKey> {
    match words {
        ["fence"] => Some(ParsedKey::ActualFence { shard }),
        ["framework"] => Some(ParsedKey::ActualFramework { shard }),
        ["job", job] => Some(ParsedKey::ActualJob { shard, job: word(job)? }),
        ["inst", job, instance] => {
            let instance = parse_instance(instance)?;
            Some(ParsedKey::ActualInstance { shard, job: word(job)?, instance })
        }
        ["slot", job, instance, slot] => {
            let (instance, slot) = (parse_instance(instance)?, word(slot)?);
            Some(ParsedKey::ActualSlot { shard, job: word(job)?, instance, slot })
        }
        ["run", job, instance, run] => {
            let (instance, run) = (parse_instance(instance)?, number(run)?);
            Some(ParsedKey::ActualRun { shard, job: word(job)?, instance, run })
        }
        ["upgrade", job, version] => {
            let version = number(version)?;
            Some(ParsedKey::ActualUpgrade { shard, job: word(job)?, version })
        }
        ["event", job, version, event] => {
            let (version, number) = (number(version)?, number(event)?);
            Some(ParsedKey::ActualEvent { shard, job: word(job)?, version, number })
        }
        ["agent", agent] => Some(ParsedKey::ActualAgent { shard, agent: decode(agent)? }),
        _ => None,
    }
}

fn parse_shard(text: &str) -> Option<u16> {
    digits(text, SHARD_DIGITS)?.try_into().ok()
}

fn parse_instance(text: &str) -> Option<u32> {
    number(text)?.try_into().ok()
}

fn number(text: &str) -> Option<u64> {
    digits(text, NUMBER_DIGITS)
}

/// A number of exactly `width` digits: the only spelling the constructors make.
fn digits(text: &str, width: usize) -> Option<u64> {
    let plain = text.len() == width && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

fn word(text: &str) -> Option<String> {
    (!text.is_empty() && text.bytes().all(is_plain)).then(|| text.to_owned())
}

fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_plain(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        if first == b'%' {
            let hex = std::str::from_utf8(behind.get(..2)?).ok()?;
            decoded.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &behind[2..];
        } else if is_plain(first) {
            decoded.push(first);
            rest = behind;
        } else {
            return None;
        }
    }
    let decoded = String::from_utf8(decoded).ok()?;
    // Only one spelling of each id is a key of ours ("%41" is not, neither is "%2f").
    (!decoded.is_empty() && encode(&decoded) == text).then_some(decoded)
}
