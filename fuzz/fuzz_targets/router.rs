//! Paths from anybody: never a panic, and what comes out stays below the root.
#![no_main]

use std::path::{Component, Path};

use callbox::assets::negotiate::Accepted;
use callbox::http::router::{Route, Upgrade, route};
use hyper::Method;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for method in [Method::GET, Method::POST, Method::OPTIONS] {
        for upgrade in [Upgrade::None, Upgrade::WebSocket] {
            if let Route::Asset(path) = route(&method, text, upgrade, "/ws") {
                assert!(!path.starts_with('/'));
                assert!(!path.contains(['\0', '\\', '\r', '\n']));
                let below = Path::new(&path)
                    .components()
                    .all(|part| matches!(part, Component::Normal(_)));
                assert!(below, "{path:?}");
            }
        }
    }
    let _ = Accepted::parse(text).choose(true, true);
});
