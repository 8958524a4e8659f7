//! Job files: YAML (of which JSON is a part) with the API's field names, in any spelling that the API reads.

use std::io::Read as _;
use std::path::Path;

use peloton_model::JobId;
use peloton_proto::json;
use peloton_proto::peloton::job::JobConfig;
use prost::Name as _;
use serde_json::Value;

use crate::args::FileArgs;
use crate::exit::{Exit, Failure};
use crate::suggest;
use crate::ui::Ui;

/// The largest job file: many times what a master accepts, and nothing to fill the memory with.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// A job as a file describes it.
#[derive(Debug)]
pub(crate) struct JobFile {
    pub(crate) id: String,
    pub(crate) config: JobConfig,
}

/// Reads the jobs of a file; more than one where it has several documents. Warns of fields that jobs do not have.
pub(crate) fn read(args: &FileArgs, ui: &Ui) -> Result<Vec<JobFile>, Failure> {
    let (name, text) = text_of(&args.file)?;
    let documents = parse(&name, &text)?;
    if documents.is_empty() {
        return Err(Failure::usage(format!("{name}: there is no job in it")));
    }
    if documents.len() > 1 && args.job.is_some() {
        let count = documents.len();
        return Err(Failure::usage(format!("{name}: one id was given for {count} jobs"))
            .hint("give each document an `id:`, and none on the command line"));
    }
    let mut jobs: Vec<JobFile> = Vec::new();
    let mut unknown = Vec::new();
    for (index, document) in documents.iter().enumerate() {
        let place = match documents.len() {
            1 => name.clone(),
            _ => format!("{name}, document {}", index + 1),
        };
        let job = job(&place, document, args.job.as_deref(), &mut unknown)?;
        if jobs.iter().any(|other| other.id == job.id) {
            return Err(Failure::usage(format!("{place}: the id {:?} is there already", job.id)));
        }
        jobs.push(job);
    }
    report(&unknown, args.strict, ui)?;
    Ok(jobs)
}

/// The file's name for messages, and its text.
fn text_of(path: &Path) -> Result<(String, String), Failure> {
    let name = match path.to_str() {
        Some("-") => "standard input".to_owned(),
        _ => path.display().to_string(),
    };
    let fail = |problem: String| Failure::usage(format!("{name}: {problem}"));
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)
    } else {
        let file = std::fs::File::open(path);
        file.and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| fail(error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(fail(format!("larger than {} MB, so not a job file", MAX_FILE_BYTES >> 20)));
    }
    let text = String::from_utf8(bytes).map_err(|_| fail("not UTF-8 text".to_owned()))?;
    Ok((name, text))
}

/// The documents that have something in them.
fn parse(name: &str, text: &str) -> Result<Vec<Value>, Failure> {
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    let parsed: Result<Vec<Value>, _> =
        serde_saphyr::from_multiple_with_options(text.trim_start_matches('\u{feff}'), options);
    let documents = parsed.map_err(|error| {
        let place = match error.location() {
            Some(at) => format!("{name}:{}:{}", at.line(), at.column()),
            None => name.to_owned(),
        };
        let message = error.to_string();
        let message = message.lines().next().unwrap_or("not YAML");
        let message = message.strip_prefix("error: ").unwrap_or(message);
        // The place stands at the front already.
        let message = match message.strip_prefix("line ").and_then(|rest| rest.split_once(": ")) {
            Some((_, message)) => message,
            None => message,
        };
        let message = message.rsplit_once(" at line ").map_or(message, |(message, _)| message);
        // What a programmer could do about it helps nobody here.
        let message = message.split_once(", set ").map_or(message, |(message, _)| message);
        Failure::usage(format!("{place}: {message}"))
    })?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// Reads one document, and takes the id out of it.
fn job(
    place: &str,
    document: &Value,
    given: Option<&str>,
    unknown: &mut Vec<(String, String)>,
) -> Result<JobFile, Failure> {
    let Value::Object(fields) = document else {
        return Err(Failure::usage(format!(
            "{place}: expected the fields of a job, such as `instanceCount: 10`, got something else"
        )));
    };
    let mut fields = fields.clone();
    let key = fields.keys().find(|key| key.eq_ignore_ascii_case("id")).cloned();
    let own = key.and_then(|key| fields.remove(&key)).unwrap_or(Value::Null);
    let own = match &own {
        Value::Object(wrapped) => wrapped.get("value").cloned().unwrap_or(Value::Null),
        _ => own,
    };
    let id = match (given, own) {
        (Some(given), _) => given.to_owned(),
        (None, Value::String(id)) => id,
        (None, Value::Number(id)) => id.to_string(),
        (None, Value::Null) => {
            return Err(Failure::usage(format!("{place}: the job has no id"))
                .hint("add `id: NAME` to the file, or give it: peloton job create NAME -f FILE"));
        }
        (None, other) => {
            return Err(Failure::usage(format!("{place}: id: expected a text, got {other}")));
        }
    };
    let source = if given.is_some() { "the id on the command line" } else { place };
    JobId::new(&id).map_err(|error| Failure::usage(format!("{source}: {error}")))?;
    let decoded = json::from_json::<JobConfig>(&Value::Object(fields))
        .map_err(|error| Failure::usage(format!("{place}: {error}")))?;
    unknown.extend(decoded.unknown.into_iter().map(|path| (place.to_owned(), path)));
    Ok(JobFile { id, config: decoded.message })
}

/// Tells of fields that jobs do not have.
fn report(unknown: &[(String, String)], strict: bool, ui: &Ui) -> Result<(), Failure> {
    let texts = unknown.iter().map(|(place, path)| {
        let meant = match suggest::field(&JobConfig::full_name(), path) {
            Some(meant) => format!("; did you mean `{meant}`?"),
            None => String::new(),
        };
        format!("{place}: unknown field `{path}`{meant}")
    });
    if strict && !unknown.is_empty() {
        let texts: Vec<_> = texts.collect();
        return Err(Failure::new(Exit::Usage, texts.join("\nerror: ")));
    }
    texts.for_each(|text| ui.note(&format!("warning: {text} (ignored)")));
    Ok(())
}
