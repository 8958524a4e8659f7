//! Checks the volumes of a configuration.

use super::Checker;
use crate::job::{ContainerKind, JobConfig, JobKind};
use crate::{OnDelete, VolumeConfig, limits};
use std::collections::BTreeSet;

/// What Mesos's fetcher takes; an absolute path is one on the agent.
const SCHEMES: [&str; 7] = ["http", "https", "ftp", "ftps", "hdfs", "s3", "file"];

impl JobConfig {
    pub(super) fn check_volumes(&self, c: &mut Checker) {
        c.at_most("volumes", self.volumes.len(), limits::MAX_VOLUMES);
        let count = self.volumes.len();
        let service = self.kind == JobKind::Service;
        c.require(service || count == 0, "volumes", count, "none for a batch job");
        let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
        for (i, volume) in self.volumes.iter().enumerate() {
            let field = |name: &str| format!("volumes[{i}].{name}");
            let name = &volume.name;
            let ok = (1..=63).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            c.require(ok, field("name"), name, "1 to 63 of a-z 0-9 -");
            c.require(names.insert(name), field("name"), name, "each name once");
            let path = volume.container_path.trim_end_matches('/');
            self.check_path(c, field("containerPath"), path);
            c.require(paths.insert(path), field("containerPath"), path, "each path once");
            let max = limits::MAX_SCALAR as u64;
            let size = volume.size_mb;
            c.require((1..=max).contains(&size), field("sizeMb"), size, format!("1 to {max}"));
            check_kind(c, &field, volume);
        }
        for (i, volume) in self.volumes.iter().enumerate() {
            let path = volume.container_path.trim_end_matches('/');
            let inside = |other: &&&str| {
                path.starts_with(**other) && path != **other && path[other.len()..].starts_with('/')
            };
            let within = paths.iter().find(inside);
            c.require(
                within.is_none(),
                format!("volumes[{i}].containerPath"),
                path,
                "a path that is not inside another volume's",
            );
        }
    }

    fn check_path(&self, c: &mut Checker, field: String, path: &str) {
        let clean = !path.is_empty()
            && !path.contains(char::is_control)
            && !path.contains(':')
            && path.trim_start_matches('/').split('/').all(|part| !matches!(part, "" | "." | ".."));
        c.require(clean, &field, path, "a path without empty parts, `.`, `..` or `:`");
        let image = self.container.as_ref().is_some_and(|container| {
            container.kind == ContainerKind::Mesos && !container.image.is_empty()
        });
        c.require(
            image || !path.starts_with('/'),
            &field,
            path,
            "a path below the sandbox; an absolute one with an image and the MESOS containerizer only",
        );
        // Files that Mesos itself puts there.
        let taken = ["stdout", "stderr"].contains(&path);
        c.require(!taken, &field, path, "neither stdout nor stderr");
    }
}

fn check_kind(c: &mut Checker, field: &dyn Fn(&str) -> String, volume: &VolumeConfig) {
    let secs = volume.give_up_after_secs;
    c.require(
        secs <= limits::MAX_SECS,
        field("giveUpAfterSecs"),
        secs,
        format!("0 to {}", limits::MAX_SECS),
    );
    let Some(content) = &volume.content else { return };
    c.require(
        volume.on_delete == OnDelete::Retain,
        field("onDelete"),
        volume.on_delete,
        "not set with a url: a remote volume never outlives its use",
    );
    c.require(secs == 0, field("giveUpAfterSecs"), secs, "not set with a url");
    let url = content.url.as_str();
    let known = url
        .split_once("://")
        .is_some_and(|(scheme, rest)| SCHEMES.contains(&scheme) && !rest.is_empty());
    c.require(
        known || url.starts_with('/'),
        field("url"),
        url,
        format!("an absolute path, or a URL with {}", SCHEMES.join(", ")),
    );
    c.no_control(field("url"), url);
    c.require(!url.contains(char::is_whitespace), field("url"), url, "no white space");
    let digest = content.sha256.as_str();
    let ok = digest.is_empty()
        || (digest.len() == 64 && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
    c.require(ok, field("sha256"), digest, "64 hexadecimal digits");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Content;

    fn config(volumes: Vec<VolumeConfig>) -> JobConfig {
        let mut config = JobConfig { instance_count: 1, volumes, ..JobConfig::default() };
        config.resource.cpus_limit = 1.0;
        config.resource.mem_limit_mb = 32.0;
        config.command.value = "true".into();
        config
    }

    fn volume(name: &str, path: &str) -> VolumeConfig {
        let (name, container_path) = (name.to_owned(), path.to_owned());
        VolumeConfig { name, container_path, size_mb: 8, ..VolumeConfig::default() }
    }

    fn remote(url: &str, sha256: &str) -> VolumeConfig {
        let content = Content { url: url.into(), sha256: sha256.into(), extract: false };
        VolumeConfig { content: Some(content), ..volume("r", "r") }
    }

    #[test]
    fn good_ones_pass() {
        let digest = "0123456789abcdef".repeat(4);
        let all = vec![volume("a", "a"), volume("b-2", "b/c/"), remote("https://r/x", &digest)];
        assert_eq!(config(all).validate(), Ok(()));
        assert_eq!(config(vec![remote("/srv/data", "")]).validate(), Ok(()));
    }

    #[test]
    fn bad_ones_are_named() {
        let retained = VolumeConfig { on_delete: OnDelete::Delete, ..remote("http://r/x", "") };
        let cases = [
            (vec![volume("A", "a")], "volumes[0].name"),
            (vec![volume("a", "a"), volume("a", "b")], "volumes[1].name"),
            (vec![volume("a", "a"), volume("b", "a/")], "volumes[1].containerPath"),
            (vec![volume("a", "a/b"), volume("b", "a")], "volumes[0].containerPath"),
            (vec![volume("a", "../a")], "volumes[0].containerPath"),
            (vec![volume("a", "/a")], "volumes[0].containerPath"),
            (vec![volume("a", "")], "volumes[0].containerPath"),
            (vec![volume("a", "stdout")], "volumes[0].containerPath"),
            (vec![VolumeConfig { size_mb: 0, ..volume("a", "a") }], "volumes[0].sizeMb"),
            (vec![remote("gopher://r/x", "")], "volumes[0].url"),
            (vec![remote("http://r/x y", "")], "volumes[0].url"),
            (vec![remote("http://r/x", "abc")], "volumes[0].sha256"),
            (vec![retained], "volumes[0].onDelete"),
        ];
        for (volumes, field) in cases {
            let errors = config(volumes.clone()).validate().expect_err(field);
            assert_eq!(errors[0].field, field, "{volumes:?}");
        }
        let mut batch = config(vec![volume("a", "a")]);
        batch.kind = JobKind::Batch;
        batch.restart_policy.max_failures = Some(1);
        assert_eq!(batch.validate().expect_err("batch")[0].field, "volumes");
    }
}
