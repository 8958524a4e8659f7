//! Compiles `proto/` to Rust. The compiler is protox, so a fresh machine needs no protoc.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message;
use prost_types::FileDescriptorSet;

/// What the API serves; reflection shows these and what they import.
const API: &[&str] = &[
    "peloton/changelog.proto",
    "peloton/job.proto",
    "peloton/task.proto",
    "peloton/upgrade.proto",
    "peloton/volume.proto",
    "peloton/cluster.proto",
];

/// What is spoken with Mesos only.
const MESOS: &[&str] = &["mesos/v1/scheduler.proto", "mesos/v1/executor.proto"];

/// Large parts that few messages have, so that the others need no room for them: the calls of a large wave
/// of launches are mostly resources and operations.
const BOXED: &[&str] = &[
    ".mesos.v1.Resource.disk",
    ".mesos.v1.Offer.Operation.launch_group",
    ".mesos.v1.Offer.Operation.grow_volume",
    ".mesos.v1.Offer.Operation.shrink_volume",
    ".mesos.v1.TaskInfo.executor",
    ".mesos.v1.TaskInfo.check",
    ".mesos.v1.scheduler.Call.subscribe",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var("OUT_DIR")?);

    fs::write(out.join("api.binpb"), compile(&root, API, false)?.encode_to_vec())?;
    let all = [API, MESOS].concat();
    fs::write(out.join("all.binpb"), compile(&root, &all, false)?.encode_to_vec())?;

    let mut config = prost_build::Config::new();
    // The descriptor-driven JSON finds a message's descriptor by its name.
    config.enable_type_names();
    // Equal messages must have equal bytes and equal JSON.
    config.btree_map(["."]);
    for field in BOXED {
        config.boxed(field);
    }
    tonic_prost_build::configure()
        // The client crate brings its own connections.
        .build_transport(false)
        .compile_fds_with_config(compile(&root, &all, true)?, config)?;
    Ok(())
}

/// The descriptors of `files` and all that they import; with their comments for the generated documentation.
fn compile(
    root: &Path,
    files: &[&str],
    comments: bool,
) -> Result<FileDescriptorSet, protox::Error> {
    let mut compiler = protox::Compiler::new([root])?;
    compiler.include_imports(true).include_source_info(comments).open_files(files)?;
    Ok(compiler.file_descriptor_set())
}
