//! The numbers, names and types on the wire are promises: to the clients of 2016, and to Mesos. They are written down here a
//! second time, so that no edit of a `.proto` file changes one unnoticed.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;

use peloton_proto::descriptors::{self, method_by_procedure, methods, pool};
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind};

fn type_name(field: &FieldDescriptor) -> String {
    let single = |kind: Kind| match kind {
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(_) => "enum".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    };
    match field.kind() {
        Kind::Message(entry) if field.is_map() => format!(
            "map<{},{}>",
            single(entry.map_entry_key_field().kind()),
            single(entry.map_entry_value_field().kind())
        ),
        kind if field.is_list() => format!("{}*", single(kind)),
        kind => single(kind),
    }
}

/// Checks lines of the form `message: field number type, …` in `package`; more fields may be there.
fn assert_fields(package: &str, lines: &str) {
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (message, fields) = line.split_once(": ").unwrap();
        let message = pool().get_message_by_name(&format!("{package}.{message}")).expect(message);
        for field in fields.split(", ") {
            let [name, number, kind] = field.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{field}");
            };
            let found = message.get_field_by_name(name).unwrap_or_else(|| panic!("{line}: {name}"));
            assert_eq!(found.number().to_string(), number, "{line}: {name}");
            let is = type_name(&found);
            assert!(is == kind || is == format!("{package}.{kind}"), "{line}: {name}: {is}");
        }
    }
}

fn assert_values(name: &str, expected: &[(&str, i32)]) {
    let found = pool().get_enum_by_name(name).expect(name);
    for (value, number) in expected {
        let is = found.get_value_by_name(value).map(|v| v.number());
        assert_eq!(is, Some(*number), "{name}.{value}");
    }
    assert_eq!(found.values().len(), expected.len(), "{name}");
}

#[test]
fn jobs_have_the_numbers_of_2016() {
    assert_fields(
        "peloton",
        "changelog.ChangeLog: version 1 int64, createdAt 2 int64, updatedAt 3 int64, updatedBy 4 string
         job.CreateRequest: id 1 peloton.job.JobID, config 2 peloton.job.JobConfig
         job.CreateResponse: result 1 peloton.job.JobID, alreadyExists 2 peloton.job.JobAlreadyExists
         job.GetRequest: id 1 peloton.job.JobID
         job.GetResponse: result 1 peloton.job.JobConfig
         job.QueryRequest: labels 1 mesos.v1.Labels
         job.QueryResponse: result 1 map<string,peloton.job.JobConfig>
         job.DeleteRequest: id 1 peloton.job.JobID",
    );
    assert_fields(
        "peloton.job",
        "JobID: value 1 string
         JobAlreadyExists: id 1 JobID, message 2 string
         ResourceConfig: cpusLimit 1 double, memLimitMb 2 double, diskLimitMb 3 double, fdLimit 4 uint32
         HealthCheckConfig: enabled 1 bool, initialIntervalSecs 2 uint32, intervalSecs 3 uint32
         HealthCheckConfig: maxConsecutiveFailures 4 uint32, timeoutSecs 5 uint32, shellCommand 6 string
         PortConfig: name 1 string, value 2 uint32, envName 3 string
         VolumeMount: srcVolume 1 string, dstVolume 2 string, mode 3 enum
         ContainerConfig: type 1 enum, image 2 string, environment 3 mesos.v1.Environment, mounts 4 peloton.job.VolumeMount*
         SlaConfig: priority 1 uint32, minimumInstanceCount 2 uint32, minimumInstancePercent 3 double, preemptible 4 bool
         JobConfig: changeLog 1 peloton.changelog.ChangeLog, name 2 string, owningTeam 3 string, ldapGroups 4 string*
         JobConfig: description 5 string, labels 6 mesos.v1.Labels, instanceCount 7 uint32, resource 8 ResourceConfig
         JobConfig: healthCheck 9 HealthCheckConfig, ports 10 peloton.job.PortConfig*, container 11 ContainerConfig
         JobConfig: sla 12 SlaConfig, command 13 mesos.v1.CommandInfo",
    );
    assert_values("peloton.job.VolumeMount.Mode", &[("READONLY", 0), ("READWRITE", 1)]);
    assert_values("peloton.job.ContainerConfig.Type", &[("MESOS", 0), ("DOCKER", 1)]);
}

#[test]
fn what_masters_and_clients_of_neighbouring_releases_agree_on() {
    assert_fields(
        "peloton.job",
        "GetRequest: stale 20 bool
         GetResponse: notFound 20 JobNotFound, asOfRevision 21 int64
         QueryRequest: limit 20 uint32, pageToken 21 string, withStatus 22 bool, stale 23 bool
         QueryResponse: nextPageToken 20 string, status 21 map<string,peloton.job.JobStatus>, asOfRevision 22 int64
         DeleteRequest: expectedVersion 20 uint64
         DeleteResponse: notFound 20 JobNotFound, conflict 21 VersionConflict
         UpdateRequest: id 1 JobID, config 2 JobConfig, expectedVersion 3 uint64
         VersionConflict: expected 1 uint64, actual 2 uint64, message 3 string
         StartRequest: id 1 JobID, expectedVersion 2 uint64
         StartResponse: notFound 1 JobNotFound, invalidState 2 JobInvalidState, conflict 3 VersionConflict
         StopRequest: id 1 JobID, expectedVersion 2 uint64
         StopResponse: notFound 1 JobNotFound, invalidState 2 JobInvalidState, conflict 3 VersionConflict
         RestartRequest: id 1 JobID, expectedVersion 2 uint64
         RestartResponse: notFound 1 JobNotFound, invalidState 2 JobInvalidState, conflict 3 VersionConflict
         GetStatusRequest: id 1 JobID, stale 2 bool
         GetStatusResponse: result 1 JobStatus, notFound 2 JobNotFound, asOfRevision 3 int64",
    );
    assert_fields(
        "peloton.task",
        "GetRequest: stale 20 bool
         GetResponse: asOfRevision 20 int64
         ListRequest: limit 20 uint32, pageToken 21 string, withoutConfig 22 bool, stale 23 bool
         ListResponse: nextPageToken 20 string, asOfRevision 21 int64
         GetHistoryRequest: jobId 1 peloton.job.JobID, instanceId 2 uint32, limit 3 uint32, stale 4 bool
         GetHistoryResponse: result 1 RunList, asOfRevision 4 int64",
    );
    assert_fields(
        "peloton.cluster",
        "Master: id 1 string, address 2 string, version 3 string, startedAt 4 int64, answering 5 bool
         Master: accepting 6 bool, notAccepting 7 string, leaseLeftMs 8 uint64, schemaVersion 9 uint64
         Shard: number 1 uint32, owner 2 string, ownedSince 3 int64, frameworkId 4 string, role 5 string
         Shard: connection 6 enum, message 7 string, ownerAddress 8 string
         StoreStatus: healthy 1 bool, type 2 string, message 3 string, endpoints 4 peloton.cluster.StoreEndpoint*
         StoreStatus: revision 5 int64, sinceAnswerMs 6 uint64, quorum 7 enum
         StoreEndpoint: address 1 string, healthy 2 bool, message 3 string, connected 4 bool, leader 5 bool
         StoreEndpoint: version 6 string, revision 7 int64, behind 8 uint64, dbBytes 9 uint64
         MesosStatus: connected 1 bool, leader 2 string, version 3 string, message 4 string, foundBy 5 string
         MesosStatus: foundIn 6 string
         ClusterStatus: masters 1 peloton.cluster.Master*, shards 2 peloton.cluster.Shard*, store 3 StoreStatus
         ClusterStatus: mesos 4 MesosStatus, cluster 5 ClusterInfo",
    );
    let quorum = [("NOT_NEEDED", 0), ("PRESENT", 1), ("LOST", 2)];
    assert_values("peloton.cluster.StoreStatus.Quorum", &quorum);
}

#[test]
fn tasks_have_the_numbers_of_2016() {
    assert_fields(
        "peloton.task",
        "RuntimeInfo: state 1 enum, taskId 2 mesos.v1.TaskID, startedAt 3 mesos.v1.TimeInfo, host 4 string
         RuntimeInfo: ports 5 map<string,uint32>
         TaskInfo: instanceId 1 uint32, jobId 2 peloton.job.JobID, jobConfig 3 peloton.job.JobConfig, runtime 4 RuntimeInfo
         InstanceRange: from 1 uint32, to 2 uint32
         InstanceIdOutOfRange: jobId 1 peloton.job.JobID, instanceCount 2 uint32
         GetRequest: jobId 1 peloton.job.JobID, instanceId 2 uint32
         GetResponse: result 1 TaskInfo, notFound 2 peloton.job.JobNotFound, outOfRange 3 InstanceIdOutOfRange
         ListRequest: jobId 1 peloton.job.JobID, range 2 InstanceRange
         ListResponse: result 1 TaskList, notFound 2 peloton.job.JobNotFound
         TaskList: value 1 map<uint32,peloton.task.TaskInfo>
         StartRequest: jobId 1 peloton.job.JobID, ranges 2 peloton.task.InstanceRange*
         StartResponse: notFound 1 peloton.job.JobNotFound, outOfRange 2 InstanceIdOutOfRange
         StopRequest: jobId 1 peloton.job.JobID, ranges 2 peloton.task.InstanceRange*
         StopResponse: notFound 1 peloton.job.JobNotFound, outOfRange 2 InstanceIdOutOfRange
         RestartRequest: jobId 1 peloton.job.JobID, ranges 2 peloton.task.InstanceRange*
         RestartResponse: notFound 1 peloton.job.JobNotFound, outOfRange 2 InstanceIdOutOfRange",
    );
    let states = [
        ("INITIALIZED", 0),
        ("SCHEDULING", 1),
        ("ASSIGNED", 2),
        ("LAUNCHED", 3),
        ("RUNNING", 4),
        ("SUCCEEDED", 5),
        ("FAILED", 6),
        ("KILLED", 7),
        ("PREEMPTING", 8),
        ("THROTTLED", 9),
    ];
    assert_values("peloton.task.TaskState", &states);
}

#[test]
fn upgrades_have_the_numbers_of_2016() {
    assert_fields(
        "peloton.upgrade",
        "WorkflowID: value 1 string
         UpgradeOptions: batchSize 1 int32, batchPercentage 2 double, stopBeforeUpgrade 3 bool
         UpgradeSpec: jobId 1 peloton.job.JobID, jobConfig 2 peloton.job.JobConfig, options 3 UpgradeOptions
         UpgradeInfo: workflowId 1 WorkflowID, numTasksDone 2 int32, numTasksRemaining 3 int32, state 4 enum
         CreateRequest: spec 1 UpgradeSpec
         CreateResponse: result 1 WorkflowID, notFound 2 peloton.job.JobNotFound, alreadyExists 3 UpgradeAlreadyExists
         UpgradeAlreadyExists: id 1 WorkflowID, message 2 string
         GetRequest: workflowId 1 WorkflowID
         GetResponse: result 1 UpgradeInfo, notFound 2 UpgradeNotFound
         UpgradeNotFound: id 1 WorkflowID, message 2 string
         ListRequest: limit 1 int32
         ListResponse: result 1 UpgradeList
         UpgradeList: value 1 peloton.upgrade.UpgradeInfo*
         PauseRequest: workflowId 1 WorkflowID
         ResumeRequest: workflowId 1 WorkflowID
         RollbackRequest: workflowId 1 WorkflowID
         AbortRequest: workflowId 1 WorkflowID, softAbort 2 bool
         PauseResponse: notFound 1 UpgradeNotFound, invalidState 2 InvalidState
         ResumeResponse: notFound 1 UpgradeNotFound, invalidState 2 InvalidState
         RollbackResponse: notFound 1 UpgradeNotFound, invalidState 2 InvalidState
         AbortResponse: notFound 1 UpgradeNotFound, invalidState 2 InvalidState
         InvalidState: workflowId 1 WorkflowID, invalidState 2 enum",
    );
    // Ours.
    assert_fields(
        "peloton.upgrade",
        "UpgradeOptions: maxInstanceRetries 20 uint32, maxFailedInstances 21 uint32, healthDeadlineSecs 22 uint64
         UpgradeOptions: minHealthySecs 23 uint64, placementDeadlineSecs 24 uint64, rollbackOnFailure 25 bool
         UpgradeOptions: startPaused 26 bool
         UpgradeSpec: expectedVersion 20 uint64, replace 21 bool
         UpgradeInfo: jobId 20 peloton.job.JobID, fromVersion 21 uint64, toVersion 22 uint64, numTasksFailed 23 int32
         UpgradeInfo: message 24 string, createdAt 25 int64, updatedAt 26 int64, rollingBack 27 bool, failure 28 string
         UpgradeInfo: finishedAt 29 int64, createdBy 30 string, options 31 UpgradeOptions, displaced 32 uint32*
         UpgradeInfo: displacedCount 33 uint32, replaces 34 WorkflowID, takesBack 35 WorkflowID
         UpgradeInfo: changes 36 peloton.upgrade.FieldChange*, instances 37 peloton.upgrade.InstanceProgress*
         FieldChange: field 1 string, before 2 string, after 3 string
         InstanceProgress: instanceId 1 uint32, stage 2 string, since 3 int64, tries 4 uint32, taskState 5 string
         InstanceProgress: version 6 uint64, host 7 string, message 8 string
         UpgradeEvent: number 1 uint64, at 2 int64, kind 3 string, instanceId 4 uint32, by 5 string, fromSlot 6 string
         UpgradeEvent: fromHost 7 string, toSlot 8 string, toHost 9 string, taskId 10 string, message 11 string
         CreateRequest: dryRun 20 bool
         CreateResponse: conflict 20 peloton.job.VersionConflict, plan 21 UpgradePlan
         UpgradePlan: fromVersion 1 uint64, toVersion 2 uint64, changes 3 peloton.upgrade.FieldChange*, batch 4 uint32
         UpgradePlan: instances 5 peloton.upgrade.PlannedInstance*, counts 6 map<string,uint32>
         PlannedInstance: instanceId 1 uint32, action 2 string, host 3 string, more 4 string
         ListRequest: jobId 20 peloton.job.JobID, pageToken 21 string
         ListResponse: nextPageToken 20 string
         RollbackResponse: result 20 WorkflowID
         GetEventsRequest: workflowId 1 WorkflowID, limit 2 uint32, pageToken 3 string
         GetEventsResponse: events 1 peloton.upgrade.UpgradeEvent*, notFound 2 UpgradeNotFound, nextPageToken 3 string",
    );
    assert_fields(
        "peloton.job",
        "GetVersionsRequest: id 1 JobID, limit 2 uint32, version 3 uint64
         GetVersionsResponse: versions 1 peloton.job.JobConfig*, notFound 2 JobNotFound, currentVersion 3 uint64",
    );
    let states = [
        ("ROLLING_FORWARD", 0),
        ("ROLLING_BACK", 1),
        ("PAUSED", 2),
        ("SUCCEEDED", 3),
        ("ROLLED_BACK", 4),
        ("ABORTED", 5),
        ("FAILED", 6),
    ];
    assert_values("peloton.upgrade.State", &states);
}

#[test]
fn volumes_keep_their_numbers() {
    assert_fields(
        "peloton.job",
        "JobConfig: volumes 24 peloton.job.VolumeConfig*
         VolumeConfig: name 1 string, containerPath 2 string, sizeMb 3 uint64, onDelete 4 enum, giveUpAfterSecs 5 uint64
         VolumeConfig: url 6 string, sha256 7 string, extract 8 bool",
    );
    assert_fields(
        "peloton.volume",
        "VolumeInfo: id 1 VolumeID, name 2 string, jobId 3 peloton.job.JobID, instanceId 4 uint32, slot 5 uint64
         VolumeInfo: state 6 enum, sizeMb 7 uint64, url 8 string, agentId 9 string, host 10 string, message 11 string
         VolumeInfo: onDelete 12 enum, createdAt 13 uint64
         ListRequest: jobId 1 peloton.job.JobID, agent 2 string, limit 4 uint32, pageToken 5 string
         DeleteRequest: volumeId 1 VolumeID, force 2 bool
         ReleaseRequest: jobId 1 peloton.job.JobID, instanceId 2 uint32
         AdoptRequest: volumeId 1 VolumeID, jobId 2 peloton.job.JobID, instanceId 3 uint32",
    );
}

#[test]
fn what_is_ours_stays_out_of_the_numbers_of_the_original() {
    let config = pool().get_message_by_name("peloton.job.JobConfig").unwrap();
    for field in config.fields() {
        assert!(field.number() <= 13 || field.number() >= 20, "{}", field.name());
    }
}

#[test]
fn mesos_messages_have_mesos_numbers() {
    assert_fields(
        "mesos.v1",
        "FrameworkInfo: user 1 string, failover_timeout 4 double, principal 8 string, roles 12 string*
         FrameworkInfo: capabilities 10 mesos.v1.FrameworkInfo.Capability*, offer_filters 13 map<string,mesos.v1.OfferFilters>
         Offer: id 1 OfferID, framework_id 2 FrameworkID, agent_id 3 AgentID, hostname 4 string, resources 5 mesos.v1.Resource*
         Offer: executor_ids 6 mesos.v1.ExecutorID*, attributes 7 mesos.v1.Attribute*, url 8 URL
         Offer: allocation_info 10 Resource.AllocationInfo, domain 11 DomainInfo
         Offer.Operation: type 1 enum, launch 2 Offer.Operation.Launch, reserve 3 Offer.Operation.Reserve
         Offer.Operation: unreserve 4 Offer.Operation.Unreserve, create 5 Offer.Operation.Create
         Offer.Operation: destroy 6 Offer.Operation.Destroy, launch_group 7 Offer.Operation.LaunchGroup, id 12 OperationID
         Offer.Operation: grow_volume 13 Offer.Operation.GrowVolume, shrink_volume 14 Offer.Operation.ShrinkVolume
         Offer.Operation.Reserve: resources 1 mesos.v1.Resource*, source 2 mesos.v1.Resource*
         Resource: name 1 string, type 2 enum, scalar 3 Value.Scalar, ranges 4 Value.Ranges, set 5 Value.Set, role 6 string
         Resource: disk 7 Resource.DiskInfo, reservation 8 Resource.ReservationInfo, revocable 9 Resource.RevocableInfo
         Resource: shared 10 Resource.SharedInfo, allocation_info 11 Resource.AllocationInfo, provider_id 12 ResourceProviderID
         Resource: reservations 13 mesos.v1.Resource.ReservationInfo*
         Resource.ReservationInfo: principal 1 string, labels 2 Labels, role 3 string, type 4 enum
         Resource.DiskInfo.Source: type 1 enum, id 4 string, metadata 5 Labels, profile 6 string, vendor 7 string
         Attribute: name 1 string, type 2 enum, scalar 3 Value.Scalar, ranges 4 Value.Ranges, text 5 Value.Text, set 6 Value.Set
         TaskInfo: name 1 string, task_id 2 TaskID, agent_id 3 AgentID, resources 4 mesos.v1.Resource*, data 6 bytes
         TaskInfo: command 7 CommandInfo, health_check 8 HealthCheck, container 9 ContainerInfo, labels 10 Labels
         TaskInfo: discovery 11 DiscoveryInfo, kill_policy 12 KillPolicy, check 13 CheckInfo, max_completion_time 14 DurationInfo
         CommandInfo: uris 1 mesos.v1.CommandInfo.URI*, environment 2 Environment, value 3 string, user 5 string
         CommandInfo: shell 6 bool, arguments 7 string*
         Environment.Variable: name 1 string, value 2 string, type 3 enum, secret 4 Secret
         HealthCheck: http 1 HealthCheck.HTTPCheckInfo, delay_seconds 2 double, interval_seconds 3 double
         HealthCheck: timeout_seconds 4 double, consecutive_failures 5 uint32, grace_period_seconds 6 double
         HealthCheck: command 7 CommandInfo, type 8 enum, tcp 9 HealthCheck.TCPCheckInfo
         HealthCheck.HTTPCheckInfo: port 1 uint32, path 2 string, scheme 3 string, statuses 4 uint32*, protocol 5 enum
         ContainerInfo: type 1 enum, volumes 2 mesos.v1.Volume*, docker 3 ContainerInfo.DockerInfo, hostname 4 string
         ContainerInfo: mesos 5 ContainerInfo.MesosInfo, rlimit_info 9 RLimitInfo
         ContainerInfo.DockerInfo: image 1 string, network 2 enum, privileged 4 bool, force_pull_image 6 bool
         Volume: container_path 1 string, host_path 2 string, mode 3 enum, image 4 Image, source 5 Volume.Source
         TaskStatus: task_id 1 TaskID, state 2 enum, data 3 bytes, message 4 string, agent_id 5 AgentID, timestamp 6 double
         TaskStatus: executor_id 7 ExecutorID, healthy 8 bool, source 9 enum, reason 10 enum, uuid 11 bytes, labels 12 Labels
         TaskStatus: container_status 13 ContainerStatus, unreachable_time 14 TimeInfo, check_status 15 CheckStatusInfo
         TaskStatus: limitation 16 TaskResourceLimitation
         ContainerStatus: network_infos 1 mesos.v1.NetworkInfo*, executor_pid 3 uint32, container_id 4 ContainerID
         OperationStatus: operation_id 1 OperationID, state 2 enum, message 3 string, uuid 5 UUID, agent_id 6 AgentID
         MasterInfo: id 1 string, ip 2 uint32, port 3 uint32, hostname 5 string, version 6 string, address 7 Address
         DiscoveryInfo: visibility 1 enum, name 2 string, environment 3 string, location 4 string, version 5 string, ports 6 Ports",
    );
    assert_values("mesos.v1.Value.Type", &[("SCALAR", 0), ("RANGES", 1), ("SET", 2), ("TEXT", 3)]);
    let states = pool().get_enum_by_name("mesos.v1.TaskState").unwrap();
    let wanted = "TASK_STARTING TASK_RUNNING TASK_FINISHED TASK_FAILED TASK_KILLED TASK_LOST TASK_STAGING TASK_ERROR \
                  TASK_KILLING TASK_DROPPED TASK_UNREACHABLE TASK_GONE TASK_GONE_BY_OPERATOR TASK_UNKNOWN";
    for (number, name) in (0..).zip(wanted.split_whitespace()) {
        assert_eq!(states.get_value(number).unwrap().name(), name);
    }
}

#[test]
fn the_scheduler_api_has_mesos_numbers() {
    assert_fields(
        "mesos.v1.scheduler",
        "Event: type 1 enum, subscribed 2 Event.Subscribed, offers 3 Event.Offers, rescind 4 Event.Rescind
         Event: update 5 Event.Update, message 6 Event.Message, failure 7 Event.Failure, error 8 Event.Error
         Event: inverse_offers 9 Event.InverseOffers, rescind_inverse_offer 10 Event.RescindInverseOffer
         Event: update_operation_status 11 Event.UpdateOperationStatus
         Event.Subscribed: framework_id 1 mesos.v1.FrameworkID, heartbeat_interval_seconds 2 double, master_info 3 mesos.v1.MasterInfo
         Call: framework_id 1 mesos.v1.FrameworkID, type 2 enum, subscribe 3 Call.Subscribe, accept 4 Call.Accept
         Call: decline 5 Call.Decline, kill 6 Call.Kill, shutdown 7 Call.Shutdown, acknowledge 8 Call.Acknowledge
         Call: reconcile 9 Call.Reconcile, message 10 Call.Message, request 11 Call.Request
         Call: accept_inverse_offers 13 Call.AcceptInverseOffers, decline_inverse_offers 14 Call.DeclineInverseOffers
         Call: revive 15 Call.Revive, suppress 16 Call.Suppress
         Call: acknowledge_operation_status 17 Call.AcknowledgeOperationStatus
         Call: reconcile_operations 18 Call.ReconcileOperations, update_framework 19 Call.UpdateFramework
         Call.Subscribe: framework_info 1 mesos.v1.FrameworkInfo, suppressed_roles 2 string*, offer_constraints 3 OfferConstraints
         Call.Accept: offer_ids 1 mesos.v1.OfferID*, operations 2 mesos.v1.Offer.Operation*, filters 3 mesos.v1.Filters
         Call.Kill: task_id 1 mesos.v1.TaskID, agent_id 2 mesos.v1.AgentID, kill_policy 3 mesos.v1.KillPolicy
         Call.Acknowledge: agent_id 1 mesos.v1.AgentID, task_id 2 mesos.v1.TaskID, uuid 3 bytes",
    );
    let call_types = "UNKNOWN SUBSCRIBE TEARDOWN ACCEPT DECLINE REVIVE KILL SHUTDOWN ACKNOWLEDGE RECONCILE MESSAGE REQUEST \
                      SUPPRESS ACCEPT_INVERSE_OFFERS DECLINE_INVERSE_OFFERS ACKNOWLEDGE_OPERATION_STATUS \
                      RECONCILE_OPERATIONS UPDATE_FRAMEWORK";
    let numbered: Vec<_> = call_types.split_whitespace().zip(0..).collect();
    assert_values("mesos.v1.scheduler.Call.Type", &numbered);
    let event_types = "UNKNOWN SUBSCRIBED OFFERS RESCIND UPDATE MESSAGE FAILURE ERROR HEARTBEAT INVERSE_OFFERS \
                       RESCIND_INVERSE_OFFER UPDATE_OPERATION_STATUS";
    let numbered: Vec<_> = event_types.split_whitespace().zip(0..).collect();
    assert_values("mesos.v1.scheduler.Event.Type", &numbered);
}

#[test]
fn keys_are_field_names_and_no_two_fold_to_the_same() {
    let fold = |name: &str| name.replace('_', "").to_lowercase();
    for message in pool().all_messages() {
        let names: BTreeSet<_> = message.fields().map(|field| fold(field.name())).collect();
        assert_eq!(names.len(), message.fields().len(), "{}", message.full_name());
        // The later interface of the original has a key of this name around its answers.
        assert!(!names.contains("response"), "{}", message.full_name());
        let ours = message.package_name().starts_with("peloton.");
        for field in message.fields().filter(|_| ours) {
            assert_eq!(field.name(), field.json_name(), "{}", message.full_name());
        }
    }
}

#[test]
fn reflection_shows_the_api_and_what_it_imports() {
    let api = DescriptorPool::decode(descriptors::FILE_DESCRIPTOR_SET).unwrap();
    assert!(api.get_message_by_name("mesos.v1.CommandInfo").is_some());
    assert!(api.get_message_by_name("mesos.v1.scheduler.Call").is_none());
    assert_eq!(api.services().len(), 5);
}

#[test]
fn procedures_are_found_in_both_spellings_and_in_no_other() {
    let get = method_by_procedure("JobManager.Get").unwrap();
    assert_eq!(Some(get), method_by_procedure("peloton.job.JobManager::Get"));
    assert_eq!(
        (get.input.as_str(), get.output.as_str()),
        ("peloton.job.GetRequest", "peloton.job.GetResponse")
    );
    assert_eq!(get.grpc_path(), "/peloton.job.JobManager/Get");
    assert!(get.is_unary());
    for wrong in ["", "JobManager.get", "JobManager::Get", "peloton.job.JobManager.Get", "Get"] {
        assert_eq!(method_by_procedure(wrong), None, "{wrong}");
    }
    let streams: Vec<_> =
        methods().iter().filter(|m| !m.is_unary()).map(|m| m.short_procedure()).collect();
    assert_eq!(streams, ["JobManager.Watch"]);
    // Every method under two names, none of them taken twice.
    for method in methods() {
        assert_eq!(method_by_procedure(&method.short_procedure()), Some(method));
        assert_eq!(method_by_procedure(&method.procedure()), Some(method));
    }
}
