//! The protobuf messages and services of the API, generated, and their JSON.
