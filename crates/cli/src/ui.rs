//! Output: tables for people, JSON and YAML for programs, news on standard error.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{Cell, Color, Table, presets};
use peloton_proto::json::{self, JsonMessage, JsonOptions};
use serde::Serialize;

use crate::args::{Format, Global};
use crate::exit::{Exit, Failure};
use crate::full::Full;

/// Where and how output is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ui {
    format: Format,
    color: bool,
}

/// A document and, of a stale answer, the revision of the store that it is of.
#[derive(Debug, Serialize)]
struct AsOf<'a, T> {
    #[serde(flatten)]
    document: &'a T,
    #[serde(rename = "asOfRevision", skip_serializing_if = "Option::is_none")]
    as_of_revision: Option<i64>,
}

impl Ui {
    pub(crate) fn new(global: &Global) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let color = !global.no_color && !no_color && io::stdout().is_terminal();
        Self { format: global.output, color }
    }

    /// Whether a person reads the output, and not a program.
    pub(crate) fn for_people(&self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }

    /// Whether there is room for more columns.
    pub(crate) fn is_wide(&self) -> bool {
        matches!(self.format, Format::Wide)
    }

    /// Writes what was asked for: `human` for people, `machine` for programs.
    pub(crate) fn show(
        &self,
        machine: &impl Serialize,
        human: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let wrong = |error: String| Failure::new(Exit::Failed, format!("can not write: {error}"));
        let text = match self.format {
            Format::Table | Format::Wide => human(),
            Format::Json => {
                serde_json::to_string_pretty(machine).map_err(|error| wrong(error.to_string()))?
            }
            Format::Yaml => {
                serde_saphyr::to_string(machine).map_err(|error| wrong(error.to_string()))?
            }
        };
        self.text(&text)
    }

    /// The same for an answer that may be stale: of that revision of the store, or the latest if it is 0.
    pub(crate) fn show_as_of(
        &self,
        revision: i64,
        document: &impl Serialize,
        human: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        if revision != 0 {
            self.note(&format!(
                "as of revision {revision} of the store; there may be later changes"
            ));
        }
        self.show(&AsOf { document, as_of_revision: (revision != 0).then_some(revision) }, human)
    }

    /// Writes text to standard output, with a newline at its end.
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        let newline = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        self.bytes(&[text.as_bytes(), newline.as_bytes()].concat())
    }

    /// Writes bytes to standard output.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::silent()),
            Err(error) => Err(Failure::new(Exit::Failed, format!("standard output: {error}"))),
        }
    }

    /// Tells something on standard error. That nobody listens changes nothing.
    pub(crate) fn note(&self, text: &str) {
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// A table without borders.
    pub(crate) fn table(&self, header: &[&str]) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(header);
        if self.color {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table
    }

    /// A cell that shows a state in its colour.
    pub(crate) fn state(&self, state: &str) -> Cell {
        let color = match state {
            "RUNNING" | "SUCCEEDED" | "SUBSCRIBED" | "healthy" | "yes" => Some(Color::Green),
            "FAILED" | "THROTTLED" | "DISCONNECTED" | "unhealthy" => Some(Color::Red),
            "-" | "KILLED" | "DELETED" => None,
            _ => Some(Color::Yellow),
        };
        let cell = Cell::new(state);
        match color {
            Some(color) if self.color => cell.fg(color),
            _ => cell,
        }
    }
}

/// A table as text, without the spaces that fill its lines.
pub(crate) fn lines(table: &Table) -> String {
    let text = table.to_string();
    let lines: Vec<_> = text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// `name: value` lines, the values below one another.
pub(crate) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 1;
    let line = |(name, value): &(&str, String)| format!("{:width$} {value}\n", format!("{name}:"));
    pairs.iter().map(line).collect()
}

/// A message as programs get it.
pub(crate) fn full<M>(message: &M) -> Result<Full, Failure>
where
    M: prost::Message + prost::Name,
{
    Full::new(message)
        .map_err(|error| Failure::new(Exit::Failed, format!("can not write: {error}")))
}

/// A job configuration as job files have it: the API's JSON, with the names of enums.
pub(crate) fn message<M>(message: &M) -> Result<JsonMessage, Failure>
where
    M: prost::Message + prost::Name,
{
    json::view(message, JsonOptions { enum_names: true, pretty: false })
        .map_err(|error| Failure::new(Exit::Failed, format!("can not write: {error}")))
}
