//! The domain: ids, resources, job configuration and versions, states, limits, error codes.
