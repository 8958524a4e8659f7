//! `mesos-fetcher`: brings a task's URIs into its sandbox, before it starts.
//!
//! Mesos's package lacks it, so the testbed brings this one around the task runner's fetcher: an
//! agent tells by `MESOS_FETCHER_INFO` what to fetch, and what part its cache has in it. What is
//! printed goes to the sandbox's `stdout` and `stderr`; any failure fails the task.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use peloton_task_runner::fetch::{self, Cache, Uri};
use serde_json::Value;

#[expect(clippy::print_stderr, reason = "the sandbox's stderr is where operators look")]
fn main() -> ExitCode {
    let fetched = std::env::var("MESOS_FETCHER_INFO")
        .map_err(|_| "MESOS_FETCHER_INFO is not set".to_owned())
        .and_then(|text| {
            serde_json::from_str(&text)
                .map_err(|error| format!("MESOS_FETCHER_INFO is not JSON: {error}"))
        })
        .and_then(|info| fetch_all(&info));
    match fetched {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("mesos-fetcher: {why}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the sandbox's stdout is where operators look")]
fn fetch_all(info: &Value) -> Result<(), String> {
    let sandbox = Path::new(field(info, "sandbox_directory")?);
    let cache = info.get("cache_directory").and_then(Value::as_str).map(Path::new);
    let items = info.get("items").and_then(Value::as_array);
    for item in items.into_iter().flatten() {
        let uri = uri(item.get("uri").ok_or("an item has no uri")?)?;
        let cache = cached(item, cache)?;
        let done = fetch::fetch(&uri, sandbox, &cache).map_err(|error| error.to_string())?;
        println!("{done}");
    }
    Ok(())
}

fn uri(uri: &Value) -> Result<Uri, String> {
    let flag = |name: &str, default| uri.get(name).and_then(Value::as_bool).unwrap_or(default);
    Ok(Uri {
        value: field(uri, "value")?.to_owned(),
        executable: flag("executable", false),
        extract: flag("extract", true),
        output_file: uri.get("output_file").and_then(Value::as_str).map(str::to_owned),
    })
}

/// What the agent wants done with its cache.
fn cached(item: &Value, cache: Option<&Path>) -> Result<Cache, String> {
    let file = || {
        let name = field(item, "cache_filename")?;
        Ok::<PathBuf, String>(cache.ok_or("there is no cache_directory")?.join(name))
    };
    match item.get("action").and_then(Value::as_str).unwrap_or("BYPASS_CACHE") {
        "BYPASS_CACHE" => Ok(Cache::Bypass),
        "DOWNLOAD_AND_CACHE" => {
            let file = file()?;
            // An agent only names the directory, and removes it when it starts.
            if let Some(directory) = file.parent() {
                fs::create_dir_all(directory)
                    .map_err(|error| format!("{}: {error}", directory.display()))?;
            }
            Ok(Cache::Fill(file))
        }
        "RETRIEVE_FROM_CACHE" => Ok(Cache::Use(file()?)),
        other => Err(format!("the action {other} is unknown")),
    }
}

fn field<'a>(value: &'a Value, name: &str) -> Result<&'a str, String> {
    value.get(name).and_then(Value::as_str).ok_or_else(|| format!("{name} is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_cache_is_filled_and_used() {
        let directory = tempfile::tempdir().unwrap();
        let [sandbox, cache] = ["sandbox", "cache"].map(|name| directory.path().join(name));
        fs::create_dir_all(&sandbox).unwrap();
        let source = directory.path().join("tool");
        fs::write(&source, "one").unwrap();
        let info = |action: &str| {
            json!({"sandbox_directory": sandbox, "cache_directory": cache, "items": [{
                "action": action, "cache_filename": "c1", "uri": {"value": source},
            }]})
        };
        fetch_all(&info("DOWNLOAD_AND_CACHE")).unwrap();
        assert_eq!(fs::read_to_string(cache.join("c1")).unwrap(), "one");
        fs::remove_file(&source).unwrap();
        fs::remove_file(sandbox.join("tool")).unwrap();
        fetch_all(&info("RETRIEVE_FROM_CACHE")).unwrap();
        assert_eq!(fs::read_to_string(sandbox.join("tool")).unwrap(), "one");
        assert!(fetch_all(&info("PRAY")).unwrap_err().contains("PRAY"));
    }
}
