//! System tests: everything through the public interfaces, against a real Mesos, and a simulated one.
//!
//! There is nothing here: the tests are one program, `tests/system`, so that they share one Mesos
//! and their programs are linked once. It starts `peloton-master` and `peloton` as their users do,
//! and compares what they say with what Mesos's own operators' interface says.
