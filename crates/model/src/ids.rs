//! Typed ids. Each says what it may contain; the wire's strings are checked once, at the edge.

use crate::limits;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The number of an instance within its job: 0 … count-1.
pub type InstanceId = u32;
/// The number of a run of an instance: 1, 2, 3 …, never reused, also not by a later job of the same name.
pub type RunNumber = u64;
/// The number of a configuration version of a job: 1, 2, 3 …
pub type Version = u64;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not a job id.
    #[error(
        "job id {0:?} is not allowed: 1 to {max} characters of A-Z a-z 0-9 . _ -, the first a letter or digit",
        max = limits::MAX_JOB_ID_CHARS
    )]
    Job(String),
    /// Not a task id that Peloton gives.
    #[error("task id {0:?} is not of the form <job>-<instance>-<run>")]
    Task(String),
    /// Not an upgrade's id that Peloton gives.
    #[error("upgrade id {0:?} is not of the form <job>-<version>-<mark>")]
    Upgrade(String),
}

/// The name of a job: 1 to 128 characters of `[A-Za-z0-9._-]`, the first a letter or digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(Arc<str>);

impl JobId {
    /// Checks a text.
    ///
    /// # Errors
    /// [`IdError::Job`] where the text is empty, too long, or has another character.
    pub fn new(text: &str) -> Result<Self, IdError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let ok = text.len() <= limits::MAX_JOB_ID_CHARS
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(legal);
        if ok { Ok(Self(text.into())) } else { Err(IdError::Job(text.to_owned())) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for JobId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::new(&text)
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.0.as_ref().to_owned()
    }
}

macro_rules! opaque_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes a text as Mesos gave it.
            #[must_use]
            pub fn new(text: &str) -> Self {
                Self(text.into())
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

opaque_id! {
    /// The id that Mesos gave an agent.
    AgentId
}
opaque_id! {
    /// The id that Mesos gave an offer.
    OfferId
}
opaque_id! {
    /// The id that Mesos gave a framework (one per shard).
    FrameworkId
}

macro_rules! text_id {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    )*};
}
text_id!(JobId, AgentId, OfferId, FrameworkId);

/// A fixed part of all jobs: one Mesos framework, one Mesos role, one owner at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShardId(pub u16);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The shard of a job, for life. FNV-1a of 64 bits: tiny, stable, and spreads short names well;
/// changing it would move jobs between frameworks, so it never changes.
#[must_use]
pub fn shard_of(job: &JobId, shards: u16) -> ShardId {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in job.as_str().bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    // The low bits of FNV are weak for short texts; folding brings the high ones in.
    let folded = hash ^ (hash >> 32);
    ShardId((folded % u64::from(shards.max(1))) as u16)
}

/// A slot of an instance: the number of the run that first reserved it, so unique for the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SlotId(pub RunNumber);

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One run of an instance in Mesos: `<job>-<instance>-<run>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// The job.
    pub job: JobId,
    /// The instance.
    pub instance: InstanceId,
    /// The run.
    pub run: RunNumber,
}

impl TaskId {
    /// Reads an id that Peloton gave. The job's name may itself contain `-`, so the numbers are
    /// taken from the right, and must be in their shortest form.
    ///
    /// # Errors
    /// [`IdError::Task`] for every other text.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let fail = || IdError::Task(text.to_owned());
        let mut parts = text.rsplitn(3, '-');
        let run = parts.next().and_then(|t| t.parse().ok()).ok_or_else(fail)?;
        let instance = parts.next().and_then(|t| t.parse().ok()).ok_or_else(fail)?;
        let job = parts.next().and_then(|t| JobId::new(t).ok()).ok_or_else(fail)?;
        let id = Self { job, instance, run };
        if id.to_string() == text { Ok(id) } else { Err(fail()) }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.job, self.instance, self.run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_ids_are_checked() {
        for good in ["a", "9", "my.job_1-x", &"x".repeat(128)] {
            assert!(JobId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "_a", "a b", "a/b", "ä", &"x".repeat(129)] {
            assert_eq!(JobId::new(bad), Err(IdError::Job(bad.to_owned())));
        }
    }

    #[test]
    fn task_ids_round_trip_with_dashes_in_the_name() {
        let id = TaskId { job: JobId::new("a-1-2").unwrap(), instance: 3, run: 44 };
        assert_eq!(id.to_string(), "a-1-2-3-44");
        assert_eq!(TaskId::parse("a-1-2-3-44").unwrap(), id);
        for bad in ["", "a", "a-1", "a-x-1", "a-1-x", "-1-1", "a-01-1", "a-1-+1", "a-1--1"] {
            assert!(TaskId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shards_are_stable_and_even() {
        // Literal expectations: a change would strand the jobs of every existing cluster.
        let shard = |name: &str| shard_of(&JobId::new(name).unwrap(), 8).0;
        assert_eq!([shard("myjob12345"), shard("a"), shard("b")], [2, 0, 1]);
        let mut counts = [0u32; 8];
        for i in 0..8000 {
            counts[usize::from(shard(&format!("service-{i}")))] += 1;
        }
        assert!(counts.iter().all(|n| (800..1200).contains(n)), "{counts:?}");
    }
}
