//! The parts of a configuration that are Mesos's own messages: labels, environment, command.

use std::collections::BTreeMap;

use peloton_model::job::{Command, Uri};
use peloton_proto::mesos::v1;
use v1::environment::variable::Type;

use super::Errors;
use crate::ApiError;

/// Labels by key; a label without a value has the empty one.
///
/// # Errors
/// `invalid-argument` where a key is there twice.
pub fn labels_from_proto(labels: Option<v1::Labels>) -> Result<BTreeMap<String, String>, ApiError> {
    let mut errors = Errors::default();
    let out = self::labels(labels, &mut errors);
    if errors.0.is_empty() { Ok(out) } else { Err(ApiError::fields(&errors.0)) }
}

pub(super) fn labels(labels: Option<v1::Labels>, errors: &mut Errors) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for (i, label) in labels.unwrap_or_default().labels.into_iter().enumerate() {
        if out.contains_key(&label.key) {
            errors.add(format!("labels.labels[{i}].key"), &label.key, "each key once");
        }
        out.insert(label.key, label.value.unwrap_or_default());
    }
    out
}

pub(super) fn labels_to_proto(labels: &BTreeMap<String, String>) -> Option<v1::Labels> {
    let labels = labels
        .iter()
        .map(|(key, value)| v1::Label { key: key.clone(), value: Some(value.clone()) })
        .collect::<Vec<_>>();
    (!labels.is_empty()).then_some(v1::Labels { labels })
}

pub(super) fn environment(
    field: &str,
    environment: Option<v1::Environment>,
    errors: &mut Errors,
) -> Vec<(String, String)> {
    let variables = environment.unwrap_or_default().variables.into_iter().enumerate();
    variables
        .map(|(i, variable)| {
            let is_value = variable.r#type.is_none_or(|kind| kind == Type::Value as i32);
            if !is_value || variable.secret.is_some() {
                errors.add(
                    format!("{field}.variables[{i}].type"),
                    &variable.name,
                    "variables with a value, not with a secret",
                );
            }
            (variable.name, variable.value.unwrap_or_default())
        })
        .collect()
}

pub(super) fn environment_to_proto(variables: &[(String, String)]) -> Option<v1::Environment> {
    let variables = variables
        .iter()
        .map(|(name, value)| v1::environment::Variable {
            name: name.clone(),
            value: Some(value.clone()),
            r#type: None,
            secret: None,
        })
        .collect::<Vec<_>>();
    (!variables.is_empty()).then_some(v1::Environment { variables })
}

/// What is absent has Mesos's defaults: a shell command, and archives are extracted.
pub(super) fn command(command: v1::CommandInfo, errors: &mut Errors) -> Command {
    Command {
        uris: command.uris.into_iter().map(uri).collect(),
        environment: environment("command.environment", command.environment, errors),
        shell: command.shell.unwrap_or(true),
        value: command.value.unwrap_or_default(),
        arguments: command.arguments,
        user: command.user.unwrap_or_default(),
    }
}

fn uri(uri: v1::command_info::Uri) -> Uri {
    Uri {
        value: uri.value,
        executable: uri.executable.unwrap_or(false),
        extract: uri.extract.unwrap_or(true),
        cache: uri.cache.unwrap_or(false),
        output_file: uri.output_file.unwrap_or_default(),
    }
}

pub(super) fn command_to_proto(command: &Command) -> v1::CommandInfo {
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    v1::CommandInfo {
        uris: command
            .uris
            .iter()
            .map(|uri| v1::command_info::Uri {
                value: uri.value.clone(),
                executable: Some(uri.executable),
                extract: Some(uri.extract),
                cache: Some(uri.cache),
                output_file: text(&uri.output_file),
            })
            .collect(),
        environment: environment_to_proto(&command.environment),
        value: text(&command.value),
        user: text(&command.user),
        shell: Some(command.shell),
        arguments: command.arguments.clone(),
    }
}
