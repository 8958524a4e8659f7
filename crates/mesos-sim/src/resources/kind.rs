//! What a resource is, apart from how much of it there is.

use peloton_proto::mesos::v1;
use std::fmt;
use std::sync::{Arc, LazyLock};
use v1::resource::DiskInfo;
use v1::resource::disk_info::source::Type as SourceType;
use v1::resource::disk_info::{Persistence, Source};

/// A resource's name. The usual ones cost nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// `cpus`
    Cpus,
    /// `mem`, in megabytes.
    Mem,
    /// `disk`, in megabytes.
    Disk,
    /// `gpus`
    Gpus,
    /// `ports`
    Ports,
    /// Any other.
    Other(Arc<str>),
}

impl Name {
    /// The name as the protocol has it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Cpus => "cpus",
            Self::Mem => "mem",
            Self::Disk => "disk",
            Self::Gpus => "gpus",
            Self::Ports => "ports",
            Self::Other(name) => name,
        }
    }
}

impl From<&str> for Name {
    fn from(name: &str) -> Self {
        match name {
            "cpus" => Self::Cpus,
            "mem" => Self::Mem,
            "disk" => Self::Disk,
            "gpus" => Self::Gpus,
            "ports" => Self::Ports,
            _ => Self::Other(name.into()),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// The type of a resource's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A number.
    Scalar,
    /// Ranges of whole numbers.
    Ranges,
    /// A set of strings.
    Set,
}

/// One level of a reservation.
#[derive(Debug, Clone)]
pub struct Reservation {
    /// Made by a framework or an operator, not by the agent's flags.
    pub dynamic: bool,
    /// Whom it is for.
    pub role: Arc<str>,
    /// Who made it.
    pub principal: Option<Arc<str>>,
    /// What its maker wrote on it.
    pub labels: Option<Arc<[v1::Label]>>,
}

impl PartialEq for Reservation {
    fn eq(&self, other: &Self) -> bool {
        self.dynamic == other.dynamic
            && self.role == other.role
            && self.principal == other.principal
            && match (&self.labels, &other.labels) {
                (Some(mine), Some(theirs)) => {
                    Arc::ptr_eq(mine, theirs) || same_labels(mine, theirs)
                }
                (mine, theirs) => mine.is_none() && theirs.is_none(),
            }
    }
}

impl Eq for Reservation {}

/// Equality of labels does not look at their order.
pub(super) fn same_labels(mine: &[v1::Label], theirs: &[v1::Label]) -> bool {
    let count = |labels: &[v1::Label], label: &v1::Label| {
        labels.iter().filter(|other| *other == label).count()
    };
    mine == theirs
        || (mine.len() == theirs.len()
            && mine.iter().all(|label| count(mine, label) == count(theirs, label)))
}

/// A stack of reservations, the most refined one last; shared between the resources that have it.
pub type Stack = Arc<[Reservation]>;

/// What a resource is. Two of a kind can be told apart only by their quantity, and are merged,
/// unless they are `exclusive`.
#[derive(Debug, Clone)]
pub struct Kind {
    name: Name,
    shape: Shape,
    reservations: Stack,
    /// Apart, as it is large and most have none.
    disk: Option<Arc<DiskInfo>>,
    revocable: bool,
    shared: bool,
    provider: Option<Arc<str>>,
    exclusive: bool,
    /// Of everything that equality looks at: two that differ are different kinds.
    fingerprint: u64,
}

/// The kinds that nearly all resources are of, once for all.
static PLAIN: LazyLock<[Arc<Kind>; 5]> = LazyLock::new(|| {
    [Name::Cpus, Name::Mem, Name::Disk, Name::Gpus, Name::Ports].map(|name| {
        let shape = if name == Name::Ports { Shape::Ranges } else { Shape::Scalar };
        Arc::new(Kind::build(name, shape, Stack::default(), None, false, false, None))
    })
});

impl Kind {
    /// An unreserved resource without particulars.
    pub(super) fn plain(name: Name, shape: Shape) -> Arc<Self> {
        let usual = |kind: &&Arc<Self>| kind.name == name && kind.shape == shape;
        match PLAIN.iter().find(usual) {
            Some(kind) => Arc::clone(kind),
            None => Arc::new(Self::build(name, shape, Stack::default(), None, false, false, None)),
        }
    }

    pub(super) fn build(
        name: Name,
        shape: Shape,
        reservations: Stack,
        disk: Option<Arc<DiskInfo>>,
        revocable: bool,
        shared: bool,
        provider: Option<Arc<str>>,
    ) -> Self {
        let exclusive = disk.as_deref().is_some_and(is_exclusive);
        let mut kind = Self {
            name,
            shape,
            reservations,
            disk,
            revocable,
            shared,
            provider,
            exclusive,
            fingerprint: 0,
        };
        kind.fingerprint = kind.fingerprint_now();
        kind
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The type of its value.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Its reservations, the most refined one last.
    #[must_use]
    pub fn reservations(&self) -> &Stack {
        &self.reservations
    }

    /// The role of the most refined reservation; `None` if it is unreserved.
    #[must_use]
    pub fn reservation_role(&self) -> Option<&str> {
        self.reservations.last().map(|reservation| &*reservation.role)
    }

    /// Whether a framework or an operator made its most refined reservation.
    #[must_use]
    pub fn is_dynamically_reserved(&self) -> bool {
        self.reservations.last().is_some_and(|reservation| reservation.dynamic)
    }

    /// Whether it may be given to a role: it is unreserved, or reserved to the role or to an
    /// ancestor of it.
    #[must_use]
    pub fn is_allocatable_to(&self, role: &str) -> bool {
        self.reservation_role()
            .is_none_or(|owner| owner == role || is_strict_subrole_of(role, owner))
    }

    /// What it is as a disk.
    #[must_use]
    pub fn disk(&self) -> Option<&DiskInfo> {
        self.disk.as_deref()
    }

    /// The id of a persistent volume.
    #[must_use]
    pub fn persistence_id(&self) -> Option<&str> {
        self.disk.as_ref()?.persistence.as_ref().map(|persistence| persistence.id.as_str())
    }

    /// Whether it can be taken away at any time.
    #[must_use]
    pub fn is_revocable(&self) -> bool {
        self.revocable
    }

    /// Whether several tasks can use it at once.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// Its resource provider; `None` is the agent itself.
    #[must_use]
    pub fn provider(&self) -> Option<&str> {
        self.provider.as_deref()
    }

    /// Whether it is one thing that is used or left as a whole: a persistent volume, a mount, a
    /// block device or a raw disk with an id.
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    /// The same with other reservations.
    pub(super) fn with_reservations(&self, reservations: Stack) -> Self {
        let mut kind = Self { reservations, ..self.clone() };
        kind.fingerprint = kind.fingerprint_now();
        kind
    }

    /// The same as what it was before a persistent volume was made of it.
    pub(super) fn without_volume(&self) -> Self {
        let with_source = self.disk.as_deref().filter(|disk| disk.source.is_some());
        let disk = with_source.map(|disk| {
            let source = disk.source.clone();
            Arc::new(DiskInfo { persistence: None, volume: None, source })
        });
        Self::build(
            self.name.clone(),
            self.shape,
            Arc::clone(&self.reservations),
            disk,
            self.revocable,
            false,
            self.provider.clone(),
        )
    }

    fn fingerprint_now(&self) -> u64 {
        let mut hash = Fnv::new();
        hash.text(self.name.as_str());
        hash.byte(self.shape as u8 | u8::from(self.revocable) << 2 | u8::from(self.shared) << 3);
        for reservation in self.reservations.iter() {
            hash.byte(u8::from(reservation.dynamic));
            hash.text(&reservation.role);
            hash.text(reservation.principal.as_deref().unwrap_or_default());
            let labels = reservation.labels.iter().flat_map(|labels| labels.iter());
            // A sum, because the order of labels does not count.
            hash.number(labels.map(label_fingerprint).fold(0, u64::wrapping_add));
        }
        if let Some(disk) = &self.disk {
            hash.text(disk.persistence.as_ref().map_or("", |persistence| &persistence.id));
            hash.text(source_root(disk.source.as_ref()));
        }
        hash.text(self.provider.as_deref().unwrap_or_default());
        hash.0
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
            && self.name == other.name
            && self.shape == other.shape
            && self.revocable == other.revocable
            && self.shared == other.shared
            && (Arc::ptr_eq(&self.reservations, &other.reservations)
                || self.reservations == other.reservations)
            && self.provider == other.provider
            && match (&self.disk, &other.disk) {
                (Some(mine), Some(theirs)) => Arc::ptr_eq(mine, theirs) || same_disk(mine, theirs),
                (mine, theirs) => mine.is_none() && theirs.is_none(),
            }
    }
}

impl Eq for Kind {}

/// A disk is the same by its source and persistence id: where a volume is mounted is a matter of use.
fn same_disk(mine: &DiskInfo, theirs: &DiskInfo) -> bool {
    let id = |persistence: &Persistence| persistence.id.clone();
    same_source(mine.source.as_ref(), theirs.source.as_ref())
        && mine.persistence.as_ref().map(id) == theirs.persistence.as_ref().map(id)
}

fn same_source(mine: Option<&Source>, theirs: Option<&Source>) -> bool {
    let (Some(mine), Some(theirs)) = (mine, theirs) else {
        return mine.is_none() && theirs.is_none();
    };
    let metadata = match (&mine.metadata, &theirs.metadata) {
        (Some(mine), Some(theirs)) => same_labels(&mine.labels, &theirs.labels),
        (mine, theirs) => mine.is_none() && theirs.is_none(),
    };
    let plain = |source: &Source| Source { metadata: None, ..source.clone() };
    metadata && plain(mine) == plain(theirs)
}

fn is_exclusive(disk: &DiskInfo) -> bool {
    let source = disk.source.as_ref();
    disk.persistence.is_some()
        || source.is_some_and(|source| match source.r#type() {
            SourceType::Mount | SourceType::Block => true,
            SourceType::Raw => source.id.is_some(),
            SourceType::Path | SourceType::Unknown => false,
        })
}

fn source_root(source: Option<&Source>) -> &str {
    let root = source.and_then(|source| {
        let path = source.path.as_ref().and_then(|path| path.root.as_deref());
        path.or_else(|| source.mount.as_ref().and_then(|mount| mount.root.as_deref()))
    });
    root.unwrap_or_default()
}

fn label_fingerprint(label: &v1::Label) -> u64 {
    let mut hash = Fnv::new();
    hash.text(&label.key);
    hash.text(label.value.as_deref().unwrap_or_default());
    hash.0
}

/// Whether a role is below another: `a/b` is below `a`, `ab` is not.
#[must_use]
pub fn is_strict_subrole_of(role: &str, ancestor: &str) -> bool {
    role.strip_prefix(ancestor).is_some_and(|rest| rest.starts_with('/'))
}

/// The hash of Fowler, Noll and Vo: the same on every run, and nobody outside chooses what is hashed
/// to do harm here.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn byte(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }

    fn text(&mut self, text: &str) {
        text.bytes().for_each(|byte| self.byte(byte));
        // No text has this byte, so "ab" + "c" is not "a" + "bc".
        self.byte(0xff);
    }

    fn number(&mut self, number: u64) {
        number.to_le_bytes().into_iter().for_each(|byte| self.byte(byte));
    }
}
