//! The Mesos v1 scheduler protocol without I/O: messages, RecordIO, session state.
