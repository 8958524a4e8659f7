//! The master: wiring only.

fn main() {}
