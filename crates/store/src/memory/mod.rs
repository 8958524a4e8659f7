//! The model: what a store does, as a pure state machine, and a thin [`crate::Store`] over it.

mod lease;
mod state;
mod store;

pub use state::MemoryState;
pub use store::MemoryStore;
