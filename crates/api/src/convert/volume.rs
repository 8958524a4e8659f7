//! Volumes of a job's configuration.

use peloton_model::{Content, OnDelete, VolumeConfig};
use peloton_proto::peloton::job as pb;

use super::Errors;

pub(super) fn volumes(all: Vec<pb::VolumeConfig>, errors: &mut Errors) -> Vec<VolumeConfig> {
    all.into_iter().enumerate().map(|(i, volume)| self::volume(i, volume, errors)).collect()
}

fn volume(i: usize, volume: pb::VolumeConfig, errors: &mut Errors) -> VolumeConfig {
    let field = |name: &str| format!("volumes[{i}].{name}");
    let names = "0 (RETAIN) or 1 (DELETE)";
    let on_delete = match errors.enumeration(&field("onDelete"), volume.on_delete, names) {
        pb::volume_config::OnDelete::Retain => OnDelete::Retain,
        pb::volume_config::OnDelete::Delete => OnDelete::Delete,
    };
    let remote = !volume.url.is_empty();
    if !remote {
        let allowed = "given with a url only: this volume is a persistent one";
        errors.unused(field("sha256"), &volume.sha256, allowed);
        if volume.extract {
            errors.add(field("extract"), true, allowed);
        }
    }
    let content = remote.then(|| Content {
        url: volume.url,
        sha256: volume.sha256.to_ascii_lowercase(),
        extract: volume.extract,
    });
    VolumeConfig {
        name: volume.name,
        container_path: volume.container_path,
        size_mb: volume.size_mb,
        on_delete,
        give_up_after_secs: volume.give_up_after_secs,
        content,
    }
}

pub(super) fn volume_to_proto(volume: &VolumeConfig) -> pb::VolumeConfig {
    let on_delete = match volume.on_delete {
        OnDelete::Retain => pb::volume_config::OnDelete::Retain,
        OnDelete::Delete => pb::volume_config::OnDelete::Delete,
    };
    let content = volume.content.clone().unwrap_or_default();
    pb::VolumeConfig {
        name: volume.name.clone(),
        container_path: volume.container_path.clone(),
        size_mb: volume.size_mb,
        on_delete: on_delete.into(),
        give_up_after_secs: volume.give_up_after_secs,
        url: content.url,
        sha256: content.sha256,
        extract: content.extract,
    }
}
