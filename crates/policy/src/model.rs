//! A policy as a value: which call gets which action.

use callgate_abi::{Action, Arch, ArgCondition};

/// Which call gets which action, for every architecture. On disk it is OCI seccomp JSON
/// ([`Policy::parse`], [`Policy::to_json`]).
///
/// What a call gets is said by [`Policy::decide`]: the most restrictive action of all rules that match
/// it, or [`Policy::default`] where none does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What the policy is for and where it comes from.
    pub comment: Option<String>,
    /// The action for calls that no rule matches.
    pub default: Action,
    /// What numbers get that are newer than the tables.
    pub unknown: Unknown,
    /// The architectures that the file names (`SCMP_ARCH_*`), in its order. They are kept for the tools
    /// that read the file; callgate compiles for amd64 and arm64 and refuses compatibility entries
    /// whatever stands here ([`Policy::notes`] says so).
    pub architectures: Vec<String>,
    /// Filter flags for the runtime that loads the file (`SECCOMP_FILTER_FLAG_*`).
    pub flags: Vec<String>,
    /// OCI's `listenerPath`, kept as it is.
    pub listener_path: Option<String>,
    /// OCI's `listenerMetadata`, kept as it is.
    pub listener_metadata: Option<String>,
    /// The rules. Their order decides nothing; it is kept for readers.
    pub rules: Vec<Rule>,
}

/// What a number gets that is above the newest known call of its architecture
/// ([`Arch::newest`]). On disk it is `"x-callgate": {"unknown": "enosys"}`, which OCI runtimes ignore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// [`Policy::default`], as every call without a rule.
    #[default]
    Default,
    /// ENOSYS, as from a kernel that does not have the call yet: libc falls back to an older one.
    Enosys,
}

impl Unknown {
    /// What such a number gets under this default.
    pub fn action(self, default: Action) -> Action {
        const ENOSYS: u16 = 38;
        match self {
            Self::Default => default,
            Self::Enosys => Action::Errno(ENOSYS),
        }
    }
}

/// One action for some calls, if all of its conditions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The kernel's names of the calls. A name that an architecture lacks matches nothing there.
    pub names: Vec<String>,
    /// What the calls get.
    pub action: Action,
    /// Conditions on the arguments, of which all must hold. Several rules for one name are alternatives.
    pub args: Vec<ArgCondition>,
    /// Why the rule is there: its provenance.
    pub comment: Option<String>,
    /// The architectures that the rule is for, in moby's words (`amd64`, `arm64`, `s390x` …);
    /// `None`: all.
    pub arches: Option<Vec<String>>,
}

impl Policy {
    /// A policy without rules, for amd64 and arm64.
    pub fn new(default: Action) -> Self {
        Self {
            comment: None,
            default,
            unknown: Unknown::Default,
            architectures: Arch::ALL.iter().map(|arch| arch.scmp_name().to_owned()).collect(),
            flags: Vec::new(),
            listener_path: None,
            listener_metadata: None,
            rules: Vec::new(),
        }
    }

    /// What a number without a name gets on this architecture.
    pub(crate) fn unnamed(&self, arch: Arch, nr: u32) -> Action {
        match nr > arch.newest() {
            true => self.unknown.action(self.default),
            false => self.default,
        }
    }

    /// The rules that count on this architecture, with their place in [`Policy::rules`].
    pub(crate) fn rules_for(&self, arch: Arch) -> impl Iterator<Item = (usize, &Rule)> {
        self.rules
            .iter()
            .enumerate()
            .filter(move |(_, rule)| rule.applies_to(arch))
    }
}

impl Rule {
    /// A rule without conditions, for every architecture.
    pub fn new<S: Into<String>>(action: Action, names: impl IntoIterator<Item = S>) -> Self {
        Self {
            names: names.into_iter().map(Into::into).collect(),
            action,
            args: Vec::new(),
            comment: None,
            arches: None,
        }
    }

    /// The same rule with this comment.
    #[must_use]
    pub fn because(mut self, comment: impl Into<String>) -> Self {
        self.comment = Some(comment.into());
        self
    }

    /// The same rule under these conditions.
    #[must_use]
    pub fn when(mut self, args: impl IntoIterator<Item = ArgCondition>) -> Self {
        self.args = args.into_iter().collect();
        self
    }

    /// The same rule for this architecture only.
    #[must_use]
    pub fn only_on(mut self, arch: Arch) -> Self {
        self.arches = Some(vec![arch.name().to_owned()]);
        self
    }

    /// Whether the rule counts on this architecture.
    pub fn applies_to(&self, arch: Arch) -> bool {
        self.arches
            .as_ref()
            .is_none_or(|arches| arches.iter().any(|word| word == arch.name()))
    }

    /// Whether the conditions hold for these arguments.
    pub fn holds(&self, args: &[u64; 6]) -> bool {
        self.args.iter().all(|condition| condition.holds(args))
    }
}
