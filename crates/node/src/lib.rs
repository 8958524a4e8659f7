//! Runs shards: ownership, inbox, commits, effects, timers.
