//! What the system grants: open files, socket buffers.

use std::fs;

use super::report::Finding;
use super::subject::Subject;

/// What our UDP sockets ask for.
const BUFFER: u64 = 4 << 20;

/// Listeners, workers, the runtime, files of pages that are being read.
const OTHER_FILES: u64 = 1000;

/// What the kernel says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// Open files of the running process.
    pub files: Option<u64>,
    /// Largest receive buffer that a program may ask for.
    pub receive: Option<u64>,
    /// Largest send buffer.
    pub send: Option<u64>,
}

/// Reads it.
pub fn observe(subject: &Subject) -> Granted {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse().ok();
    let limits = subject
        .running
        .and_then(|pid| fs::read_to_string(format!("/proc/{pid}/limits")).ok());
    Granted {
        files: limits.as_deref().and_then(open_files),
        receive: number("/proc/sys/net/core/rmem_max"),
        send: number("/proc/sys/net/core/wmem_max"),
    }
}

/// The soft limit in `/proc/PID/limits`.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// As many as connections and relay ports can take up.
pub fn files_wanted(subject: &Subject) -> u64 {
    let ports = subject.settings.turn.relay_ports.len() as u64;
    subject.settings.front.max_connections.get() as u64 + ports + OTHER_FILES
}

/// Judges it.
pub fn judge(granted: &Granted, files_wanted: u64) -> Vec<Finding> {
    let files = match granted.files {
        None => Finding::skipped("files", "the limit is that of the running process"),
        Some(limit) if limit < files_wanted => Finding::failed(
            "files.limit",
            format!(
                "the running process may open {limit} files, but [front] max_connections and [turn] relay_ports can take up {files_wanted}: \
                 connections beyond that fail"
            ),
            format!(
                "raise the hard limit to {files_wanted} (LimitNOFILE= in the systemd unit, `--ulimit nofile={files_wanted}` of Docker), or lower those two"
            ),
        ),
        Some(limit) => Finding::ok("files", format!("{limit} files may be open")),
    };
    let buffers = match (granted.receive, granted.send) {
        (Some(receive), Some(send)) if receive < BUFFER || send < BUFFER => Finding::note(
            "kernel.buffers",
            format!(
                "the kernel grants sockets {} KiB to receive and {} KiB to send; bursts beyond that are lost",
                receive / 1024,
                send / 1024
            ),
        )
        .with(format!("`sudo sysctl -w net.core.rmem_max={BUFFER} net.core.wmem_max={BUFFER}`, and the same in /etc/sysctl.d/ for the next start")),
        (Some(_), Some(_)) => Finding::ok("kernel", "socket buffers are large enough"),
        _ => Finding::skipped("kernel", "the limits of socket buffers cannot be read here"),
    };
    vec![files, buffers]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_judged_by_what_can_be_used() {
        let large = Some(BUFFER);
        for (granted, expected) in [
            (
                Granted {
                    files: Some(40_000),
                    receive: large,
                    send: large,
                },
                ["files", "kernel"],
            ),
            (
                Granted {
                    files: Some(1024),
                    receive: large,
                    send: Some(212_992),
                },
                ["files.limit", "kernel.buffers"],
            ),
            (
                Granted {
                    files: Some(u64::MAX),
                    receive: Some(1),
                    send: large,
                },
                ["files", "kernel.buffers"],
            ),
            (Granted::default(), ["files", "kernel"]),
        ] {
            let found = judge(&granted, 37_000);
            assert_eq!([found[0].id, found[1].id], expected, "{granted:?}");
        }
    }

    #[test]
    fn the_kernels_table_is_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max processes             31704                31704                processes \n\
                    Max open files            1024                 1048576              files     \n";
        assert_eq!(open_files(text), Some(1024));
        assert_eq!(
            open_files("Max open files            unlimited            unlimited            files"),
            Some(u64::MAX)
        );
        assert_eq!(open_files(""), None);
    }
}
