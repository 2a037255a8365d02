//! The answer's fields, and what they are made of.

use super::*;
use serde_json::{Value, json};

const ALL: Endpoints = Endpoints {
    udp_port: Some(3478),
    web_udp_port: None,
    tcp_port: Some(3478),
    tls_port: Some(443),
};

fn answer(endpoints: Endpoints, extra_servers: &[ExtraServer]) -> Configuration {
    let secret = Secret::new("north");
    let ttl = Duration::from_secs(12 * 3600);
    Configuration::new(&Offer {
        host: "call.example",
        endpoints,
        credential: &Credential::new(&secret, "alice", 1_790_000_000, ttl),
        now: 1_790_000_000,
        policy: IcePolicy::All,
        extra_servers,
    })
}

// From `printf '1790043200:alice' | openssl dgst -sha1 -hmac north -binary | base64`.
const PASSWORD: &str = "K8AHzEic5wZZRiV8ArutePt9De0=";

#[test]
fn the_answer_has_the_fields_of_every_client() {
    let user = "1790043200:alice";
    let udp = "turn:call.example:3478?transport=udp";
    let tcp = "turn:call.example:3478?transport=tcp";
    let tls = "turns:call.example:443?transport=tcp";
    let stun = "stun:call.example:3478";
    let single =
        |url: &str| json!({"url": url, "urls": url, "username": user, "credential": PASSWORD});
    let expected = json!({
        "iceServers": [
            {"urls": [stun]},
            {"urls": [udp, tcp, tls], "username": user, "credential": PASSWORD},
        ],
        "ice_servers": [{"url": stun, "urls": stun}, single(udp), single(tcp), single(tls)],
        "username": user,
        "password": PASSWORD,
        "ttl": 43200,
        "uris": [udp, tcp, tls],
        "lifetimeDuration": "43200s",
        "blockStatus": "NOT_BLOCKED",
        "iceTransportPolicy": "all",
        "expires_at": 1_790_043_200_u64,
    });
    assert_eq!(serde_json::to_value(answer(ALL, &[])).unwrap(), expected);
}

#[test]
fn only_what_listens_is_offered() {
    let tls_only = Endpoints {
        tls_port: Some(8443),
        ..Endpoints::default()
    };
    let value = serde_json::to_value(answer(tls_only, &[])).unwrap();
    assert_eq!(
        value["iceServers"][0]["urls"],
        json!(["turns:call.example:8443?transport=tcp"])
    );
    let nothing = serde_json::to_value(answer(Endpoints::default(), &[])).unwrap();
    assert_eq!(nothing["iceServers"], json!([]));
    assert_eq!(nothing["password"], Value::Null);
}

#[test]
fn servers_of_others_are_added() {
    let extra = ExtraServer {
        urls: vec!["turn:other.example".to_owned()],
        username: "u".to_owned(),
        credential: Secret::new("p\"q"),
    };
    let answer = answer(ALL, &[extra]);
    let value = serde_json::to_value(&answer).unwrap();
    assert_eq!(
        value["iceServers"][2],
        json!({"urls": ["turn:other.example"], "username": "u", "credential": "p\"q"})
    );
    let links: Vec<String> = answer.links().collect();
    assert_eq!(links[0], "<stun:call.example:3478>; rel=\"ice-server\"");
    assert_eq!(
        links[1],
        format!(
            "<turn:call.example:3478?transport=udp>; rel=\"ice-server\"; \
             username=\"1790043200:alice\"; credential=\"{PASSWORD}\"; \
             credential-type=\"password\""
        )
    );
    assert!(links[4].contains("credential=\"p\\\"q\""), "{}", links[4]);
}

#[test]
fn a_client_cannot_forge_or_bloat_its_id() {
    assert_eq!(credential_id([], 1), "0000000000000001");
    assert_eq!(credential_id(["alice"], 1), "alice.0000000000000001");
    assert_eq!(
        credential_id(["r 1", "", "m:2"], 1),
        "r1.m2.0000000000000001"
    );
    assert_eq!(credential_id(["\r\n:\"<é"], 1), "0000000000000001");
    assert!(credential_id(["x"].repeat(1000), 1).len() <= 2 * MAX_WISH + 16);
    assert!(credential_id([&*"x".repeat(1000), "y"], 1).len() <= MAX_WISH + 18);
}

#[test]
fn the_webs_port_is_a_second_path_over_udp_where_it_is_listened_on() {
    let ports = |udp: &[u16]| {
        let endpoints = Endpoints::default().with_udp(udp.iter().copied());
        (endpoints.udp_port, endpoints.web_udp_port)
    };
    assert_eq!(ports(&[]), (None, None));
    assert_eq!(ports(&[3478]), (Some(3478), None));
    assert_eq!(ports(&[443]), (Some(443), None));
    assert_eq!(ports(&[3478, 443]), (Some(3478), Some(443)));
    assert_eq!(ports(&[443, 3478]), (Some(3478), Some(443)));
    assert_eq!(ports(&[3478, 5349]), (Some(3478), None));
    let all = ALL.with_udp([3478, 443].into_iter());
    let value = serde_json::to_value(answer(all, &[])).unwrap();
    assert_eq!(
        value["uris"],
        json!([
            "turn:call.example:3478?transport=udp",
            "turn:call.example:443?transport=udp",
            "turn:call.example:3478?transport=tcp",
            "turns:call.example:443?transport=tcp",
        ])
    );
}

#[test]
fn each_format_has_the_fields_that_its_clients_read() {
    let extra = ExtraServer {
        urls: vec!["stun:other.example".to_owned()],
        username: String::new(),
        credential: Secret::default(),
    };
    let only_udp = Endpoints::default().with_udp([3478].into_iter());
    let answer = answer(only_udp, &[extra]);
    let shaped =
        |format| -> Value { serde_json::from_slice(&answer.shaped(format).unwrap()).unwrap() };
    let user = "1790043200:alice";
    let (stun, other) = ("stun:call.example:3478", "stun:other.example");
    let turn = "turn:call.example:3478?transport=udp";
    assert_eq!(
        shaped(Format::Array),
        json!([
            {"urls": stun},
            {"urls": turn, "username": user, "credential": PASSWORD},
            {"urls": other},
        ])
    );
    assert_eq!(
        shaped(Format::Twilio),
        json!({
            "username": user,
            "password": PASSWORD,
            "ttl": "43200",
            "ice_servers": [
                {"url": stun, "urls": stun},
                {"url": turn, "urls": turn, "username": user, "credential": PASSWORD},
                {"url": other, "urls": other},
            ],
        })
    );
    assert_eq!(
        shaped(Format::Kvs),
        json!({"IceServerList": [
            {"Uris": [turn], "Username": user, "Password": PASSWORD, "Ttl": 43200},
        ]})
    );
    assert_eq!(
        shaped(Format::Cloudflare),
        json!({"iceServers": [
            {"urls": [stun]},
            {"urls": [turn], "username": user, "credential": PASSWORD},
            {"urls": [other]},
        ]})
    );
}
