//! Operations on offered resources: whether they are allowed, and what they make of the resources.

mod convert;
mod validate;

pub use convert::{Conversion, apply, apply_all, conversions};
pub use validate::{Requester, validate, validate_resources};
