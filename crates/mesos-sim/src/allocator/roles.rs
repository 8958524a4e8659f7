//! Roles, the frameworks in them, what they have, and whose turn it is.
//!
//! Dominant-resource fairness on a tree: siblings are in the order of their shares, a share being the
//! largest part of any resource of the cluster that they have. Equal shares are in the order of how
//! often they were chosen, then of their names. Within a role its frameworks are ordered alike. A role
//! with frameworks of its own and roles below takes part below itself, as a leaf among its children.

use super::types::FrameworkKey;
use crate::resources::Quantities;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A role's place in the list of all that were ever named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RoleId(u32);

/// What a node of the tree has, offered or allocated.
#[derive(Debug, Clone, Default)]
struct Usage {
    quantities: Quantities,
    /// How often it was chosen.
    count: u64,
    share: f64,
}

impl Usage {
    fn refresh(&mut self, total: &Quantities) {
        let parts = total.iter().filter(|(_, all)| *all > 0);
        self.share = parts.fold(0.0, |share: f64, (name, all)| {
            share.max(self.quantities.get(name) as f64 / all as f64)
        });
    }

    fn before(&self, other: &Self) -> Ordering {
        self.share.total_cmp(&other.share).then(self.count.cmp(&other.count))
    }

    fn change(&mut self, charge: &Charge<'_>, level: usize, total: &Quantities) {
        for part in [Some(charge.quantities), charge.shared.get(level)].into_iter().flatten() {
            if charge.give_back {
                self.quantities.subtract(part);
            } else {
                self.quantities.add(part);
            }
        }
        self.count += u64::from(charge.chosen);
        self.refresh(total);
    }
}

/// Something that a framework gets, or gives back.
pub(super) struct Charge<'a> {
    /// Of what is not shared.
    pub(super) quantities: &'a Quantities,
    /// Of what is shared and counts, by level: for the framework, the role's own frameworks, the
    /// role with all below, its parent … Empty if nothing is shared.
    pub(super) shared: &'a [Quantities],
    pub(super) give_back: bool,
    /// The framework was chosen for an offer.
    pub(super) chosen: bool,
}

/// A framework in a role: subscribed to it, or with something allocated for it.
#[derive(Debug)]
struct Member {
    key: FrameworkKey,
    id: Arc<str>,
    subscribed: bool,
    /// Gets offers: subscribed, active, not suppressed.
    wants: bool,
    /// On how many agents it has something.
    agents: usize,
    /// Filters of an earlier epoch do not apply.
    epoch: u64,
    usage: Usage,
}

#[derive(Debug)]
struct Role {
    path: Arc<str>,
    parent: Option<RoleId>,
    children: Vec<RoleId>,
    members: Vec<Member>,
    /// Members here and below.
    live: usize,
    /// Of its own members.
    own: Usage,
    /// With all below.
    tree: Usage,
}

/// All roles.
#[derive(Debug, Default)]
pub(super) struct Roles {
    roles: Vec<Role>,
    by_path: BTreeMap<Arc<str>, RoleId>,
    roots: Vec<RoleId>,
    /// Of the cluster.
    total: Quantities,
    epochs: u64,
    order: Vec<(RoleId, FrameworkKey)>,
    order_is_old: bool,
    shares_are_old: bool,
}

impl Roles {
    pub(super) fn get(&self, path: &str) -> Option<RoleId> {
        self.by_path.get(path).copied()
    }

    /// A role by its path, with its ancestors, made where it does not exist.
    pub(super) fn make(&mut self, path: &str) -> RoleId {
        if let Some(id) = self.get(path) {
            return id;
        }
        let parent = path.rsplit_once('/').map(|(parent, _)| self.make(parent));
        // Every role was named in a message, so there are fewer than would fill memory.
        let id = RoleId(u32::try_from(self.roles.len()).unwrap_or(u32::MAX));
        let path: Arc<str> = path.into();
        self.roles.push(Role {
            path: Arc::clone(&path),
            parent,
            children: Vec::new(),
            members: Vec::new(),
            live: 0,
            own: Usage::default(),
            tree: Usage::default(),
        });
        self.by_path.insert(path, id);
        match parent.and_then(|parent| self.roles.get_mut(parent.0 as usize)) {
            Some(parent) => parent.children.push(id),
            None => self.roots.push(id),
        }
        id
    }

    pub(super) fn path(&self, role: RoleId) -> Arc<str> {
        self.role(role).map_or_else(Arc::default, |role| Arc::clone(&role.path))
    }

    fn role(&self, role: RoleId) -> Option<&Role> {
        self.roles.get(role.0 as usize)
    }

    /// The role, its parent, and so on.
    pub(super) fn with_ancestors(&self, role: RoleId) -> impl Iterator<Item = RoleId> {
        std::iter::successors(Some(role), |role| self.role(*role)?.parent)
    }

    fn member(&self, role: RoleId, framework: FrameworkKey) -> Option<&Member> {
        self.role(role)?.members.iter().find(|member| member.key == framework)
    }

    fn member_mut(&mut self, role: RoleId, framework: FrameworkKey) -> Option<&mut Member> {
        let role = self.roles.get_mut(role.0 as usize)?;
        role.members.iter_mut().find(|member| member.key == framework)
    }

    /// What the cluster has.
    pub(super) fn change_total(&mut self, change: impl FnOnce(&mut Quantities)) {
        change(&mut self.total);
        self.shares_are_old = true;
        self.order_is_old = true;
    }

    /// Makes a framework a member of a role, if it is not one.
    pub(super) fn join(&mut self, role: RoleId, framework: FrameworkKey, id: &Arc<str>) {
        if self.member(role, framework).is_some() {
            return;
        }
        self.epochs += 1;
        let member = Member {
            key: framework,
            id: Arc::clone(id),
            subscribed: false,
            wants: false,
            agents: 0,
            epoch: self.epochs,
            usage: Usage::default(),
        };
        if let Some(role) = self.roles.get_mut(role.0 as usize) {
            role.members.push(member);
        }
        self.change_live(role, 1);
        self.order_is_old = true;
    }

    /// Ends a membership that has neither subscription nor allocation. A role without members
    /// forgets how often it was chosen.
    fn leave_if_unused(&mut self, role: RoleId, framework: FrameworkKey) {
        let unused = |member: &Member| !member.subscribed && member.agents == 0;
        if !self.member(role, framework).is_some_and(unused) {
            return;
        }
        if let Some(role) = self.roles.get_mut(role.0 as usize) {
            role.members.retain(|member| member.key != framework);
            if role.members.is_empty() {
                role.own.count = 0;
            }
        }
        self.change_live(role, -1);
        self.order_is_old = true;
    }

    fn change_live(&mut self, role: RoleId, by: isize) {
        for id in Vec::from_iter(self.with_ancestors(role)) {
            let Some(role) = self.roles.get_mut(id.0 as usize) else { continue };
            role.live = role.live.saturating_add_signed(by);
            if role.live == 0 {
                role.tree.count = 0;
            }
        }
    }

    /// Says whether a member is subscribed, and whether it wants offers. True if it did not want
    /// them before.
    pub(super) fn subscribe(
        &mut self,
        role: RoleId,
        framework: FrameworkKey,
        subscribed: bool,
        wants: bool,
    ) -> bool {
        let Some(member) = self.member_mut(role, framework) else { return false };
        let woken = wants && !member.wants;
        member.subscribed = subscribed;
        member.wants = wants;
        self.order_is_old = true;
        self.leave_if_unused(role, framework);
        woken
    }

    /// Makes all filters of a member void.
    pub(super) fn drop_filters(&mut self, role: RoleId, framework: FrameworkKey) {
        self.epochs += 1;
        let epoch = self.epochs;
        if let Some(member) = self.member_mut(role, framework) {
            member.epoch = epoch;
        }
    }

    /// Filters of a member apply if they are of this epoch.
    pub(super) fn epoch(&self, role: RoleId, framework: FrameworkKey) -> Option<u64> {
        self.member(role, framework).map(|member| member.epoch)
    }

    /// A member has something on one more agent, or on one fewer.
    pub(super) fn change_agents(&mut self, role: RoleId, framework: FrameworkKey, by: isize) {
        if let Some(member) = self.member_mut(role, framework) {
            member.agents = member.agents.saturating_add_signed(by);
        }
        if by < 0 {
            self.leave_if_unused(role, framework);
        }
    }

    /// Accounts for what a member gets or gives back, in it and in all roles above.
    pub(super) fn charge(&mut self, role: RoleId, framework: FrameworkKey, charge: &Charge<'_>) {
        let total = std::mem::take(&mut self.total);
        if let Some(member) = self.member_mut(role, framework) {
            member.usage.change(charge, 0, &total);
        }
        if let Some(role) = self.roles.get_mut(role.0 as usize) {
            role.own.change(charge, 1, &total);
        }
        let (mut next, mut level) = (Some(role), 2);
        while let Some(role) = next.and_then(|role| self.roles.get_mut(role.0 as usize)) {
            role.tree.change(charge, level, &total);
            next = role.parent;
            level += 1;
        }
        self.total = total;
        self.order_is_old = true;
    }

    /// Those who want offers, in the order in which they are to get them.
    pub(super) fn order(&mut self) -> &[(RoleId, FrameworkKey)] {
        if std::mem::take(&mut self.shares_are_old) {
            for role in &mut self.roles {
                role.own.refresh(&self.total);
                role.tree.refresh(&self.total);
                role.members.iter_mut().for_each(|member| member.usage.refresh(&self.total));
            }
        }
        if std::mem::take(&mut self.order_is_old) {
            let mut order = std::mem::take(&mut self.order);
            order.clear();
            self.list(None, &self.roots, &mut order);
            self.order = order;
        }
        &self.order
    }

    /// Lists the members of sibling roles, and of their parent among them.
    fn list(
        &self,
        parent: Option<RoleId>,
        children: &[RoleId],
        order: &mut Vec<(RoleId, FrameworkKey)>,
    ) {
        // The parent's leaf comes before a child of equal share: `.` is below all letters.
        let leaf = parent.and_then(|id| Some((false, id, &self.role(id)?.own)));
        let child = |id: &RoleId| self.role(*id).map(|role| (true, *id, &role.tree));
        let mut nodes: Vec<_> = children.iter().filter_map(child).chain(leaf).collect();
        nodes.retain(|(is_child, id, _)| {
            self.role(*id).is_some_and(|role| {
                if *is_child { role.live > 0 } else { !role.members.is_empty() }
            })
        });
        nodes.sort_by(|a, b| {
            let path = |id: RoleId| self.role(id).map(|role| &role.path);
            a.2.before(b.2).then(a.0.cmp(&b.0)).then_with(|| path(a.1).cmp(&path(b.1)))
        });
        for (is_child, id, _) in nodes {
            let Some(role) = self.role(id) else { continue };
            if is_child && role.live > role.members.len() {
                self.list(Some(id), &role.children, order);
            } else {
                list_members(id, &role.members, order);
            }
        }
    }
}

fn list_members(role: RoleId, members: &[Member], order: &mut Vec<(RoleId, FrameworkKey)>) {
    let mut wanting: Vec<_> = members.iter().filter(|member| member.wants).collect();
    wanting.sort_by(|a, b| a.usage.before(&b.usage).then_with(|| a.id.cmp(&b.id)));
    order.extend(wanting.into_iter().map(|member| (role, member.key)));
}
