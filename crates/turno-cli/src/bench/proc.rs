//! What processes have used: CPU time and memory, from proc(5).

use anyhow::{Context as _, Result};

/// User and system time of processes so far, in seconds.
pub(crate) fn cpu_s(pids: &[u32]) -> Result<f64> {
    let ticks_a_second = rustix::param::clock_ticks_per_second() as f64;
    let ticks = |pid: &u32| cpu_ticks(&read(*pid, "stat")?).context("/proc/PID/stat is not as proc(5) says");
    pids.iter().map(|pid| Ok(ticks(pid)? / ticks_a_second)).sum()
}

/// Resident memory of a process now, in KiB.
pub(crate) fn resident_kib(pid: u32) -> Result<f64> {
    resident(&read(pid, "status")?).context("/proc/PID/status has no VmRSS")
}

fn read(pid: u32, file: &str) -> Result<String> {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).context("a party of the bench has ended")
}

/// The fields after the command's closing parenthesis; utime and stime are the 14th and 15th of all.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<f64>);
    Some(times.next()?.ok()? + times.next()?.ok()?)
}

fn resident(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{cpu_s, cpu_ticks, resident, resident_kib};

    #[test]
    fn a_command_may_hold_spaces_and_parentheses() {
        let stat = "31 (a) (b c) S 1 31 31 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 5 0 1 2 3";
        assert_eq!(cpu_ticks(stat), Some(300.0));
        assert_eq!(cpu_ticks("31 (a) S 1"), None);
    }

    #[test]
    fn memory_is_read_in_kib() {
        assert_eq!(resident("VmHWM:\t   9000 kB\nVmRSS:\t   8124 kB\n"), Some(8124.0));
        assert_eq!(resident("Name:\tgone\n"), None);
    }

    #[test]
    fn this_process_can_be_measured_and_one_that_has_ended_cannot() {
        let this = std::process::id();
        assert!(resident_kib(this).unwrap() > 0.0);
        assert!(cpu_s(&[this]).unwrap() >= 0.0);
        assert!(cpu_s(&[this, u32::MAX]).is_err());
    }
}
