//! A disk that takes nothing is no reason not to serve. As root: the disks are mounted in a mount
//! namespace of the test's own.

use std::fs;
use std::process::Command;

use crate::client::Client;
use crate::harness::{Process, Site, until};

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    let is_root = id.stdout.trim_ascii() == b"0";
    if !is_root {
        eprintln!("NOT TESTED: only root can mount a disk that is full or read-only");
    }
    is_root
}

/// Serves from a state directory that was prepared by these commands.
fn on(site: &Site, commands: &str) -> Process {
    fs::create_dir_all(site.directory.join("state")).unwrap();
    Process::start_with(site, &[], &[("BEFORE", commands)])
}

fn serves(site: &Site) {
    let (mut client, _) = Client::udp(site.turn_address()).allocated();
    assert_eq!(client.refresh(0).error(), None);
    assert!(site.admin("GET /readyz").unwrap().contains(" 200 "));
}

#[test]
fn a_full_disk_is_said_and_served_on() {
    if !is_root() {
        return;
    }
    let site = Site::new("full", "", "");
    let full =
        "mount -t tmpfs -o size=4k,nr_inodes=8 none state; head -c 4096 /dev/zero >state/ballast";
    let process = on(&site, full);
    process.says("the disk takes nothing");
    serves(&site);
    let unwritten = || site.status()["state"]["unwritten_files"].as_u64();
    assert!(unwritten() > Some(2), "{:?}", unwritten());
    let page = site.admin("GET /metrics").unwrap();
    assert!(!page.contains("callbox_state_unwritten_files 0"), "{page}");

    // Room is made: what was kept in memory is written.
    let state = format!(
        "/proc/{}/root{}/state",
        process.child.id(),
        site.directory.display()
    );
    fs::remove_file(format!("{state}/ballast")).unwrap();
    let remount = Command::new("nsenter")
        .args(["-m", "-t", &process.child.id().to_string(), "mount", "-o"])
        .args(["remount,size=1m,nr_inodes=100"])
        .arg(site.directory.join("state"))
        .status();
    assert!(remount.unwrap().success());
    process.signal("-HUP");
    until("the files are written", || unwritten() == Some(0));
    assert!(fs::metadata(format!("{state}/nonce.secret")).unwrap().len() > 32);
}

#[test]
fn a_read_only_disk_is_served_from_with_what_lies_there() {
    if !is_root() {
        return;
    }
    let site = Site::new("read-only", "", "");
    // A first start makes secrets and certificate.
    site.start().signal("-TERM");
    let kept = fs::read(site.directory.join("state/self-signed.crt")).unwrap();
    let process = on(
        &site,
        "mount --bind state state; mount -o remount,bind,ro state",
    );
    serves(&site);
    assert_eq!(site.status()["state"]["unwritten_files"], 0);
    drop(process);
    let process = on(&site, "mount -t tmpfs -o ro none state");
    process.says("the disk takes nothing");
    serves(&site);
    assert_eq!(
        fs::read(site.directory.join("state/self-signed.crt")).unwrap(),
        kept
    );
}

#[test]
fn a_second_start_on_a_read_only_disk_is_refused_all_the_same() {
    if !is_root() {
        return;
    }
    let site = Site::new("second", "", "");
    let process = site.start();
    let second = Command::new("unshare")
        .args(["-m", "sh", "-c"])
        .arg("mount --bind state state; mount -o remount,bind,ro state; exec \"$CALLBOX\" serve")
        .env("CALLBOX", env!("CARGO_BIN_EXE_callbox"))
        .current_dir(&site.directory)
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    let holder = format!("in use by process {}", process.child.id());
    assert!(text.contains(&holder), "{text}");
}
