//! Containers.

use pb::container_config::Type;
use pb::docker_config::Network;
use pb::volume_mount::Mode;
use peloton_model::job::{Container, ContainerKind, DockerOptions, Mount, PortMapping};
use peloton_proto::peloton::job as pb;

use super::{Errors, mesos};

pub(super) fn container(container: pb::ContainerConfig, errors: &mut Errors) -> Container {
    let names = "0 (MESOS) or 1 (DOCKER)";
    let kind = match errors.enumeration("container.type", container.r#type, names) {
        Type::Mesos => ContainerKind::Mesos,
        Type::Docker => ContainerKind::Docker,
    };
    if kind == ContainerKind::Mesos && container.docker.is_some() {
        errors.add("container.docker", "MESOS", "given with type DOCKER only");
    }
    let field = "container.environment";
    Container {
        kind,
        image: container.image,
        environment: mesos::environment(field, container.environment, errors),
        mounts: container
            .mounts
            .into_iter()
            .enumerate()
            .map(|(i, volume)| mount(i, volume, errors))
            .collect(),
        docker: container.docker.map(|d| docker(d, errors)).unwrap_or_default(),
    }
}

pub(super) fn container_to_proto(container: &Container) -> pb::ContainerConfig {
    let kind = match container.kind {
        ContainerKind::Mesos => Type::Mesos,
        ContainerKind::Docker => Type::Docker,
    };
    let has_options = container.docker != DockerOptions::default();
    pb::ContainerConfig {
        r#type: kind.into(),
        image: container.image.clone(),
        environment: mesos::environment_to_proto(&container.environment),
        mounts: container.mounts.iter().map(mount_to_proto).collect(),
        docker: has_options.then(|| docker_to_proto(&container.docker)),
    }
}

fn mount(i: usize, volume: pb::VolumeMount, errors: &mut Errors) -> Mount {
    let field = format!("container.mounts[{i}].mode");
    let mode: Mode = errors.enumeration(&field, volume.mode, "0 (READONLY) or 1 (READWRITE)");
    Mount {
        src_volume: volume.src_volume,
        dst_volume: volume.dst_volume,
        read_write: mode == Mode::Readwrite,
    }
}

fn mount_to_proto(mount: &Mount) -> pb::VolumeMount {
    let mode = if mount.read_write { Mode::Readwrite } else { Mode::Readonly };
    pb::VolumeMount {
        src_volume: mount.src_volume.clone(),
        dst_volume: mount.dst_volume.clone(),
        mode: mode.into(),
    }
}

/// The model writes the default network, HOST, as an empty text.
fn docker(docker: pb::DockerConfig, errors: &mut Errors) -> DockerOptions {
    let names = "0 (HOST), 1 (BRIDGE) or 2 (NONE)";
    let network = match errors.enumeration("container.docker.network", docker.network, names) {
        Network::Host => "",
        Network::Bridge => "BRIDGE",
        Network::None => "NONE",
    };
    DockerOptions {
        network: network.to_owned(),
        privileged: docker.privileged,
        force_pull_image: docker.force_pull_image,
        parameters: docker.parameters.into_iter().map(|p| (p.key, p.value)).collect(),
        port_mappings: docker
            .port_mappings
            .into_iter()
            .map(|mapping| PortMapping {
                port_name: mapping.port_name,
                container_port: mapping.container_port,
                protocol: mapping.protocol,
            })
            .collect(),
    }
}

fn docker_to_proto(docker: &DockerOptions) -> pb::DockerConfig {
    let network = match docker.network.as_str() {
        "BRIDGE" => Network::Bridge,
        "NONE" => Network::None,
        _ => Network::Host,
    };
    pb::DockerConfig {
        network: network.into(),
        privileged: docker.privileged,
        force_pull_image: docker.force_pull_image,
        parameters: docker
            .parameters
            .iter()
            .map(|(key, value)| pb::DockerParameter { key: key.clone(), value: value.clone() })
            .collect(),
        port_mappings: docker
            .port_mappings
            .iter()
            .map(|mapping| pb::DockerPortMapping {
                port_name: mapping.port_name.clone(),
                container_port: mapping.container_port,
                protocol: mapping.protocol.clone(),
            })
            .collect(),
    }
}
