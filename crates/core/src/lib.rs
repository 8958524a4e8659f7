//! One shard as a state machine without I/O: inputs in, commits, effects and wake-ups out.
