//! Brings a task's URIs into its sandbox, before it starts.
//!
//! Plain paths, `file://` and `http://`, archives through the system's tools. A failure fails the
//! task, and its text is for the sandbox's `stderr`.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::http::{self, Request};

/// A server that sends nothing for so long is taken for dead.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Redirects to follow before it is taken for a loop.
const MAX_REDIRECTS: usize = 10;

/// A file or archive to fetch, as a command has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri {
    /// Where it is.
    pub value: String,
    /// A program: it is made executable and never extracted.
    pub executable: bool,
    /// Extract it when its name says that it is an archive.
    pub extract: bool,
    /// Its name in the sandbox, instead of the last part of `value`.
    pub output_file: Option<String>,
}

/// What an agent's cache of fetched files has to do with a fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cache {
    /// Nothing.
    Bypass,
    /// It is downloaded to this file of the cache.
    Fill(PathBuf),
    /// It is in this file of the cache.
    Use(PathBuf),
}

/// Fetches one URI, and answers what it did.
///
/// # Errors
/// [`Error::Fetch`] with the reason.
pub fn fetch(uri: &Uri, sandbox: &Path, cache: &Cache) -> Result<String> {
    fetch_one(uri, sandbox, cache)
        .map_err(|source| Error::Fetch { uri: uri.value.clone(), source: Box::new(source) })
}

fn fetch_one(uri: &Uri, sandbox: &Path, cache: &Cache) -> Result<String> {
    let value = &uri.value;
    let target = sandbox.join(target_name(uri.output_file.as_deref(), value)?);
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).map_err(Error::path(parent))?;
    }
    let source = match cache {
        Cache::Bypass => {
            download(value, &target)?;
            &target
        }
        Cache::Fill(cached) => {
            download(value, cached)?;
            cached
        }
        Cache::Use(cached) => cached,
    };
    // What comes out of the cache lies there under another name: the value's says what it is.
    if !uri.executable && uri.extract && extract(source, value, sandbox)? {
        return Ok(format!("extracted {value} into {}", sandbox.display()));
    }
    if *source != target {
        copy(source, &target)?;
    }
    if uri.executable {
        make_executable(&target)?;
    }
    Ok(format!("fetched {value} to {}", target.display()))
}

/// The name in the sandbox: the one asked for, or the last part of the value.
fn target_name(output_file: Option<&str>, value: &str) -> Result<PathBuf> {
    if let Some(name) = output_file.filter(|name| !name.is_empty()) {
        let path = Path::new(name);
        let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
        let why = || format!("output_file {name:?} is not a relative path in the sandbox");
        return if inside { Ok(path.to_path_buf()) } else { Err(Error::Task(why())) };
    }
    match without_query(value).rsplit('/').next().unwrap_or_default() {
        "" | "." | ".." => Err(Error::Task("it names no file".to_owned())),
        last => Ok(PathBuf::from(last)),
    }
}

fn without_query(value: &str) -> &str {
    value.split(['?', '#']).next().unwrap_or(value)
}

fn download(value: &str, target: &Path) -> Result<()> {
    match value.split_once("://") {
        Some(("http", _)) => download_http(value, target),
        Some(("file", path)) => copy(Path::new(path), target),
        Some((scheme, _)) => {
            Err(Error::Task(format!("there is no fetcher for {scheme}, only for files and http")))
        }
        None if value.starts_with('/') => copy(Path::new(value), target),
        None => Err(Error::Task("a path must be absolute".to_owned())),
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if fs::metadata(from).map_err(Error::path(from))?.is_dir() {
        let mut cp = Command::new("cp");
        return run(cp.arg("-aT").arg(from).arg(to));
    }
    fs::copy(from, to).map(|_| ()).map_err(Error::path(to))
}

fn download_http(value: &str, target: &Path) -> Result<()> {
    let failed = |error: io::Error| Error::Download(error.to_string());
    let mut url = value.to_owned();
    for _ in 0..=MAX_REDIRECTS {
        let rest = url.strip_prefix("http://");
        let rest = rest.ok_or_else(|| Error::Download(format!("redirected to {url}")))?;
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
        let mut response = http::send(&request).map_err(failed)?;
        match response.status {
            200 => {
                let mut file = File::create(target).map_err(Error::path(target))?;
                io::copy(&mut response.body, &mut file).map_err(failed)?;
                return Ok(());
            }
            301 | 302 | 303 | 307 | 308 => {
                let location = response.header("location").unwrap_or_default();
                url = match location.starts_with('/') {
                    true => format!("http://{authority}{location}"),
                    false => location.to_owned(),
                };
            }
            status => return Err(Error::Download(format!("the server answers {status}"))),
        }
    }
    Err(Error::Download(format!("more than {MAX_REDIRECTS} redirects")))
}

/// Extracts what the name says is an archive. Returns false for anything else.
fn extract(archive: &Path, value: &str, sandbox: &Path) -> Result<bool> {
    let name = without_query(value).to_ascii_lowercase();
    let is = |suffixes: &[&str]| suffixes.iter().any(|suffix| name.ends_with(suffix));
    if is(&[".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"]) {
        run(Command::new("tar").arg("-C").arg(sandbox).arg("-xf").arg(archive))?;
    } else if is(&[".zip"]) {
        run(Command::new("unzip").arg("-oq").arg(archive).arg("-d").arg(sandbox))?;
    } else if is(&[".gz"]) {
        let plain = sandbox.join(target_name(None, value)?.with_extension(""));
        let file = File::create(&plain).map_err(Error::path(plain))?;
        run(Command::new("gzip").arg("-dc").arg(archive).stdout(Stdio::from(file)))?;
    } else {
        return Ok(false);
    }
    Ok(true)
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
    let output = child.and_then(Child::wait_with_output).map_err(Error::path(&program))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Helper { program, status: output.status.to_string(), output: said })
}

fn make_executable(path: &Path) -> Result<()> {
    let mut permissions = fs::metadata(path).map_err(Error::path(path))?.permissions();
    permissions.set_mode(permissions.mode() | 0o111);
    fs::set_permissions(path, permissions).map_err(Error::path(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_the_sandbox() {
        let name = |output_file, value: &str| target_name(output_file, value);
        assert_eq!(name(None, "http://h:1/a/b.txt?x=/y").unwrap(), Path::new("b.txt"));
        assert_eq!(name(Some("d/e"), "/a").unwrap(), Path::new("d/e"));
        for bad in ["../e", "/e", "a/../../b"] {
            let why = name(Some(bad), "/a").unwrap_err().to_string();
            assert!(why.contains("output_file"), "{why}");
        }
        assert!(name(None, "http://h/a/").is_err());
    }

    #[test]
    fn what_cannot_be_fetched_says_why() {
        let directory = tempfile::tempdir().unwrap();
        let why = |value: &str| {
            let uri = Uri {
                value: value.to_owned(),
                executable: false,
                extract: true,
                output_file: Some("t".to_owned()),
            };
            fetch(&uri, directory.path(), &Cache::Bypass).unwrap_err().to_string()
        };
        assert!(why("hdfs://x/y").contains("cannot fetch hdfs://x/y: there is no fetcher"));
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
        let uri = Uri {
            value: source.display().to_string(),
            executable: true,
            extract: true,
            output_file: None,
        };
        fetch(&uri, &sandbox, &Cache::Fill(cache.join("c1"))).unwrap();
        fs::remove_file(&source).unwrap();
        fs::remove_file(sandbox.join("tool")).unwrap();
        fetch(&uri, &sandbox, &Cache::Use(cache.join("c1"))).unwrap();
        assert_eq!(fs::read_to_string(sandbox.join("tool")).unwrap(), "one");
        assert_eq!(fs::metadata(sandbox.join("tool")).unwrap().permissions().mode() & 0o111, 0o111);
    }
}
