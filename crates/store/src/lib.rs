//! The key-value contract (etcd's semantics), the key schema, the in-memory model, the suite every back end must pass.
