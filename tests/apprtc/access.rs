//! Who may come in, and who may act for whom.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use callbox::config::settings::{Auth, Proxy, Upstream};
use callbox::net::clock;
use callbox::signal::keyring::Keyring;
use serde_json::json;

use crate::client::Server;
use crate::door::{Scratch, Setup};

const KEY: &str = "a shared secret of the test, 32 bytes at least";

/// A server where joining needs a token.
async fn strict() -> (Server, Scratch) {
    let scratch = Scratch::new("apprtc-keys");
    std::fs::create_dir_all(&scratch.0).unwrap();
    let file = scratch.0.join("key");
    std::fs::write(&file, KEY).unwrap();
    let keyring = Keyring::open(std::slice::from_ref(&file)).unwrap();
    let mut setup = Setup {
        keyring: Some(Arc::new(keyring)),
        ..Setup::default()
    };
    setup.settings.signaling.auth = Auth::Token(vec![file]);
    // Not even this opens a way round it.
    setup.settings.signaling.open_collider = true;
    (Server::with(setup).await, scratch)
}

fn token(room: &str) -> String {
    let claims = json!({"room": room, "exp": clock::unix_time() + 100});
    let key = jsonwebtoken::EncodingKey::from_secret(KEY.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
}

#[tokio::test]
async fn where_joining_needs_a_token_the_query_brings_it() {
    let (server, _scratch) = strict().await;
    let refused = json!({"result": "ERROR", "params": {"messages": []}});
    for query in ["", "?token=x", &format!("?token={}", token("other"))] {
        assert_eq!(
            server.try_join(&format!("r{query}")).await,
            refused,
            "{query}"
        );
    }
    let person = server.join(&format!("r?token={}", token("r"))).await;
    let mut stranger = server.socket().await;
    stranger.register("r", "stranger").await;
    assert!(stranger.hears_error().await.starts_with("Invalid register"));
    // Whoever is in has the right to a relay, which the key shows; nobody else has.
    let url = person.params["ice_server_url"].as_str().unwrap();
    let path = url
        .strip_prefix(&format!("https://{}", server.host()))
        .unwrap();
    let origin = ["Origin: https://appr.tc"];
    assert_eq!(server.request("POST", path, &origin, "").await.status, 200);
    let made_up = "/v1alpha/iceconfig?key=r.made-up";
    assert_eq!(
        server.request("POST", made_up, &origin, "").await.status,
        401
    );
    let anonymous = server.get("/params").await.json();
    let url = anonymous["ice_server_url"].as_str().unwrap();
    assert!(url.ends_with("?key="), "{url}");
    server.leave(&person).await;
    assert_eq!(server.request("POST", path, &origin, "").await.status, 401);
}

#[tokio::test]
async fn pages_of_others_join_nothing_in_their_visitors_names() {
    let server = Server::start().await;
    let ask = async |origin: &str| {
        let origin = format!("Origin: {origin}");
        server.request("POST", "/join/r", &[&origin], "").await
    };
    let foreign = ask("https://evil.example").await;
    assert_eq!(foreign.status, 403);
    for origin in [
        "https://appr.tc",
        "null",
        &format!("https://{}", server.host()),
    ] {
        let reply = ask(origin).await;
        assert_eq!(reply.status, 200, "{origin}");
        assert_eq!(reply.header("access-control-allow-origin"), None);
    }
    let friend = ask("https://friend.example").await;
    let allowed = friend.header("access-control-allow-origin");
    assert_eq!(allowed, Some("https://friend.example"));
}

#[tokio::test]
async fn who_does_not_know_an_id_cannot_act_for_it() {
    let server = Server::start().await;
    let (_, mut one, _, mut other) = server.pair("r").await;
    for id in ["00000000", "one", "a"] {
        let path = format!("/collider/r/{id}");
        assert_eq!(server.post(&path, "injected").await.status, 500);
        server.request("DELETE", &path, &[], "").await;
        server.post(&format!("/leave/r/{id}"), "").await;
    }
    assert_eq!(server.try_join("r").await["result"], "FULL");
    one.fence().await;
    other.fence().await;
}

#[tokio::test]
async fn an_application_at_the_root_does_not_take_apprtcs_paths() {
    let mut setup = Setup::default();
    // Nothing listens there: whatever reaches it comes back as an error of the proxy.
    let second = Duration::from_secs(1);
    setup.settings.proxy = vec![Proxy {
        path: "/".to_owned(),
        upstream: Upstream::Unix("/nowhere/socket".into()),
        connect_timeout: second,
        read_timeout: second,
        send_timeout: second,
        upgrade_timeout: None,
        max_connections: NonZeroUsize::MIN,
    }];
    let server = Server::with(setup).await;
    assert_eq!(server.get("/anything").await.status, 502);
    let person = server.join("r").await;
    assert_eq!(server.message(&person, "x").await, "SUCCESS");
    assert_eq!(server.get("/params").await.status, 200);
    assert_eq!(server.get("/collider/status").await.status, 200);
    server.leave(&person).await;
    server.delete(&person).await;
}
