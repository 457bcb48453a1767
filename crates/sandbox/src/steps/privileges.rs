//! Capabilities, new privileges, keys and dumps.
//!
//! Each is verified by reading the kernel's own account of it back.

use rustix::process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities, capabilities_secure_bits,
    capability_is_in_bounding_set, clear_ambient_capability_set, no_new_privs,
    remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits,
    set_no_new_privs,
};

use crate::layer::{During, Step, check};
use crate::sys;

/// More than the kernel's highest capability (`CAP_LAST_CAP`, 40 in Linux 6.18).
const CAPABILITIES_MAX: u32 = 64;

/// Gives up every capability of the worker but those in `kept`, for good: the bounding set is
/// emptied and the secure bits are locked, so that no id and no program brings one back.
pub(crate) fn keep_capabilities(kept: CapabilitySet) -> Step {
    let locked = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    // Without a user namespace an ordinary user has nothing to give up, and no right to lock
    // what it does not have; no_new_privs keeps it so.
    let held = capabilities(None).during("capget")?;
    if held.permitted.is_empty() && kept.is_empty() {
        return hold_exactly(kept);
    }
    empty_bounding_set()?;
    clear_ambient_capability_set().during("prctl PR_CAP_AMBIENT_CLEAR_ALL")?;
    // Both of these need CAP_SETPCAP, so they come before the sets are emptied.
    set_capabilities_secure_bits(locked).during("prctl PR_SET_SECUREBITS")?;
    hold_exactly(kept)?;
    check(capabilities_secure_bits().during("prctl PR_GET_SECUREBITS")? == locked, "secure bits")
}

/// Gives up the last capability: the job's first step. The bounding set is the worker's.
pub(crate) fn drop_capabilities() -> Step {
    hold_exactly(CapabilitySet::empty())
}

fn hold_exactly(kept: CapabilitySet) -> Step {
    let sets =
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).during("capset")?;
    check(capabilities(None).during("capget")? == sets, "the capabilities that are left")
}

fn empty_bounding_set() -> Step {
    for number in 0..CAPABILITIES_MAX {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match capability_is_in_bounding_set(capability) {
            Ok(false) => continue,
            Ok(true) => {
                remove_capability_from_bounding_set(capability).during("prctl PR_CAPBSET_DROP")?
            }
            // The first number the kernel does not know.
            Err(_) => break,
        }
    }
    Ok(())
}

/// No execve gains anything; also what lets an ordinary user install filters.
pub(crate) fn refuse_new_privileges() -> Step {
    set_no_new_privs(true).during("prctl PR_SET_NO_NEW_PRIVS")?;
    check(no_new_privs().during("prctl PR_GET_NO_NEW_PRIVS")?, "no_new_privs")
}

/// Leaves the keyring of the user's session behind.
pub(crate) fn leave_keyring() -> Step {
    sys::join_new_session_keyring().during("keyctl KEYCTL_JOIN_SESSION_KEYRING")
}

/// No core dump, and nobody of the same id may trace the process or read its memory.
pub(crate) fn refuse_dumps() -> Step {
    let never = DumpableBehavior::NotDumpable;
    set_dumpable_behavior(never).during("prctl PR_SET_DUMPABLE")?;
    check(dumpable_behavior().during("prctl PR_GET_DUMPABLE")? == never, "not dumpable")
}
