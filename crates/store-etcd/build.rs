//! Compiles `proto/etcd` to Rust. The compiler is protox, so a fresh machine needs no protoc.

use std::error::Error;
use std::path::Path;

/// All that is spoken with etcd, and what it imports.
const FILES: [&str; 1] = ["etcd/rpc.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.join("etcd").display());
    println!("cargo::rerun-if-changed=build.rs");
    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_imports(true).include_source_info(true).open_files(FILES)?;
    let mut config = prost_build::Config::new();
    // Keys and values are shared with the request that they came in, not copied.
    config.bytes(["."]);
    tonic_prost_build::configure()
        .build_server(false)
        // The crate brings its own connections.
        .build_transport(false)
        .compile_fds_with_config(compiler.file_descriptor_set(), config)?;
    Ok(())
}
