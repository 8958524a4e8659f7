//! System tests: everything through the public interfaces, against a real Mesos.
