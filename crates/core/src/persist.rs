//! Writes as store operations: which record lies under which key.

use crate::output::Write;
use peloton_model::{ShardId, encode_record};
use peloton_store::{Key, Op, keys};
use serde::Serialize;

/// A record could not be encoded: a bug, as the records of the model always can.
#[derive(Debug, thiserror::Error)]
#[error("the record of {key} cannot be encoded: {source}")]
pub struct PersistError {
    /// The key.
    pub key: String,
    /// Why.
    pub source: serde_json::Error,
}

/// A write as an operation of the store.
///
/// # Errors
/// [`PersistError`], which is a bug.
pub fn encode(shard: ShardId, write: &Write) -> Result<Op, PersistError> {
    let s = shard.0;
    match write {
        Write::Framework(record) => put(keys::actual_framework(s), record.as_ref()),
        Write::Summary(job, record) => put(keys::actual_job(s, job.as_str()), record.as_ref()),
        Write::Instance(job, i, record) => {
            put(keys::actual_instance(s, job.as_str(), *i), record.as_ref())
        }
        Write::Slot(job, i, slot, record) => {
            put(keys::actual_slot(s, job.as_str(), *i, &slot.to_string()), record.as_ref())
        }
        Write::Run(job, i, run, record) => {
            put(keys::actual_run(s, job.as_str(), *i, *run), record.as_ref())
        }
        Write::RunsRemoved(job, i) => {
            Ok(Op::DeleteRange { range: keys::actual_instance_runs(s, job.as_str(), *i) })
        }
        Write::Upgrade(job, to, record, _) => {
            put(keys::actual_upgrade(s, job.as_str(), *to), record.as_ref())
        }
        Write::UpgradeEvent(job, to, number, event) => {
            put(keys::actual_event(s, job.as_str(), *to, *number), Some(event))
        }
        Write::UpgradesRemoved(job) => {
            Ok(Op::DeleteRange { range: keys::actual_upgrades(s, job.as_str()) })
        }
        Write::EventsRemoved(job, to) => {
            let range = match to {
                Some(to) => keys::actual_upgrade_events(s, job.as_str(), *to),
                None => keys::actual_job_events(s, job.as_str()),
            };
            Ok(Op::DeleteRange { range })
        }
        Write::VolumeAsked(name) => Ok(Op::Delete { key: keys::desired_volume(s, name) }),
        Write::Agent(agent, record) => put(keys::actual_agent(s, agent.as_str()), record.as_ref()),
    }
}

fn put<T: Serialize>(key: Key, record: Option<&T>) -> Result<Op, PersistError> {
    let Some(record) = record else { return Ok(Op::Delete { key }) };
    match encode_record(record) {
        Ok(value) => Ok(Op::Put { key, value: value.into(), lease: None }),
        Err(source) => {
            Err(PersistError { key: String::from_utf8_lossy(&key).into_owned(), source })
        }
    }
}
