//! Logs: structured events of `tracing`, as text for people or JSON for programs.

use std::fs::File;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How events are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// A line of text for people.
    #[default]
    Text,
    /// A JSON object a line, fields at its top.
    Json,
}

/// Where events are written to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LogOutput {
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
    /// The end of a file, which is created if need be.
    File(PathBuf),
}

/// What is logged, how and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// Directives of a filter: `info`, `info,peloton_store=debug`.
    pub directives: String,
    /// How events are written.
    pub format: LogFormat,
    /// Where to.
    pub output: LogOutput,
    /// Whether events carry the name of their thread: where several masters share a process, it
    /// tells whose an event is.
    pub thread_names: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            directives: "info".into(),
            format: LogFormat::default(),
            output: LogOutput::default(),
            thread_names: false,
        }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The directives are not understood.
    #[error("log directives {directives:?}: {reason}; write for example info,peloton_store=debug")]
    Directives {
        /// The directives.
        directives: String,
        /// What is wrong with them.
        reason: String,
    },
    /// The log file cannot be written to.
    #[error("cannot write to the log {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something has set up logging in this process before.
    #[error("logging is set up already in this process")]
    AlreadySet,
}

/// Sets up logging for the whole process.
///
/// # Errors
///
/// When the directives are not understood, when the file cannot be opened, or when logging was set up
/// before; the earlier set-up then stays as it is.
pub fn init_logging(options: &LogOptions) -> Result<(), LoggingError> {
    let (writer, is_terminal) = match &options.output {
        LogOutput::Stdout => (BoxMakeWriter::new(std::io::stdout), std::io::stdout().is_terminal()),
        LogOutput::Stderr => (BoxMakeWriter::new(std::io::stderr), std::io::stderr().is_terminal()),
        LogOutput::File(path) => {
            let file = File::options().create(true).append(true).open(path);
            let file = file.map_err(|source| LoggingError::File { path: path.clone(), source })?;
            (BoxMakeWriter::new(file), false)
        }
    };
    let wants_colour = is_terminal && std::env::var_os("NO_COLOR").is_none();
    subscriber(options, wants_colour, writer)?.try_init().map_err(|_| LoggingError::AlreadySet)
}

fn subscriber<W>(
    options: &LogOptions,
    ansi: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, LoggingError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter =
        EnvFilter::try_new(&options.directives).map_err(|error| LoggingError::Directives {
            directives: options.directives.clone(),
            reason: error.to_string(),
        })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(ansi)
        .with_thread_names(options.thread_names)
        // A log that cannot be written must not end the program, and there is nowhere to say so.
        .log_internal_errors(false);
    Ok(match options.format {
        LogFormat::Text => Box::new(builder.finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(directives: &str, format: LogFormat) -> String {
        let buffer = Buffer::default();
        let options = LogOptions { directives: directives.into(), format, ..Default::default() };
        let writer = buffer.clone();
        let subscriber = subscriber(&options, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(shard = 3, "taken over");
            tracing::debug!("hidden");
        });
        String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn text_is_a_line_for_each_event() {
        let text = logged("info", LogFormat::Text);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("INFO") && text.contains("taken over shard=3"), "{text}");
    }

    #[test]
    fn json_has_the_fields_at_the_top() {
        let text = logged("info", LogFormat::Json);
        let event: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!((&event["level"], &event["shard"]), (&"INFO".into(), &3.into()));
        assert_eq!(event["message"], "taken over");
    }

    #[test]
    fn directives_choose_by_module() {
        assert_eq!(logged("off,peloton_telemetry=debug", LogFormat::Text).lines().count(), 2);
        assert_eq!(logged("debug,peloton_telemetry=warn", LogFormat::Text), "");
    }

    #[test]
    fn a_log_file_that_cannot_be_opened_is_named() {
        let output = LogOutput::File("/nonexistent/masters.log".into());
        let options = LogOptions { output, ..LogOptions::default() };
        let error = init_logging(&options).unwrap_err().to_string();
        assert_eq!(error, "cannot write to the log /nonexistent/masters.log");
    }

    #[test]
    fn wrong_directives_are_named() {
        let options = LogOptions { directives: "a=loud".into(), ..Default::default() };
        let error = init_logging(&options).unwrap_err().to_string();
        assert!(error.starts_with("log directives \"a=loud\": "), "{error}");
    }
}
