//! An agent's files: `/files/read`, `/files/browse`, `/files/download`, `/files/debug`.
//!
//! A path is either a real one in the agent's work directory, or the virtual one that names the
//! latest run of a task whatever id the agent had: `/frameworks/F/executors/T/runs/latest`.
//! What leads out of the work directory is not given away, links included.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::{Answer, Body, parameter, text, typed};
use crate::task::WorkDir;

/// The most of a file that one read gives: 16 pages, as Mesos.
const MAX_READ_BYTES: u64 = 16 * 4096;

/// Answers `GET /files/<what>?<query>`. Blocks.
pub(super) fn handle(work: &WorkDir, what: &str, query: Option<&str>) -> Answer {
    let answer = match what {
        "read" => read(work, query),
        "browse" => browse(work, query),
        "download" => download(work, query),
        "debug" => Ok(super::json(&json!({}))),
        _ => Err(Refused(StatusCode::NOT_FOUND, String::new())),
    };
    answer.unwrap_or_else(|Refused(status, words)| text(status, words))
}

struct Refused(StatusCode, String);

fn bad(words: impl Into<String>) -> Refused {
    Refused(StatusCode::BAD_REQUEST, words.into())
}

/// The path asked for, and where it is.
fn resolve(work: &WorkDir, query: Option<&str>) -> Result<(String, PathBuf), Refused> {
    let asked = parameter(query, "path").filter(|path| !path.is_empty());
    let asked = asked.ok_or_else(|| bad("Expecting 'path=value' in query.\n"))?;
    let not_found = || Refused(StatusCode::NOT_FOUND, String::new());
    let root = work.path().canonicalize().map_err(|_| not_found())?;
    let path = Path::new(&asked);
    let candidate = if path.starts_with(work.path()) || path.starts_with(&root) {
        path.to_path_buf()
    } else {
        latest(work, path).ok_or_else(not_found)?
    };
    let real = candidate.canonicalize().map_err(|_| not_found())?;
    if real.starts_with(&root) {
        return Ok((asked, real));
    }
    Err(bad(format!("Resolved path '{}' is inaccessible.\n", real.display())))
}

/// A virtual path, below the newest of the agent's ids that has it.
fn latest(work: &WorkDir, path: &Path) -> Option<PathBuf> {
    let relative = path.strip_prefix("/").ok()?;
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    let mut parts = relative.components();
    if !plain || parts.next()?.as_os_str() != "frameworks" {
        return None;
    }
    let found = fs::read_dir(work.path().join("slaves")).ok()?.flatten().filter_map(|slave| {
        let file = slave.path().join(relative);
        let changed = fs::metadata(&file).and_then(|meta| meta.modified()).ok()?;
        Some((changed, file))
    });
    found.max().map(|(_, file)| file)
}

/// A number of the query; -1 and absence are `None`.
fn number(query: Option<&str>, name: &str) -> Result<Option<u64>, Refused> {
    let Some(given) = parameter(query, name) else { return Ok(None) };
    match given.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(value) => u64::try_from(value)
            .map(Some)
            .map_err(|_| bad(format!("Negative {name} provided: {value}.\n"))),
        Err(error) => Err(bad(format!("Failed to parse {name}: {error}.\n"))),
    }
}

fn read(work: &WorkDir, query: Option<&str>) -> Result<Answer, Refused> {
    let offset = number(query, "offset")?;
    let length = number(query, "length")?;
    let (_, path) = resolve(work, query)?;
    let failed = |error: std::io::Error| {
        let words = format!("Failed to open file at '{}': {error}.\n", path.display());
        Refused(StatusCode::INTERNAL_SERVER_ERROR, words)
    };
    let mut file = File::open(&path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if meta.is_dir() {
        return Err(bad("Cannot read a directory.\n"));
    }
    // Without an offset, the question is how long it is.
    let length = offset.map_or(0, |_| length.unwrap_or(MAX_READ_BYTES).min(MAX_READ_BYTES));
    let mut data = Vec::new();
    if let Some(offset) = offset {
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        file.take(length).read_to_end(&mut data).map_err(failed)?;
    }
    Ok(typed(StatusCode::OK, "application/json", piece(offset.unwrap_or(meta.len()), &data)))
}

/// The answer to a read. Mesos writes all bytes but control characters, quotes and backslashes as
/// they are, so it need not be UTF-8.
fn piece(offset: u64, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 40);
    out.extend_from_slice(b"{\"data\":\"");
    for &byte in data {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'/' => out.extend_from_slice(b"\\/"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 | 0x7f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            other => out.push(other),
        }
    }
    out.extend_from_slice(format!("\",\"offset\":{offset}}}").as_bytes());
    out
}

fn browse(work: &WorkDir, query: Option<&str>) -> Result<Answer, Refused> {
    let (asked, path) = resolve(work, query)?;
    let asked = asked.trim_end_matches('/');
    let mut entries: Vec<_> = fs::read_dir(path).into_iter().flatten().flatten().collect();
    entries.sort_unstable_by_key(|entry| entry.file_name());
    let listing = entries.iter().filter_map(|entry| {
        // What a link leads to, as stat gives it.
        let meta = fs::metadata(entry.path()).ok()?;
        Some(json!({
            "path": format!("{asked}/{}", entry.file_name().to_string_lossy()),
            "nlink": meta.nlink(),
            "size": meta.size(),
            "mtime": meta.mtime(),
            "mode": mode(&meta),
            "uid": user(meta.uid()),
            "gid": user(meta.gid()),
        }))
    });
    Ok(super::json(&Value::Array(listing.collect())))
}

/// `drwxr-xr-x`
fn mode(meta: &fs::Metadata) -> String {
    let kind = if meta.is_dir() { 'd' } else { '-' };
    let bit = |shift: u32, letter: char| {
        if meta.mode() >> shift & 1 == 1 { letter } else { '-' }
    };
    let letters = ['r', 'w', 'x'].into_iter().cycle();
    std::iter::once(kind).chain((0..9).rev().zip(letters).map(|(s, l)| bit(s, l))).collect()
}

/// Names are looked up for the superuser only, whose name is the same everywhere.
fn user(id: u32) -> String {
    if id == 0 { "root".to_owned() } else { id.to_string() }
}

fn download(work: &WorkDir, query: Option<&str>) -> Result<Answer, Refused> {
    let (_, path) = resolve(work, query)?;
    if path.is_dir() {
        return Err(bad("Cannot read a directory.\n"));
    }
    let failed = |error: std::io::Error| {
        Refused(StatusCode::INTERNAL_SERVER_ERROR, format!("{}: {error}\n", path.display()))
    };
    let content: Bytes = fs::read(&path).map_err(failed)?.into();
    let length = content.len();
    let mut answer: Response<Body> = Response::new(Full::new(content).boxed_unsync());
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if let Ok(value) = format!("attachment; filename={name}").parse() {
        headers.insert(CONTENT_DISPOSITION, value);
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_escaped_as_mesos_does() {
        let text = piece(7, b"a\n\"\\\x01\xc3\xa9\xff");
        assert_eq!(text, b"{\"data\":\"a\\n\\\"\\\\\\u0001\xc3\xa9\xff\",\"offset\":7}");
    }

    #[test]
    fn only_the_work_directory_is_given_away() {
        let directory = tempfile::tempdir().unwrap();
        let work = WorkDir::new(directory.path(), 0);
        let run = work.run("a1", "f", "t", "c").unwrap();
        fs::create_dir_all(&run).unwrap();
        fs::write(run.join("stdout"), "hello").unwrap();
        std::os::unix::fs::symlink("c", run.with_file_name("latest")).unwrap();
        fs::write(directory.path().join("secret"), "no").unwrap();
        std::os::unix::fs::symlink(directory.path().join("secret"), run.join("leak")).unwrap();
        let status = |what: &str, path: &str| {
            handle(&work, what, Some(&format!("path={path}&offset=0"))).status().as_u16()
        };
        let latest = "/frameworks/f/executors/t/runs/latest";
        assert_eq!(status("read", &format!("{latest}/stdout")), 200);
        assert_eq!(status("read", &format!("{}/stdout", run.display())), 200);
        assert_eq!(status("download", &format!("{latest}/stdout")), 200);
        assert_eq!(status("browse", latest), 200);
        assert_eq!(status("read", latest), 400);
        assert_eq!(status("read", &format!("{latest}/leak")), 400);
        assert_eq!(status("read", &format!("{latest}/none")), 404);
        assert_eq!(status("read", "/frameworks/../../../secret"), 404);
        let up = format!("{}/../../../secret", work.path().display());
        assert!([400, 404].contains(&status("read", &up)));
        assert_eq!(status("read", "/etc/passwd"), 404);
        assert_eq!(handle(&work, "read", None).status(), 400);
    }
}
