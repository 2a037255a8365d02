//! What holds for every further dialect, whatever is said.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::topics::Topical;
use super::{Ask, Dialect, Request, peerjs};
use crate::fuzzing::front::further_frame;

fn said(which: u8, text: &str) {
    let mut bytes = vec![which];
    bytes.extend_from_slice(text.as_bytes());
    further_frame(&bytes);
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(which in 0..5u8, text in ".{0,300}") {
        said(which, &text);
    }

    #[test]
    fn no_arrangement_of_known_keys_makes_a_parser_panic(
        which in 0..5u8,
        entries in prop::collection::vec(
            (
                "(cmd|type|roomid|uid|remoteid|sdp|msg|dst|src|payload|topics?|clients|data|token|x)",
                "(\"(join|leave|offer|OFFER|LEAVE|new|bye|publish|subscribe|send)\"\
                 |\"[^\"\\\\]{0,70}\"|-?[0-9]{1,25}|null|true|\\[\"a\",1\\]|\\{\"to\":\"b\",\"id\":\"c\",\"session_id\":\"c-b\"\\}|1e400|\"\\\\ud800\")",
            ),
            0..8,
        )
    ) {
        let fields: Vec<String> = entries.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        said(which, &format!("{{{}}}", fields.join(",")));
    }

    #[test]
    fn what_one_says_to_another_survives_whatever_it_is(words in "\\PC{0,200}", number in any::<f64>()) {
        let payload = json!({"words": &words, "number": number, "more": [null, {"x": &words}]});
        let text = json!({"type": "OFFER", "dst": "b", "payload": &payload}).to_string();
        let Ok(Request::Ask(Ask::PeerJs(message))) = Dialect::PeerJs.parse(&text) else {
            return Err(TestCaseError::fail(text));
        };
        let told: Value = serde_json::from_str(&peerjs::deliver(&message, &words, "b").unwrap()).unwrap();
        prop_assert_eq!(&told["payload"], &serde_json::from_str::<Value>(&text).unwrap()["payload"]);
        prop_assert_eq!(&told["src"], &json!(words));
        let text = json!({"type": "publish", "topic": "t", "data": &payload, &words: 1}).to_string();
        if let Ok(Request::Ask(Ask::Topics(Topical::Publish(publication)))) = Dialect::Topics.parse(&text) {
            let told: Value = serde_json::from_str(&publication.text(3)).unwrap();
            let mut expected: Value = serde_json::from_str(&text).unwrap();
            expected["clients"] = json!(3);
            prop_assert_eq!(told, expected);
        }
    }
}
