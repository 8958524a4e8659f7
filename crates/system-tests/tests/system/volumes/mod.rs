//! Volumes: what is in them stays where and as long as it was promised, and nothing else does.

mod away;
mod persistent;
mod policies;
mod remote;
mod shortage;

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Audit, Cluster, PATIENCE, SharedMesos, Task, config, wait_until};

/// A service with these volumes.
fn with_volumes(instances: u32, command: &str, volumes: Value) -> Value {
    config(instances, command, json!({"volumes": volumes}))
}

/// Waits until exactly so many slots of [`config`] are reserved, with so many MB of volumes in all.
#[track_caller]
fn wait_held(audit: &Audit, slots: i64, volumes_mb: i64) {
    let wanted = [
        ("cpus", 100 * slots),
        ("disk", 16_000 * slots + 1_000 * volumes_mb),
        ("mem", 32_000 * slots),
    ];
    wait_until(&format!("{slots} slots and {volumes_mb} MB of volumes"), PATIENCE, || {
        let found = audit.reserved()?;
        if found.iter().map(|(name, amount)| (name.as_str(), *amount)).eq(wanted) {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    });
}

/// Options of quick upgrades.
fn options(batch: u32) -> Value {
    json!({"batchSize": batch, "minHealthySecs": 1})
}

fn persistent(name: &str, on_delete: &str) -> Value {
    json!({"name": name, "containerPath": name, "sizeMb": 16, "onDelete": on_delete})
}

fn remote(name: &str, url: &str, more: Value) -> Value {
    let mut volume = json!({"name": name, "containerPath": name, "sizeMb": 8, "url": url});
    for (key, value) in more.as_object().into_iter().flatten() {
        volume[key] = value.clone();
    }
    volume
}

/// What a running instance sees in a file below its sandbox.
#[track_caller]
fn seen(mesos: &SharedMesos, task: &Task, path: &str) -> String {
    let file = mesos.sandbox(&task.id).join(path);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The volumes that the masters tell of.
#[track_caller]
fn volumes(cluster: &Cluster, job: &str) -> Vec<Value> {
    let answer = cluster.yarpc("VolumeManager.List", json!({"jobId": {"value": job}}));
    answer["result"]["value"].as_array().cloned().unwrap_or_default()
}

/// The ids of the volumes, in order.
fn ids(volumes: &[Value]) -> Vec<String> {
    let id = |volume: &Value| volume["id"]["value"].as_str().unwrap_or_default().to_owned();
    let mut ids: Vec<_> = volumes.iter().map(id).collect();
    ids.sort();
    ids
}

/// Waits until a job has just so many volumes, all in a state (2 is READY, 3 RETAINED).
#[track_caller]
fn wait_volumes(cluster: &Cluster, job: &str, count: usize, state: u64) -> Vec<Value> {
    wait_until(&format!("{count} volumes of {job} in state {state}"), PATIENCE, || {
        let all = volumes(cluster, job);
        let fit = all.iter().all(|volume| volume["state"].as_u64().unwrap_or_default() == state);
        if all.len() == count && fit { Ok(all) } else { Err(format!("{all:?}")) }
    })
}

/// An uncompressed archive with one file.
fn tar(name: &str, content: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(name), content).unwrap();
    let output = Command::new("tar")
        .args(["-cf", "-", "-C"])
        .arg(directory.path())
        .arg(name)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn sha256(content: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("content");
    fs::write(&file, content).unwrap();
    let output = Command::new("sha256sum").arg(&file).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().next().unwrap().to_owned()
}
