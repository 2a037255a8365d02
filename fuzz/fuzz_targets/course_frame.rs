//! Any text as a frame of the course dialect: the parser returns, and what it returns is in bounds.

#![no_main]

use callbox::signal::core::{Claim, MEMBER_ID_MAX, MemberId, ROOM_NAME_MAX, Recipient, RoomName};
use callbox::signal::dialect::{Request, course};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match course::parse(text) {
        Ok(Request::Join { room, member }) => {
            check_room(&room);
            check_member(&member);
        }
        Ok(Request::Leave(claim)) => check_claim(&claim),
        Ok(Request::Relay { claim, to }) => {
            check_claim(&claim);
            if let Recipient::Member(member) = to {
                check_member(&member);
            }
        }
        // What we answer must be JSON: some clients die of anything else.
        Ok(Request::Reply(reply)) => {
            serde_json::from_str::<serde_json::Value>(&reply).expect("replies are JSON");
        }
        Ok(Request::Nothing) | Err(_) => {}
    }
});

fn check_claim(claim: &Claim) {
    claim.room.iter().for_each(check_room);
    claim.member.iter().for_each(check_member);
}

fn check_room(room: &RoomName) {
    assert!(room.as_str().len() <= ROOM_NAME_MAX);
}

fn check_member(member: &MemberId) {
    assert!((1..=MEMBER_ID_MAX).contains(&member.as_str().len()));
}
