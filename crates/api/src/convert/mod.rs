//! Messages of the wire to types of the model, and back.
//!
//! Towards the model everything is checked and nothing is dropped: what a message says and the model
//! has no place for is an error that names the field. Back, what the model holds is written in full,
//! so that an answer sent back as a request means the same. What a request leaves out gets its
//! default here, once, before it is stored; later releases cannot change what a stored job means.

mod config;
mod container;
mod diff;
mod mesos;
mod policy;
#[cfg(test)]
mod tests;
mod upgrade;
mod view;
mod volume;

use peloton_model::{FieldError, JobId};
use peloton_proto::peloton::job as pb;

pub use config::{config_from_proto, config_to_proto};
pub use mesos::labels_from_proto;
pub use upgrade::{
    field_changes, not_negative, upgrade_event, upgrade_id, upgrade_id_to_proto, upgrade_info,
    upgrade_options, upgrade_plan, upgrade_state,
};
pub use view::{job_config, job_status, run_info, task_info};

use crate::ApiError;

/// How often a batch instance is tried again where a configuration has no restart policy: enough for
/// a bad agent or two, and an end for a program that cannot work. With a policy, its own limit holds,
/// and none if it has none.
pub const DEFAULT_BATCH_FAILURES: u32 = 3;

/// The errors of one message.
#[derive(Debug, Default)]
struct Errors(Vec<FieldError>);

impl Errors {
    fn add(
        &mut self,
        field: impl Into<String>,
        value: impl std::fmt::Debug,
        allowed: impl Into<String>,
    ) {
        self.0.push(FieldError::new(field, value, allowed));
    }

    /// That a field is not used, because it has no meaning here.
    fn unused(&mut self, field: impl Into<String>, value: &str, allowed: &str) {
        if !value.is_empty() {
            self.add(field, value, allowed);
        }
    }

    /// An enum's value by its number.
    fn enumeration<E: TryFrom<i32> + Default>(
        &mut self,
        field: &str,
        value: i32,
        names: &str,
    ) -> E {
        E::try_from(value).unwrap_or_else(|_| {
            self.add(field, value, names);
            E::default()
        })
    }
}

/// The id in a request; `field` is where it is.
///
/// # Errors
/// `invalid-argument` where there is none or it is not one.
pub fn job_id(field: &str, id: Option<pb::JobId>) -> Result<JobId, ApiError> {
    let Some(id) = id else {
        return Err(ApiError::invalid(format!("{field}: missing: the id of a job")));
    };
    JobId::new(&id.value).map_err(|error| ApiError::invalid(format!("{field}.value: {error}")))
}

/// The id in an answer.
#[must_use]
pub fn job_id_to_proto(id: &JobId) -> pb::JobId {
    pb::JobId { value: id.as_str().to_owned() }
}
