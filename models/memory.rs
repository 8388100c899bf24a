//! How much memory this program uses, and how much it may.

use nix::sys::resource::{UsageWho, getrusage};
use std::sync::{LazyLock, Mutex};
use sysinfo::{MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// Nine tenths of what there is, in bytes; a container may have less than its machine. `None` if that is
/// unknown here.
pub fn limit() -> Option<u64> {
    let mut system = System::new();
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    let of_container = system.cgroup_limits().map(|limits| limits.total_memory);
    let total = of_container
        .into_iter()
        .chain([system.total_memory()])
        .filter(|total| *total > 0)
        .min()?;
    Some(total / 10 * 9)
}

/// What this program uses, in bytes, or `None` if that is unknown here.
pub fn used() -> Option<u64> {
    static SYSTEM: LazyLock<Mutex<(System, Option<Pid>)>> =
        LazyLock::new(|| Mutex::new((System::new(), sysinfo::get_current_pid().ok())));
    let mut guard = SYSTEM.lock().ok()?;
    let (system, pid) = &mut *guard;
    let pid = (*pid)?;
    let memory = ProcessRefreshKind::nothing().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, memory);
    Some(system.process(pid)?.memory())
}

/// The most that this program ever used, in bytes. An error if the system does not tell.
pub fn peak() -> Result<u64, String> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)
        .map_err(|error| format!("the system does not tell the peak of the memory: {error}"))?;
    // Apple's systems count bytes, the others kilobytes.
    let unit = if cfg!(target_vendor = "apple") {
        1
    } else {
        1024
    };
    Ok(usage.max_rss().unsigned_abs() * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_uses_some_memory_and_may_use_more() {
        let (used, limit) = (used().expect("known"), limit().expect("known"));
        assert!(0 < used && used < limit, "{used} of {limit}");
        let peak = peak().expect("known");
        // The system counts the two in different ways.
        assert!(used / 2 < peak && peak < limit, "{used}, {peak} of {limit}");
    }
}
