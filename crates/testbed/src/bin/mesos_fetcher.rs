//! `mesos-fetcher`: brings a task's URIs into its sandbox, before it starts.
//!
//! Mesos's package lacks it, so the testbed brings this one: plain paths, `file://`, `http://`,
//! archives through the system's tools, and the agent's cache. What it prints goes to the
//! sandbox's `stdout` and `stderr`; any failure fails the task.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use peloton_testbed::http::{self, Request};
use serde_json::Value;

/// A server that sends nothing for so long is taken for dead.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Redirects to follow before it is taken for a loop.
const MAX_REDIRECTS: usize = 10;

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

fn fetch_all(info: &Value) -> Result<(), String> {
    let sandbox = field(info, "sandbox_directory")?;
    let cache = info.get("cache_directory").and_then(Value::as_str).map(Path::new);
    let items = info.get("items").and_then(Value::as_array);
    for item in items.into_iter().flatten() {
        let uri = item.get("uri").ok_or("an item has no uri")?;
        let value = field(uri, "value")?;
        fetch(item, uri, value, Path::new(sandbox), cache)
            .map_err(|why| format!("cannot fetch {value}: {why}"))?;
    }
    Ok(())
}

fn field<'a>(value: &'a Value, name: &str) -> Result<&'a str, String> {
    value.get(name).and_then(Value::as_str).ok_or_else(|| format!("{name} is missing"))
}

#[expect(clippy::print_stdout, reason = "the sandbox's stdout is where operators look")]
fn fetch(
    item: &Value,
    uri: &Value,
    value: &str,
    sandbox: &Path,
    cache: Option<&Path>,
) -> Result<(), String> {
    let flag = |name: &str, default| uri.get(name).and_then(Value::as_bool).unwrap_or(default);
    let target = sandbox.join(target_name(uri, value)?);
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).map_err(|error| format!("{}: {error}", parent.display()))?;
    }
    let action = item.get("action").and_then(Value::as_str).unwrap_or("BYPASS_CACHE");
    let cached = || {
        let name = field(item, "cache_filename")?;
        Ok::<PathBuf, String>(cache.ok_or("there is no cache_directory")?.join(name))
    };
    let source = match action {
        "BYPASS_CACHE" => {
            download(value, &target)?;
            target.clone()
        }
        "DOWNLOAD_AND_CACHE" => {
            let cached = cached()?;
            download(value, &cached)?;
            cached
        }
        "RETRIEVE_FROM_CACHE" => cached()?,
        other => return Err(format!("the action {other} is unknown")),
    };
    let executable = flag("executable", false);
    // What comes out of the cache lies there under another name: the value's says what it is.
    if !executable && flag("extract", true) && extract(&source, value, sandbox)? {
        println!("extracted {value} into {}", sandbox.display());
        return Ok(());
    }
    if source != target {
        copy(&source, &target)?;
    }
    if executable {
        make_executable(&target)?;
    }
    println!("fetched {value} to {}", target.display());
    Ok(())
}

/// The name in the sandbox: the one asked for, or the last part of the value.
fn target_name(uri: &Value, value: &str) -> Result<PathBuf, String> {
    if let Some(name) = uri.get("output_file").and_then(Value::as_str).filter(|n| !n.is_empty()) {
        let path = Path::new(name);
        let inside = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        return match inside {
            true => Ok(path.to_path_buf()),
            false => Err(format!("output_file {name:?} is not a relative path in the sandbox")),
        };
    }
    let without_query = value.split(['?', '#']).next().unwrap_or(value);
    let last = without_query.rsplit('/').next().unwrap_or_default();
    match last {
        "" | "." | ".." => Err("it names no file".to_owned()),
        last => Ok(PathBuf::from(last)),
    }
}

fn download(value: &str, target: &Path) -> Result<(), String> {
    match value.split_once("://") {
        Some(("http", _)) => download_http(value, target),
        Some(("file", path)) => copy(Path::new(path), target),
        Some((scheme, _)) => Err(format!("the testbed fetches no {scheme}, only files and http")),
        None if value.starts_with('/') => copy(Path::new(value), target),
        None => Err("a path must be absolute".to_owned()),
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let failed = |error: io::Error| format!("{} to {}: {error}", from.display(), to.display());
    if fs::metadata(from).map_err(failed)?.is_dir() {
        let mut cp = Command::new("cp");
        return run(cp.arg("-aT").arg(from).arg(to));
    }
    fs::copy(from, to).map(|_| ()).map_err(failed)
}

fn download_http(value: &str, target: &Path) -> Result<(), String> {
    let mut url = value.to_owned();
    for _ in 0..=MAX_REDIRECTS {
        let rest = url.strip_prefix("http://").ok_or_else(|| format!("redirected to {url}"))?;
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let has_port = authority.rsplit_once(':').is_some_and(|(_, p)| p.parse::<u16>().is_ok());
        let address = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        let request = Request {
            method: "GET",
            address: &address,
            path: path.split('#').next().unwrap_or(path),
            headers: &[("Accept", "*/*")],
            body: b"",
            timeout: Some(STALL_TIMEOUT),
        };
        let mut response = http::send(&request).map_err(|error| error.to_string())?;
        match response.status {
            200 => {
                let mut file = File::create(target).map_err(|error| error.to_string())?;
                io::copy(&mut response.body, &mut file).map_err(|error| error.to_string())?;
                return Ok(());
            }
            301 | 302 | 303 | 307 | 308 => {
                let location = response.header("location").unwrap_or_default();
                url = match location.starts_with('/') {
                    true => format!("http://{authority}{location}"),
                    false => location.to_owned(),
                };
            }
            status => return Err(format!("the server answers {status}")),
        }
    }
    Err(format!("more than {MAX_REDIRECTS} redirects"))
}

/// Extracts what the name says is an archive. Returns false for anything else.
fn extract(archive: &Path, value: &str, sandbox: &Path) -> Result<bool, String> {
    let name = value.split(['?', '#']).next().unwrap_or(value).to_ascii_lowercase();
    let is = |suffixes: &[&str]| suffixes.iter().any(|suffix| name.ends_with(suffix));
    if is(&[".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"]) {
        run(Command::new("tar").arg("-C").arg(sandbox).arg("-xf").arg(archive))?;
    } else if is(&[".zip"]) {
        run(Command::new("unzip").arg("-oq").arg(archive).arg("-d").arg(sandbox))?;
    } else if is(&[".gz"]) {
        let plain = target_name(&Value::Null, value)?;
        let plain =
            File::create(sandbox.join(plain.with_extension(""))).map_err(|e| e.to_string())?;
        run(Command::new("gzip").arg("-dc").arg(archive).stdout(Stdio::from(plain)))?;
    } else {
        return Ok(false);
    }
    Ok(true)
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
    let output = child
        .and_then(std::process::Child::wait_with_output)
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("{program} failed ({}): {said}", output.status))
}

fn make_executable(path: &Path) -> Result<(), String> {
    let meta = fs::metadata(path).map_err(|error| error.to_string())?;
    let mut permissions = meta.permissions();
    permissions.set_mode(permissions.mode() | 0o111);
    fs::set_permissions(path, permissions).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_stay_in_the_sandbox() {
        let name =
            |uri, value: &str| target_name(&uri, value).map(|path| path.display().to_string());
        assert_eq!(name(json!({}), "http://h:1/a/b.txt?x=/y").unwrap(), "b.txt");
        assert_eq!(name(json!({"output_file": "d/e"}), "/a").unwrap(), "d/e");
        for bad in ["../e", "/e", "a/../../b"] {
            assert!(name(json!({"output_file": bad}), "/a").unwrap_err().contains("output_file"));
        }
        assert!(name(json!({}), "http://h/a/").is_err());
    }

    #[test]
    fn what_cannot_be_fetched_says_why() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("t");
        let why = |value: &str| download(value, &target).unwrap_err();
        assert!(why("hdfs://x/y").contains("no hdfs"));
        assert!(why("relative").contains("absolute"));
        assert!(why("/nonexistent/file").contains("/nonexistent/file"));
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(why(&format!("http://{free}/x")).contains("refused"));
    }

    #[test]
    fn the_cache_is_filled_and_used() {
        let directory = tempfile::tempdir().unwrap();
        let [sandbox, cache] = ["sandbox", "cache"].map(|name| directory.path().join(name));
        fs::create_dir_all(&sandbox).unwrap();
        fs::create_dir_all(&cache).unwrap();
        let source = directory.path().join("tool");
        fs::write(&source, "one").unwrap();
        let info = |action: &str| {
            json!({"sandbox_directory": sandbox, "cache_directory": cache, "items": [{
                "action": action, "cache_filename": "c1",
                "uri": {"value": source, "executable": true},
            }]})
        };
        fetch_all(&info("DOWNLOAD_AND_CACHE")).unwrap();
        fs::remove_file(&source).unwrap();
        fs::remove_file(sandbox.join("tool")).unwrap();
        fetch_all(&info("RETRIEVE_FROM_CACHE")).unwrap();
        assert_eq!(fs::read_to_string(sandbox.join("tool")).unwrap(), "one");
        assert_eq!(fs::metadata(sandbox.join("tool")).unwrap().permissions().mode() & 0o111, 0o111);
        assert!(fetch_all(&info("PRAY")).unwrap_err().contains("PRAY"));
    }
}
