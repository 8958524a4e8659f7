//! Calls of schedulers: whether they may be made at all, and who carries them out.

use super::Master;
use super::framework::FrameworkState;
use crate::Refusal;
use crate::allocator::FrameworkKey;
use crate::random::Uuid;
use crate::resources::validate_role;
use crate::world::World;
use peloton_proto::mesos::v1::FrameworkId;
use peloton_proto::mesos::v1::scheduler::{Call, call};

pub(super) const BAD_REQUEST: u16 = 400;
const FORBIDDEN: u16 = 403;
const NOT_IMPLEMENTED: u16 = 501;

pub(super) fn refuse(status: u16, body: impl Into<String>) -> Refusal {
    Refusal { status, body: body.into() }
}

/// Whether a call has what its type needs.
pub(super) fn validate(call: &Call) -> Result<(), Refusal> {
    let invalid = |why: String| {
        Err(refuse(BAD_REQUEST, format!("Failed to validate scheduler::Call: {why}")))
    };
    let expecting = |field: &str| invalid(format!("Expecting '{field}' to be present"));
    if call.r#type.is_none() {
        return expecting("type");
    }
    use call::Type;
    if call.r#type() == Type::Subscribe {
        let Some(subscribe) = &call.subscribe else { return expecting("subscribe") };
        let id = |id: Option<&FrameworkId>| id.map_or_else(String::new, |id| id.value.clone());
        if id(subscribe.framework_info.id.as_ref()) != id(call.framework_id.as_ref()) {
            let why = "'framework_id' differs from 'subscribe.framework_info.id'";
            return invalid(why.to_owned());
        }
        return Ok(());
    }
    let Some(framework_id) = &call.framework_id else { return expecting("framework_id") };
    let missing = match call.r#type() {
        Type::Accept if call.accept.is_none() => "accept",
        Type::Decline if call.decline.is_none() => "decline",
        Type::AcceptInverseOffers if call.accept_inverse_offers.is_none() => {
            "accept_inverse_offers"
        }
        Type::DeclineInverseOffers if call.decline_inverse_offers.is_none() => {
            "decline_inverse_offers"
        }
        Type::Kill if call.kill.is_none() => "kill",
        Type::Shutdown if call.shutdown.is_none() => "shutdown",
        Type::Acknowledge if call.acknowledge.is_none() => "acknowledge",
        Type::AcknowledgeOperationStatus if call.acknowledge_operation_status.is_none() => {
            "acknowledge_operation_status"
        }
        Type::Reconcile if call.reconcile.is_none() => "reconcile",
        Type::ReconcileOperations if call.reconcile_operations.is_none() => "reconcile_operations",
        Type::Message if call.message.is_none() => "message",
        Type::Request if call.request.is_none() => "request",
        Type::UpdateFramework if call.update_framework.is_none() => "update_framework",
        _ => "",
    };
    if !missing.is_empty() {
        return expecting(missing);
    }
    let not_a_uuid = |bytes: &[u8]| Uuid::from_bytes(bytes).is_none();
    if call.acknowledge.as_ref().is_some_and(|one| not_a_uuid(&one.uuid)) {
        return invalid("Not a valid UUID".to_owned());
    }
    if let Some(acknowledge) = &call.acknowledge_operation_status {
        if not_a_uuid(&acknowledge.uuid) {
            return invalid("Not a valid UUID".to_owned());
        }
        if acknowledge.agent_id.is_none() {
            return expecting("agent_id");
        }
    }
    if let Some(update) = &call.update_framework
        && update.framework_info.id.as_ref() != Some(framework_id)
    {
        let why = "'framework_id' differs from 'update_framework.framework_info.id'";
        return invalid(why.to_owned());
    }
    Ok(())
}

impl Master {
    /// A call other than SUBSCRIBE.
    pub(crate) fn call(
        &mut self,
        world: &mut World,
        stream_id: Option<&str>,
        call: Call,
    ) -> Result<(), Refusal> {
        validate(&call)?;
        let id = call.framework_id.as_ref().map_or("", |id| id.value.as_str());
        let key = world.names.framework_key(id);
        let framework = key.and_then(|key| self.frameworks.get(&key));
        let Some(framework) = framework else {
            return Err(refuse(BAD_REQUEST, "Framework cannot be found"));
        };
        if framework.state != FrameworkState::Active {
            return Err(refuse(FORBIDDEN, "Framework is not subscribed"));
        }
        let Some(stream_id) = stream_id else {
            let body = "All non-subscribe calls should include the 'Mesos-Stream-Id' header";
            return Err(refuse(BAD_REQUEST, body));
        };
        let any_goes = world.settings.sabotage == Some(crate::Sabotage::AcceptAnyStreamId);
        if stream_id != framework.stream_id && !any_goes {
            let body = format!(
                "The stream ID '{stream_id}' included in this request didn't match the stream ID \
                 currently associated with framework ID {id}"
            );
            return Err(refuse(BAD_REQUEST, body));
        }
        let key = framework.key;
        self.carry_out(world, key, call)
    }

    fn carry_out(
        &mut self,
        world: &mut World,
        framework: FrameworkKey,
        call: Call,
    ) -> Result<(), Refusal> {
        use call::Type;
        match call.r#type() {
            Type::Unknown | Type::Subscribe => {
                return Err(refuse(NOT_IMPLEMENTED, "Not implemented"));
            }
            Type::Teardown => self.remove_framework(world, framework),
            Type::Accept => {
                if let Some(accept) = call.accept {
                    self.accept(world, framework, accept);
                }
            }
            Type::Decline => {
                if let Some(decline) = call.decline {
                    self.decline(world, &decline);
                }
            }
            Type::Revive => self.revive(framework, &call.revive.unwrap_or_default()),
            Type::Suppress => self.suppress(framework, &call.suppress.unwrap_or_default()),
            Type::Kill => {
                if let Some(kill) = call.kill {
                    self.kill(world, framework, &kill);
                }
            }
            Type::Shutdown => {
                if let Some(shutdown) = call.shutdown {
                    self.shutdown_executor(world, framework, &shutdown);
                }
            }
            Type::Acknowledge => {
                if let Some(acknowledge) = call.acknowledge {
                    self.acknowledge(world, framework, &acknowledge);
                }
            }
            Type::AcknowledgeOperationStatus => {
                if let Some(acknowledge) = call.acknowledge_operation_status {
                    self.acknowledge_operation(world, framework, &acknowledge);
                }
            }
            Type::Reconcile => {
                if let Some(reconcile) = call.reconcile {
                    self.reconcile(world, framework, &reconcile);
                }
            }
            Type::ReconcileOperations => {
                if let Some(reconcile) = call.reconcile_operations {
                    self.reconcile_operations(world, framework, &reconcile);
                }
            }
            Type::AcceptInverseOffers | Type::DeclineInverseOffers => {
                self.answer_inverse_offers(world, &call);
            }
            Type::UpdateFramework => {
                if let Some(update) = call.update_framework {
                    return self.update_framework(world, framework, update);
                }
            }
            // No executor here understands messages, and Mesos's allocator ignores requests.
            Type::Message | Type::Request => {}
        }
        Ok(())
    }

    /// The roles that a call names, if they are all the framework's.
    fn own_roles<'a>(&self, framework: FrameworkKey, roles: &'a [String]) -> Option<Vec<&'a str>> {
        let own = &self.frameworks.get(&framework)?.roles;
        let is_own = |role: &String| validate_role(role).is_ok() && own.contains(role.as_str());
        roles.iter().all(is_own).then(|| roles.iter().map(String::as_str).collect())
    }

    fn revive(&mut self, framework: FrameworkKey, revive: &call::Revive) {
        if let Some(roles) = self.own_roles(framework, &revive.roles) {
            self.allocator.revive(framework, &roles);
        }
    }

    fn suppress(&mut self, framework: FrameworkKey, suppress: &call::Suppress) {
        if let Some(roles) = self.own_roles(framework, &suppress.roles) {
            self.allocator.suppress(framework, &roles);
        }
    }
}
