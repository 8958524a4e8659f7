//! SUBSCRIBE and UPDATE_FRAMEWORK, lost connections, and heartbeats.

use super::Master;
use super::calls::{BAD_REQUEST, refuse, validate};
use super::framework::{Framework, FrameworkState};
use super::validation::{validate_framework, validate_framework_update, validate_suppressed};
use crate::allocator::FrameworkKey;
use crate::timers::Timer;
use crate::world::World;
use crate::{ConnectionId, Output, Refusal, status};
use peloton_proto::mesos::v1;
use std::sync::Arc;
use v1::scheduler::{Call, Event, call};

/// The longest fail-over time-out, about 292 years, is for ever.
const MAX_SECONDS: f64 = 9_223_372_036.0;

impl Master {
    /// Opens a stream. A refusal after the call was understood comes as an ERROR event.
    pub(crate) fn subscribe(
        &mut self,
        world: &mut World,
        connection: ConnectionId,
        call: Call,
    ) -> Result<String, Refusal> {
        validate(&call)?;
        let Some(subscribe) = call.subscribe else {
            return Err(refuse(BAD_REQUEST, "Expecting 'subscribe' to be present"));
        };
        let stream_id = world.random.uuid().to_string();
        if let Err(message) = self.try_subscribe(world, connection, &stream_id, *subscribe) {
            world.emit(connection, status::error(&message));
            world.outputs.push(Output::Close(connection));
        }
        Ok(stream_id)
    }

    fn try_subscribe(
        &mut self,
        world: &mut World,
        connection: ConnectionId,
        stream_id: &str,
        subscribe: call::Subscribe,
    ) -> Result<(), String> {
        let call::Subscribe { framework_info: mut info, suppressed_roles, .. } = subscribe;
        self.check_framework(world, &info)?;
        validate_suppressed(&info, &suppressed_roles)?;
        let known_id = info.id.as_ref().map_or("", |id| id.value.as_str()).to_owned();
        if known_id.is_empty() {
            let value = format!("{}-{:04}", self.id, self.next_framework);
            self.next_framework += 1;
            info.id = Some(v1::FrameworkId { value });
            let key = world.names.note_framework(info);
            self.insert_framework(world, key, &suppressed_roles, true);
            self.connect(world, key, connection, stream_id);
            return Ok(());
        }
        let known = world.names.framework_key(&known_id);
        let known = known.filter(|key| self.frameworks.contains_key(key));
        if let Some(old) = known.and_then(|key| world.names.framework(key)) {
            // These two stay as they are without a word.
            info.user.clone_from(&old.info.user);
            info.checkpoint = old.info.checkpoint;
            validate_framework_update(&old.info, &info)?;
        }
        let key = world.names.note_framework(info);
        if known.is_none() {
            self.insert_framework(world, key, &suppressed_roles, false);
        }
        self.refresh_framework(world, key, &suppressed_roles);
        self.fail_over(world, key);
        self.connect(world, key, connection, stream_id);
        Ok(())
    }

    fn check_framework(&self, world: &World, info: &v1::FrameworkInfo) -> Result<(), String> {
        validate_framework(info)?;
        let id = info.id.as_ref().map_or("", |id| id.value.as_str());
        match world.names.framework_key(id) {
            Some(key) if self.is_completed(key) => Err("Framework has been removed".to_owned()),
            _ => Ok(()),
        }
    }

    /// Adds a framework that this master did not know.
    pub(super) fn insert_framework(
        &mut self,
        world: &World,
        key: FrameworkKey,
        suppressed: &[String],
        is_active: bool,
    ) {
        let Some(name) = world.names.framework(key) else { return };
        let framework = Framework::new(key, Arc::clone(&name.id), Arc::clone(&name.info));
        self.allocator.add_framework(key, framework.options(suppressed), is_active);
        self.frameworks.insert(key, framework);
    }

    /// Takes over what a framework says of itself now.
    fn refresh_framework(&mut self, world: &World, key: FrameworkKey, suppressed: &[String]) {
        let Some(name) = world.names.framework(key) else { return };
        let Some(framework) = self.frameworks.get_mut(&key) else { return };
        framework.update(Arc::clone(&name.info));
        let options = framework.options(suppressed);
        self.allocator.update_framework(key, options);
    }

    /// Ends the stream before, if there is one. Its offers are void, and nobody is told.
    fn fail_over(&mut self, world: &mut World, key: FrameworkKey) {
        let old = self.frameworks.get_mut(&key).and_then(|framework| framework.connection.take());
        if let Some(old) = old {
            self.connections.remove(&old);
            world.emit(old, status::error("Framework failed over"));
            world.outputs.push(Output::Close(old));
        }
        self.discard_offers_of(world, key, false);
    }

    fn connect(
        &mut self,
        world: &mut World,
        key: FrameworkKey,
        connection: ConnectionId,
        stream_id: &str,
    ) {
        let epoch = self.new_epoch();
        let Some(framework) = self.frameworks.get_mut(&key) else { return };
        let was_active = framework.is_connected();
        framework.state = FrameworkState::Active;
        framework.connection = Some(connection);
        stream_id.clone_into(&mut framework.stream_id);
        framework.epoch = epoch;
        self.connections.insert(connection, key);
        if !was_active {
            self.allocator.activate_framework(key);
        }
        let interval_ms = world.settings.heartbeat_interval_ms;
        let id = world.names.framework_id(key);
        world.emit(connection, status::subscribed(id, self.info.clone(), interval_ms));
        self.heartbeat(world, key, connection);
    }

    /// Sends a HEARTBEAT, and so on as long as the connection is the framework's.
    pub(crate) fn heartbeat(
        &self,
        world: &mut World,
        framework: FrameworkKey,
        connection: ConnectionId,
    ) {
        if self.connections.get(&connection) == Some(&framework) {
            world.emit(connection, status::heartbeat());
            let interval_ms = world.settings.heartbeat_interval_ms;
            world.set_timer(interval_ms, Timer::Heartbeat(framework, connection));
        }
    }

    /// A stream ended at the scheduler's side.
    pub(crate) fn disconnected(&mut self, world: &mut World, connection: ConnectionId) {
        let Some(key) = self.connections.remove(&connection) else { return };
        self.deactivate_framework(world, key);
        let Some(framework) = self.frameworks.get_mut(&key) else { return };
        framework.state = FrameworkState::Disconnected;
        framework.connection = None;
        let seconds = framework.info.failover_timeout().clamp(0.0, MAX_SECONDS);
        let (master, epoch) = (self.epoch, framework.epoch);
        let timer = Timer::FrameworkTimeout { framework: key, master, epoch };
        world.set_timer((seconds * 1_000.0) as u64, timer);
    }

    /// A framework was away for as long as it may be.
    pub(crate) fn framework_timeout(
        &mut self,
        world: &mut World,
        framework: FrameworkKey,
        (master, epoch): (u32, u32),
    ) {
        let is_away = self
            .frameworks
            .get(&framework)
            .is_some_and(|one| one.epoch == epoch && one.state == FrameworkState::Disconnected);
        if is_away && master == self.epoch {
            self.remove_framework(world, framework);
        }
    }

    pub(super) fn deactivate_framework(&mut self, world: &mut World, framework: FrameworkKey) {
        self.allocator.deactivate_framework(framework);
        self.discard_offers_of(world, framework, false);
    }

    pub(super) fn update_framework(
        &mut self,
        world: &mut World,
        key: FrameworkKey,
        update: call::UpdateFramework,
    ) -> Result<(), Refusal> {
        let call::UpdateFramework { framework_info, suppressed_roles, .. } = update;
        let invalid = |what: &str, why: String| refuse(BAD_REQUEST, format!("{what}: {why}"));
        self.check_framework(world, &framework_info)
            .map_err(|why| invalid("Supplied FrameworkInfo is not valid", why))?;
        if let Some(framework) = self.frameworks.get(&key) {
            validate_framework_update(&framework.info, &framework_info)
                .map_err(|why| invalid("FrameworkInfo update is not valid", why))?;
        }
        validate_suppressed(&framework_info, &suppressed_roles)
            .map_err(|why| invalid("'UpdateFramework' call is not valid", why))?;
        let key = world.names.note_framework(framework_info);
        self.refresh_framework(world, key, &suppressed_roles);
        Ok(())
    }

    /// Sends an event to every framework that is connected.
    pub(super) fn broadcast(&self, world: &mut World, event: &Event) {
        let connections = self.frameworks.values().filter_map(|framework| framework.connection);
        connections.for_each(|connection| world.emit(connection, event.clone()));
    }
}
