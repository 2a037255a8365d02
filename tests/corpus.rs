//! Replays what the fuzzers have found worth keeping (`fuzz/corpus/<target>/`) on a stable
//! compiler, so that no crash comes back unnoticed.

use std::fs;
use std::path::Path;

use callbox::fuzzing;

fn replay(target: &str, run: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    // The published package leaves fuzz/ out.
    let Ok(files) = fs::read_dir(&folder) else {
        return;
    };
    let mut replayed = 0;
    for file in files {
        let path = file.expect("the folder can be read").path();
        // A panic names the test only; this names the file.
        println!("{}", path.display());
        run(&fs::read(path).expect("the file can be read"));
        replayed += 1;
    }
    assert!(replayed > 0, "{} is empty", folder.display());
}

#[test]
fn stun_decode_survives_its_corpus() {
    replay("stun_decode", fuzzing::stun_decode);
}

#[test]
fn stream_frame_survives_its_corpus() {
    replay("stream_frame", fuzzing::stream_frame);
}

#[test]
fn turn_core_survives_its_corpus() {
    replay("turn_core", fuzzing::turn_core::run);
}

#[test]
fn sniff_survives_its_corpus() {
    replay("sniff", fuzzing::front::sniff);
}

#[test]
fn proxy_header_survives_its_corpus() {
    replay("proxy_header", fuzzing::front::proxy_header);
}

#[test]
fn router_survives_its_corpus() {
    replay("router", fuzzing::front::router);
}

#[test]
fn course_frame_survives_its_corpus() {
    replay("course_frame", fuzzing::front::course_frame);
}

#[test]
fn ice_wish_survives_its_corpus() {
    replay("ice_wish", fuzzing::front::ice_wish);
}

#[test]
fn native_frame_survives_its_corpus() {
    replay("native_frame", fuzzing::front::native_frame);
}

#[test]
fn further_frame_survives_its_corpus() {
    replay("further_frame", fuzzing::front::further_frame);
}

#[test]
fn websocket_frame_survives_its_corpus() {
    replay("websocket_frame", fuzzing::front::websocket_frame);
}

#[test]
fn collider_frame_survives_its_corpus() {
    replay("collider_frame", fuzzing::apprtc::collider_frame);
}

#[test]
fn apprtc_query_survives_its_corpus() {
    replay("apprtc_query", fuzzing::apprtc::apprtc_query);
}
