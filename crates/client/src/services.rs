//! The services: a table each.

use peloton_proto::peloton::{cluster, job, task, upgrade, volume};
use prost::Name;

use crate::{Client, Error};

/// How a call may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Safety {
    /// Changes nothing: whenever there is no answer.
    Read,
    /// Whenever there is no answer, but under the same id, by which the masters make it once.
    Change,
}

/// A method of a service, as this client calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodInfo {
    /// The path of gRPC, such as `/peloton.job.JobManager/Get`.
    pub path: &'static str,
    /// How it may be sent again.
    pub safety: Safety,
    /// The full name of the request's message.
    pub input: String,
    /// The full name of the answer's message.
    pub output: String,
}

/// Every method of every service that this client can call.
#[must_use]
pub fn all_methods() -> Vec<MethodInfo> {
    [
        JobManager::methods(),
        TaskManager::methods(),
        UpgradeManager::methods(),
        VolumeManager::methods(),
        ClusterManager::methods(),
    ]
    .concat()
}

macro_rules! service {
    (
        $(#[$doc:meta])* $accessor:ident: $name:ident {
            $($(#[$method_doc:meta])* $method:ident($request:ty) -> $kind:ident $response:ty,
                $safety:ident, $path:literal;)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name<'a> {
            client: &'a Client,
        }

        impl Client {
            $(#[$doc])*
            #[must_use]
            pub fn $accessor(&self) -> $name<'_> {
                $name { client: self }
            }
        }

        impl $name<'_> {
            /// The methods.
            fn methods() -> Vec<MethodInfo> {
                vec![$(MethodInfo {
                    path: $path,
                    safety: Safety::$safety,
                    input: <$request>::full_name(),
                    output: <$response>::full_name(),
                },)*]
            }

            $(service!(@method $(#[$method_doc])* $method($request) -> $kind $response, $safety, $path);)*
        }
    };
    (@method $(#[$doc:meta])* $method:ident($request:ty) -> one $response:ty, $safety:ident, $path:literal) => {
        $(#[$doc])*
        ///
        /// # Errors
        /// If no master answered, or one refused.
        pub async fn $method(&self, request: $request) -> Result<$response, Error> {
            self.client.unary($path, Safety::$safety, request).await
        }
    };
    (@method $(#[$doc:meta])* $method:ident($request:ty) -> many $response:ty, $safety:ident, $path:literal) => {
        $(#[$doc])*
        /// The time-out holds for the start of the stream only.
        ///
        /// # Errors
        /// If no master answered, or one refused.
        pub async fn $method(&self, request: $request) -> Result<tonic::Streaming<$response>, Error> {
            self.client.server_streaming($path, Safety::$safety, request).await
        }
    };
}

service! {
    /// Manages jobs.
    jobs: JobManager {
        /// Creates a job.
        create(job::CreateRequest) -> one job::CreateResponse, Change, "/peloton.job.JobManager/Create";
        /// Reads a job's configuration.
        get(job::GetRequest) -> one job::GetResponse, Read, "/peloton.job.JobManager/Get";
        /// Finds jobs by their labels, a page at a time.
        query(job::QueryRequest) -> one job::QueryResponse, Read, "/peloton.job.JobManager/Query";
        /// Deletes a job.
        delete(job::DeleteRequest) -> one job::DeleteResponse, Change, "/peloton.job.JobManager/Delete";
        /// Changes what needs no upgrade.
        update(job::UpdateRequest) -> one job::UpdateResponse, Change, "/peloton.job.JobManager/Update";
        /// Starts all instances that do not run.
        start(job::StartRequest) -> one job::StartResponse, Change, "/peloton.job.JobManager/Start";
        /// Ends all instances, and keeps them from starting again.
        stop(job::StopRequest) -> one job::StopResponse, Change, "/peloton.job.JobManager/Stop";
        /// Ends all instances and starts them again.
        restart(job::RestartRequest) -> one job::RestartResponse, Change, "/peloton.job.JobManager/Restart";
        /// Reads how a job is doing.
        get_status(job::GetStatusRequest) -> one job::GetStatusResponse, Read, "/peloton.job.JobManager/GetStatus";
        /// Follows how a job is doing.
        watch(job::WatchRequest) -> many job::WatchResponse, Read, "/peloton.job.JobManager/Watch";
        /// Reads the configuration versions that are kept.
        get_versions(job::GetVersionsRequest) -> one job::GetVersionsResponse, Read, "/peloton.job.JobManager/GetVersions";
    }
}

service! {
    /// Manages the instances of jobs.
    tasks: TaskManager {
        /// Reads an instance.
        get(task::GetRequest) -> one task::GetResponse, Read, "/peloton.task.TaskManager/Get";
        /// Reads instances of a job, a page at a time.
        list(task::ListRequest) -> one task::ListResponse, Read, "/peloton.task.TaskManager/List";
        /// Starts instances that do not run.
        start(task::StartRequest) -> one task::StartResponse, Change, "/peloton.task.TaskManager/Start";
        /// Ends instances, and keeps them from starting again.
        stop(task::StopRequest) -> one task::StopResponse, Change, "/peloton.task.TaskManager/Stop";
        /// Ends instances and starts them again.
        restart(task::RestartRequest) -> one task::RestartResponse, Change, "/peloton.task.TaskManager/Restart";
        /// Reads the runs of an instance.
        get_history(task::GetHistoryRequest) -> one task::GetHistoryResponse, Read, "/peloton.task.TaskManager/GetHistory";
    }
}

service! {
    /// Manages upgrades.
    upgrades: UpgradeManager {
        /// Starts an upgrade, or says what it would do.
        create(upgrade::CreateRequest) -> one upgrade::CreateResponse, Change, "/peloton.upgrade.UpgradeManager/Create";
        /// Reads an upgrade.
        get(upgrade::GetRequest) -> one upgrade::GetResponse, Read, "/peloton.upgrade.UpgradeManager/Get";
        /// Reads upgrades, the newest first, a page at a time.
        list(upgrade::ListRequest) -> one upgrade::ListResponse, Read, "/peloton.upgrade.UpgradeManager/List";
        /// Lets an upgrade wait.
        pause(upgrade::PauseRequest) -> one upgrade::PauseResponse, Change, "/peloton.upgrade.UpgradeManager/Pause";
        /// Lets a paused upgrade go on.
        resume(upgrade::ResumeRequest) -> one upgrade::ResumeResponse, Change, "/peloton.upgrade.UpgradeManager/Resume";
        /// Goes back to the version before.
        rollback(upgrade::RollbackRequest) -> one upgrade::RollbackResponse, Change, "/peloton.upgrade.UpgradeManager/Rollback";
        /// Ends an upgrade where it is.
        abort(upgrade::AbortRequest) -> one upgrade::AbortResponse, Change, "/peloton.upgrade.UpgradeManager/Abort";
        /// Reads what happened in an upgrade, a page at a time.
        get_events(upgrade::GetEventsRequest) -> one upgrade::GetEventsResponse, Read, "/peloton.upgrade.UpgradeManager/GetEvents";
    }
}

service! {
    /// Manages volumes.
    volumes: VolumeManager {
        /// Reads volumes, a page at a time.
        list(volume::ListRequest) -> one volume::ListResponse, Read, "/peloton.volume.VolumeManager/List";
        /// Reads a volume.
        get(volume::GetRequest) -> one volume::GetResponse, Read, "/peloton.volume.VolumeManager/Get";
        /// Destroys a volume.
        delete(volume::DeleteRequest) -> one volume::DeleteResponse, Change, "/peloton.volume.VolumeManager/Delete";
        /// Gives up the slot of an instance that waits for it.
        release(volume::ReleaseRequest) -> one volume::ReleaseResponse, Change, "/peloton.volume.VolumeManager/Release";
        /// Lets an instance go on with retained volumes.
        adopt(volume::AdoptRequest) -> one volume::AdoptResponse, Change, "/peloton.volume.VolumeManager/Adopt";
    }
}

service! {
    /// Tells of the cluster as a whole.
    cluster: ClusterManager {
        /// Reads what was decided when the cluster was created.
        get(cluster::GetRequest) -> one cluster::GetResponse, Read, "/peloton.cluster.ClusterManager/Get";
        /// Reads how the cluster is doing.
        get_status(cluster::GetStatusRequest) -> one cluster::GetStatusResponse, Read, "/peloton.cluster.ClusterManager/GetStatus";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_follow_the_proto_files() {
        let ours = all_methods();
        for method in &ours {
            let theirs = peloton_proto::descriptors::methods();
            let found = theirs.iter().find(|m| m.grpc_path() == method.path);
            let found = found.unwrap_or_else(|| panic!("{} is in no .proto file", method.path));
            assert_eq!((&found.input, &found.output), (&method.input, &method.output));
        }
        for service in [
            "job.JobManager",
            "task.TaskManager",
            "upgrade.UpgradeManager",
            "volume.VolumeManager",
            "cluster.ClusterManager",
        ] {
            for method in peloton_proto::descriptors::methods() {
                let path = method.grpc_path();
                let there = !path.contains(service) || ours.iter().any(|m| m.path == path);
                assert!(there, "{path} has no method in this client");
            }
        }
    }

    #[test]
    fn what_is_named_like_a_read_is_one_and_nothing_else_is() {
        for method in all_methods() {
            let name = method.path.rsplit('/').next().unwrap();
            let read = ["Get", "List", "Query", "Watch"].iter().any(|verb| name.starts_with(verb));
            assert_eq!(method.safety == Safety::Read, read, "{}", method.path);
        }
    }
}
