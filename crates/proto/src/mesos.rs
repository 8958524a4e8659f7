//! Mesos's own messages, as far as Peloton uses them.

/// Version 1 of Mesos's API.
#[allow(missing_docs, reason = "Mesos's documentation is the place to look up Mesos's fields")]
#[allow(clippy::all, reason = "generated")]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/mesos.v1.rs"));

    /// The calls and events between a framework and the leading master.
    pub mod scheduler {
        include!(concat!(env!("OUT_DIR"), "/mesos.v1.scheduler.rs"));
    }

    /// The calls and events between an executor and its agent.
    pub mod executor {
        include!(concat!(env!("OUT_DIR"), "/mesos.v1.executor.rs"));
    }
}
