//! The API on one port: YARPC JSON, gRPC, health and metrics, over one set of handlers.
