//! The 16 bits that a filter sends to the supervisor: what the policy answers, and what is to be done.

use callgate_abi::Action;

/// What the supervisor is asked to do with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    /// Have it skipped, with the policy's errno.
    Refuse,
    /// Have it skipped, with the errno of another filter of ours.
    Withhold,
    /// Let it run.
    Allow,
}

/// A refusal of the policy as the filter tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    /// What the policy answers, or the other filter.
    pub(crate) answer: Action,
    /// What is to be done.
    pub(crate) fate: Fate,
}

// Neither bit is set in what the marker's filter sends, which is 0.
const REFUSE: u16 = 0x8000;
const ALLOW: u16 = 0x4000;
const WITHHOLD: u16 = REFUSE | ALLOW;
/// The rest is an action without an errno.
const HARD: u16 = 0x2000;

impl Mark {
    /// The bits. None for a refusal that only the kernel can make.
    pub(crate) fn bits(self) -> Option<u16> {
        let answer = match self.answer {
            Action::Errno(errno) => errno & 0x0fff,
            // Nobody else traces the run: the kernel's answer without a tracer.
            Action::Trace(_) => libc::ENOSYS as u16,
            Action::Trap => HARD | 1,
            Action::KillThread => HARD | 2,
            Action::KillProcess => HARD | 3,
            Action::Allow | Action::Log => return None,
        };
        match self.fate {
            Fate::Refuse | Fate::Withhold if answer & HARD != 0 => None,
            Fate::Refuse => Some(REFUSE | answer),
            Fate::Withhold => Some(WITHHOLD | answer),
            Fate::Allow => Some(ALLOW | answer),
        }
    }

    /// The refusal that these bits tell of; none if they are not ours.
    pub(crate) fn of(bits: u32) -> Option<Self> {
        let bits = u16::try_from(bits).ok()?;
        let answer = match bits & (HARD | 0x0fff) {
            errno @ ..=0x0fff => Action::Errno(errno),
            0x2001 => Action::Trap,
            0x2002 => Action::KillThread,
            0x2003 => Action::KillProcess,
            _ => return None,
        };
        let fate = match bits & !(HARD | 0x0fff) {
            REFUSE => Fate::Refuse,
            WITHHOLD => Fate::Withhold,
            ALLOW => Fate::Allow,
            _ => return None,
        };
        let mark = Self { answer, fate };
        (mark.bits() == Some(bits)).then_some(mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_and_its_bits_lead_to_each_other_and_the_marker_has_none() {
        let answers = [
            Action::Errno(0),
            Action::Errno(38),
            Action::Errno(4095),
            Action::Trap,
            Action::KillThread,
            Action::KillProcess,
        ];
        for answer in answers {
            for fate in [Fate::Refuse, Fate::Withhold, Fate::Allow] {
                let mark = Mark { answer, fate };
                if let Some(bits) = mark.bits() {
                    assert_eq!(Mark::of(u32::from(bits)), Some(mark), "{mark:?}");
                }
            }
        }
        let killed = Mark {
            answer: Action::KillProcess,
            fate: Fate::Refuse,
        };
        assert_eq!(killed.bits(), None);
        let known = (0..=0xffff).filter(|bits| Mark::of(*bits).is_some()).count();
        assert_eq!((Mark::of(0), known), (None, 3 * 4096 + 3));
    }
}
