//! Whether what is written to a directory will be there after the next start of the machine.

use std::fs;
use std::path::Path;

/// Why it will not; `None` when nothing speaks against it.
pub(super) fn throwaway(directory: &Path) -> Option<String> {
    let real = fs::canonicalize(directory).ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    reason(&real, &mounts)
}

fn reason(directory: &Path, mounts: &str) -> Option<String> {
    let temporary = ["/tmp", "/var/tmp", "/dev/shm", "/run"];
    if let Some(place) = temporary.iter().find(|place| directory.starts_with(place)) {
        return Some(format!("is in {place}"));
    }
    let mounted = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    // Of two mounts on one place the later one counts.
    let kind = mounted
        .filter(|(place, _)| directory.starts_with(place))
        .max_by_key(|(place, _)| place.len())
        .map(|(_, kind)| kind)?;
    matches!(kind, "tmpfs" | "ramfs").then(|| format!("is on a {kind}, which is memory"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_temporary_places_do_not_last() {
        let mounts = "/dev/sda1 / ext4 rw 0 0\ntmpfs /mem tmpfs rw 0 0\n\
                      /dev/sdb1 /mem/disk xfs rw 0 0\nramfs /r ramfs rw 0 0\n";
        let lasts = |path: &str| reason(Path::new(path), mounts).is_none();
        assert!(lasts("/var/lib/callbox"));
        assert!(lasts("/mem/disk/callbox"));
        assert!(lasts("/memory"));
        assert!(lasts("/tmpfiles/callbox"));
        for path in [
            "/tmp/x",
            "/var/tmp/x",
            "/mem/x",
            "/r",
            "/run/callbox",
            "/dev/shm/x",
        ] {
            assert!(!lasts(path), "{path}");
        }
    }
}
