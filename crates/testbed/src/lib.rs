//! A real Mesos on this machine, for tests and demonstrations.
