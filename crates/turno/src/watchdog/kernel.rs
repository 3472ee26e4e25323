//! What the kernel says of a thread's time: on Linux, in /proc. The patrol asks, of threads whose poll lasts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::judge::ThreadTime;

/// The calling thread's. `None` on a system without.
pub(super) fn folder() -> Option<PathBuf> {
    Some(Path::new("/proc").join(std::fs::read_link("/proc/thread-self").ok()?))
}

/// Of the thread whose `folder` it is, unless it has ended, or the kernel keeps no account.
pub(super) fn thread_time(folder: &Path) -> Option<ThreadTime> {
    // In this order: when a thread sleeps by the first, the second has all that it had waited.
    let stat = std::fs::read(folder.join("stat")).ok()?;
    let schedstat = std::fs::read_to_string(folder.join("schedstat")).ok()?;
    parse(&stat, &schedstat)
}

/// By proc(5): the state comes after the name, any bytes in parentheses; `R` has a CPU or waits for one.
fn parse(stat: &[u8], schedstat: &str) -> Option<ThreadTime> {
    let name_ends = stat.iter().rposition(|byte| *byte == b')')?;
    let is_runnable = *stat.get(name_ends + 2)? == b'R';
    let mut fields = schedstat.split_whitespace().map(str::parse::<u64>);
    let mut next = || fields.next()?.ok();
    let (cpu, waited, turns) = (next()?, next()?, next()?);
    let [cpu, waited] = [cpu, waited].map(Duration::from_nanos);
    // A kernel that keeps no account writes zeros.
    (turns > 0).then_some(ThreadTime { cpu, waited, is_runnable })
}

#[cfg(test)]
mod tests {
    use super::{ThreadTime, parse};
    use std::time::Duration;

    #[test]
    fn a_name_may_hold_parentheses_and_half_a_letter() {
        let time = |is_runnable| {
            let (cpu, waited) = (Duration::from_nanos(395_810), Duration::from_nanos(91_808));
            Some(ThreadTime { cpu, waited, is_runnable })
        };
        assert_eq!(parse(b"31 (a) R (k\xc3) S 1 31", "395810 91808 2\n"), time(false));
        assert_eq!(parse(b"31 (a) R 1 31", "395810 91808 2\n"), time(true));
    }

    #[test]
    fn a_kernel_that_keeps_no_account_says_nothing() {
        assert_eq!(parse(b"31 (a) R 1 31", "0 0 0\n"), None);
        assert_eq!(parse(b"31 (a)", "395810 91808 2\n"), None);
        assert_eq!(parse(b"31 (a) R 1 31", ""), None);
    }
}
