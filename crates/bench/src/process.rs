//! The CPU time and memory of another process, from `/proc` (proc(5)), and how many files this
//! one may open.

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// User and system time that a process and its threads have used, in seconds.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let ticks = cpu_ticks(&stat).with_context(|| format!("{path} has an unknown form"))?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// User and system time of a process and of all below it that still run, in seconds.
pub fn cpu_seconds_of_tree(pid: u32) -> Result<f64> {
    let mut all = cpu_seconds(pid)?;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        // Gone meanwhile, or a kernel that does not say.
        let Ok(children) = std::fs::read_to_string(task.path().join("children")) else { continue };
        for child in children.split_ascii_whitespace().filter_map(|text| text.parse().ok()) {
            all += cpu_seconds_of_tree(child).unwrap_or_default();
        }
    }
    Ok(all)
}

/// Fields 14 and 15, counted after the command's name, which may hold spaces and brackets.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Physical memory that a process holds, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    resident(&status).with_context(|| format!("{path} has an unknown form"))
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

/// Lets this process, and those it starts from now on, open so many files; the hard limit is
/// raised where that is allowed. Fails by the limit's name where they are too few.
pub(crate) fn allow_open_files(needed: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|maximum| maximum < needed) {
        // Only root may.
        let raised = Rlimit { current: Some(needed), maximum: Some(needed) };
        let _ = setrlimit(Resource::Nofile, raised);
    }
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    ensure!(
        allowed >= needed,
        "limit RLIMIT_NOFILE exceeded: the hard limit of open files is {allowed}, and {needed} \
         are needed"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines() {
        let line = "7 (a b) c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 300 0 0";
        assert_eq!(cpu_ticks(line), Some(300));
        assert_eq!(cpu_ticks("nonsense"), None);
        let own = cpu_seconds(std::process::id()).expect("its own");
        assert!(cpu_seconds_of_tree(std::process::id()).is_ok_and(|all| all >= own));
    }

    #[test]
    fn status_files() {
        let status = "Name:\tx\nVmHWM:\t    9 kB\nVmRSS:\t    2048 kB\nThreads:\t1\n";
        assert_eq!(resident(status), Some(2 * 1024 * 1024));
        assert_eq!(resident("Name:\tx\n"), None);
        assert!(resident_bytes(std::process::id()).is_ok_and(|bytes| bytes > 0));
    }

    #[test]
    fn too_few_open_files_are_named() {
        assert!(allow_open_files(1).is_ok());
        let error = allow_open_files(u64::MAX - 1).expect_err("more than any kernel allows");
        assert!(error.to_string().starts_with("limit RLIMIT_NOFILE exceeded"), "{error}");
    }
}
