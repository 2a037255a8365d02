//! Clients that end without a word.

use std::time::Duration;

use callbox::net::clock;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::client::{BYE, Server};

/// What may pass beyond the ten seconds, on a busy machine.
const SLACK: Duration = Duration::from_secs(8);

#[tokio::test]
async fn a_crashed_client_keeps_its_place_for_ten_seconds_and_then_the_other_hears_a_goodbye() {
    let server = Server::start().await;
    let (person, one, second, mut other) = server.pair("r").await;
    one.vanish();
    assert_eq!(server.try_join("r").await["result"], "FULL");
    // Back in time, over another socket.
    let mut again = server.registered(&person).await;
    other.send("welcome back").await;
    assert_eq!(again.hears().await, "welcome back");
    let crashed = clock::now();
    again.vanish();
    assert_eq!(other.hears().await, BYE);
    let waited = clock::now() - crashed;
    assert!(waited >= Duration::from_secs(9), "{waited:?}");
    assert!(waited < Duration::from_secs(10) + SLACK, "{waited:?}");
    // The place was free before the goodbye was heard, and the survivor offers.
    server.message(&second, "offer").await;
    let third = server.join("r").await;
    assert!(!third.is_initiator());
    assert_eq!(third.messages(), ["offer"]);
    let mut late = server.socket().await;
    late.register("r", &person.id).await;
    assert_eq!(late.hears_error().await, "Max room capacity reached");
}

#[tokio::test]
async fn a_reloaded_page_is_not_kept_out_by_itself() {
    let server = Server::start().await;
    let (_, one, _, mut other) = server.pair("r").await;
    one.close(CloseCode::Away).await;
    let mut answer = server.try_join("r").await;
    // The socket's end travels by itself.
    while answer["result"] == "FULL" {
        tokio::time::sleep(Duration::from_millis(10)).await;
        answer = server.try_join("r").await;
    }
    assert_eq!(answer["result"], "SUCCESS");
    assert_eq!(other.hears().await, BYE);
}

#[tokio::test]
async fn a_client_that_leaves_and_forgets_to_say_goodbye_is_missed_when_its_socket_ends() {
    let server = Server::start().await;
    let (person, one, _, mut other) = server.pair("r").await;
    server.leave(&person).await;
    other.fence().await;
    one.vanish();
    assert_eq!(other.hears().await, BYE);
}
