//! Tasks of the project: ci, tidy, demo.

fn main() {}
