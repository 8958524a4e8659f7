//! Operations on offered resources: whether they are allowed, and what they make of the resources.
//!
//! Validation looks at the messages, since what they say of allocations is part of it; application
//! looks at [`crate::resources::Resources`]. Both have Mesos's words for what is wrong, because
//! frameworks get them in operation statuses and people search for them.
//!
//! Authorization is left out: everybody may do everything that is valid. `CREATE_DISK` and
//! `DESTROY_DISK` are left out, as there are no resource providers. Agents are taken to have all
//! capabilities of Mesos 1.11.

mod convert;
mod launch;
mod resource;
mod validate;

pub use convert::{Conversion, apply, apply_all, check_allocation, conversions};
pub use launch::{
    validate_executor_resources, validate_group_fits, validate_limits, validate_task_fits,
    validate_task_resources,
};
pub use resource::{validate_id, validate_resources};
pub use validate::{Requester, framework_roles, has_capability, validate};
