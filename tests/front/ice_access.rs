//! `/ice`: who may ask, in each mode, with keys and tokens.

use std::sync::Arc;

use callbox::config::Secret;
use callbox::config::settings::{ApiKey, IceAccess};
use callbox::net::clock;
use callbox::signal::keyring::Keyring;
use serde_json::json;

use crate::door::{Door, Reply, Setup};

const KEY: &str = "a-key-of-the-operators-shop";
const FOREIGN: &str = "Origin: https://evil.example";

fn setup(access: IceAccess, keys: &[(&str, &str)]) -> Setup {
    let mut setup = Setup::default();
    setup.settings.ice.access = access;
    let key = |(name, key): &(&str, &str)| ApiKey {
        name: (*name).to_owned(),
        key: Secret::new(*key),
    };
    setup.settings.ice.api_keys = keys.iter().map(key).collect();
    setup
}

async fn preflight(door: &Door, origin: &str) -> Reply {
    let port = door.https.port();
    door.ask(&format!(
        "OPTIONS /ice HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: {origin}\r\n\
         Access-Control-Request-Method: POST\r\n\
         Access-Control-Request-Headers: authorization\r\nConnection: close\r\n\r\n"
    ))
    .await
}

#[tokio::test]
async fn with_key_access_only_a_key_opens() {
    let keys = [("shop", KEY), ("door", "another-key-of-the-operator")];
    let door = setup(IceAccess::Key, &keys).open().await;
    let port = door.https.port();
    let own = format!("Origin: https://localhost:{port}");
    let right = format!("Authorization: Bearer {KEY}");
    let cut = format!("Authorization: Bearer {}", &KEY[..KEY.len() - 1]);
    let longer = format!("Authorization: Bearer {KEY}x");
    let basic = format!("Authorization: Basic {KEY}");
    for (path, headers, status) in [
        ("/ice".to_owned(), vec![], 401),
        ("/ice".to_owned(), vec![&*own], 401),
        ("/ice".to_owned(), vec!["Sec-Fetch-Site: same-origin"], 401),
        ("/ice".to_owned(), vec![FOREIGN], 401),
        ("/ice?key=".to_owned(), vec![], 401),
        ("/ice?key=shop".to_owned(), vec![], 401),
        ("/ice".to_owned(), vec![&*cut], 401),
        ("/ice".to_owned(), vec![&*longer], 401),
        ("/ice".to_owned(), vec![&*basic], 401),
        ("/ice".to_owned(), vec![&*right], 200),
        ("/ice".to_owned(), vec![&*right, FOREIGN], 200),
        (format!("/turn?service=turn&key={KEY}"), vec![], 200),
        (format!("/ice?key={KEY}"), vec![&*cut], 200),
        (
            "/ice?key=another-key-of-the-operator".to_owned(),
            vec![],
            200,
        ),
    ] {
        let reply = door.get(&path, &headers).await;
        assert_eq!(reply.status, status, "{path} {headers:?}");
        assert_eq!(reply.text().contains("credential"), status == 200);
        assert_eq!(reply.header("www-authenticate").is_some(), status == 401);
        // A page elsewhere that has a key may read what it gets, and why it gets nothing.
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    }
    let body = door
        .get(&format!("/ice?key={KEY}&user=al"), &[])
        .await
        .json();
    let username = body["username"].as_str().unwrap();
    assert!(username.contains(":shop.al."), "{username}");
}

#[tokio::test]
async fn a_key_opens_in_every_mode_and_a_wrong_one_changes_nothing() {
    let right = format!("Authorization: bearer {KEY}");
    let door = setup(IceAccess::SameOrigin, &[("shop", KEY)]).open().await;
    assert_eq!(door.get("/ice", &[&right, FOREIGN]).await.status, 200);
    assert_eq!(door.get("/ice?key=wrong", &[FOREIGN]).await.status, 403);
    assert_eq!(door.get("/ice?key=wrong", &[]).await.status, 200);
    let door = setup(IceAccess::Open, &[("shop", KEY)]).open().await;
    assert_eq!(door.get("/ice?key=wrong", &[FOREIGN]).await.status, 200);
    // Without keys nothing is one, not even nothing.
    let door = setup(IceAccess::SameOrigin, &[]).open().await;
    assert_eq!(door.get("/ice?key=", &[FOREIGN]).await.status, 403);
}

#[tokio::test]
async fn guessing_keys_is_limited_as_asking_is() {
    let door = setup(IceAccess::Key, &[("shop", KEY)]).open().await;
    let mut stream = door.tls(&["http/1.1"]).await;
    let request = "GET /ice?key=guess HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut guesses = 0;
    let limited = loop {
        let reply = crate::door::ask_on(&mut stream, request).await;
        if reply.status != 401 {
            break reply;
        }
        guesses += 1;
        assert!(guesses < 2000, "never limited");
    };
    assert_eq!(limited.status, 429);
}

#[tokio::test]
async fn each_access_mode_answers_its_preflight() {
    let evil = "https://evil.example";
    for (access, keys, origin, status, readers) in [
        (IceAccess::SameOrigin, &[][..], evil, 403, None),
        (
            IceAccess::SameOrigin,
            &[],
            "https://friend.example",
            204,
            Some("https://friend.example"),
        ),
        (
            IceAccess::SameOrigin,
            &[("shop", KEY)],
            evil,
            204,
            Some("*"),
        ),
        (IceAccess::Open, &[], evil, 204, Some("*")),
        (IceAccess::Key, &[("shop", KEY)], evil, 204, Some("*")),
    ] {
        let door = setup(access, keys).open().await;
        let reply = preflight(&door, origin).await;
        assert_eq!(reply.status, status, "{access:?} {origin}");
        assert_eq!(reply.header("access-control-allow-origin"), readers);
        let allowed = reply.header("access-control-allow-headers");
        assert_eq!(
            allowed.is_some_and(|it| it.contains("authorization")),
            readers.is_some()
        );
    }
}

#[tokio::test]
async fn each_access_mode_beside_tokens_for_joining() {
    let secret = "0123456789abcdef0123456789abcdef";
    let file = std::env::temp_dir().join(format!("callbox-ice-access-{}", std::process::id()));
    std::fs::write(&file, secret).unwrap();
    let claims = json!({"room": "123", "exp": clock::unix_time() + 60});
    let token = jsonwebtoken::encode(
        &jsonwebtoken::Header::default(),
        &claims,
        &jsonwebtoken::EncodingKey::from_secret(secret.as_bytes()),
    )
    .unwrap();
    let with_token = format!("/ice?token={token}");
    let with_key = format!("/ice?key={KEY}");
    for (access, path, status) in [
        (IceAccess::SameOrigin, "/ice", 401),
        (IceAccess::SameOrigin, &*with_token, 200),
        (IceAccess::SameOrigin, &with_key, 200),
        (IceAccess::Open, "/ice", 200),
        (IceAccess::Key, "/ice", 401),
        (IceAccess::Key, &with_token, 401),
        (IceAccess::Key, &with_key, 200),
    ] {
        let mut setup = setup(access, &[("shop", KEY)]);
        let keyring = Keyring::open(std::slice::from_ref(&file)).unwrap();
        setup.keyring = Some(Arc::new(keyring));
        let reply = setup.open().await.get(path, &[]).await;
        assert_eq!(reply.status, status, "{access:?} {path}");
    }
    std::fs::remove_file(&file).unwrap();
}
